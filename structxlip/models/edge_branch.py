"""Edge branches of their own by the name that the recipe gives them, and what maps each reads."""

from __future__ import annotations

from typing import Literal

from structxlip.config import EdgeBranch
from structxlip.models.cells_encoder import CellsEncoder
from structxlip.models.edge_encoder import EdgeEncoder


def edge_encoder(
    branch: Literal["cnn", "descriptor"], embed_dim: int, channels: int
) -> EdgeEncoder | CellsEncoder:
    """The untrained branch for maps of so many channels."""
    return CellsEncoder(embed_dim, channels) if branch == "descriptor" else EdgeEncoder(embed_dim)


def check_reads(branch: EdgeBranch, channels: int) -> None:
    """Raise ``ValueError`` unless an edge branch reads maps of so many channels."""
    if branch == "none" or (branch == "descriptor") == (channels > 1):
        return
    if branch == "descriptor":
        raise ValueError(
            "edge_branch: descriptor reads cells, and the cue gives maps of pixels; set edges.cue "
            "to orientations, or edge_branch to cnn"
        )
    raise ValueError(
        f"edge_branch: {branch} reads maps of pixels, and the cue gives cells of {channels} "
        f"orientations; set edge_branch to descriptor"
    )
