"""Stage `edges`: the edge map of every image, `data/<dataset>/edges`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from structxlip.config import Edges, Params
from structxlip.cues import (
    GIVEN,
    LEARNED,
    ConfiguredCue,
    EdgeMap,
    Region,
    built_in_cues,
    check_reads,
    edge_density,
    edge_regions,
    encode_edges,
    usable_map,
)
from structxlip.data.images import decode_rgb
from structxlip.data.shards import shards
from structxlip.errors import UserError
from structxlip.incremental.artifacts import DATA
from structxlip.incremental.derived import ERROR, Derivation, MakeRows, derive
from structxlip.incremental.row_cache import signature
from structxlip.incremental.row_groups import RowGroup
from structxlip.progress import say

if TYPE_CHECKING:
    import pyarrow as pa

UNIT = 512
PACKAGE = Path(__file__).parents[1]


def edges(params: Params, dataset: str) -> None:
    """Compute the edge map of every image of a dataset."""
    import pyarrow.dataset as ds

    recipe = params.recipe_settings
    cue = _configured(recipe.edges)
    try:  # now, and not after minutes of other stages
        check_reads(recipe.arms.structxlip.edge_branch, cue.channels)
    except ValueError as error:
        raise UserError(f"arms.structxlip: {error}", 2) from None
    make_edges(recipe.edges, dataset, params.ingest.max_bad_fraction)
    maps = ds.dataset(shards(DATA / dataset / "edges"))
    usable = maps.count_rows(filter=ds.field("has_structure"))
    say(f"edges {dataset}: {usable} of {maps.count_rows()} maps carry structure")


def _configured(settings: Edges) -> ConfiguredCue:
    try:
        return ConfiguredCue(settings)
    except ValueError as error:
        raise UserError(f"edges.cue: {error}", 2) from None


def make_edges(
    settings: Edges, dataset: str, max_bad_fraction: float, other: Path | None = None
) -> None:
    """Write the edge maps of a dataset.

    Args:
        settings: of the edge maps.
        dataset: its pair store is read.
        max_bad_fraction: of the images that may fail.
        other: the folder of maps that an experiment compares with those of the dataset.

    Raises ``UserError`` for an unknown cue, and when more images fail.
    """
    pairs = DATA / dataset / "pairs"
    _configured(settings)  # it is refused here, and not in every worker
    derivation = Derivation(
        stage=f"edges-{settings.cue}" if other else "edges",
        columns=("id",),
        identify=lambda rows: rows,
        source_columns=("sha256", "boxes", "edges"),
        sources=_sources,
        make_worker=partial(make_worker, pairs, settings),
        failed="no_edges",
        signature=_signature(settings),
        unit=UNIT,
    )
    derive(derivation, dataset, max_bad_fraction=max_bad_fraction, target=other)


def _signature(settings: Edges) -> str | None:
    import PIL

    if settings.cue not in {*built_in_cues(), LEARNED}:
        return None  # a change in the code of another package's cue would go unnoticed
    code = (PACKAGE / "cues", PACKAGE / "data/images.py", Path(__file__))
    weights = [Path(settings.weights)] if settings.weights else []
    return signature(settings.model_dump_json(), cv2.__version__, PIL.__version__, *code, *weights)


def _sources(rows: pa.Table) -> list[bytes]:
    return [
        f"{row['sha256']}{row['boxes']}".encode() + (row["edges"] or b"")
        for row in rows.to_pylist()
    ]


def make_worker(pairs: Path, settings: Edges) -> MakeRows:
    """Find the detector; return what makes rows of edge maps."""
    import pyarrow as pa

    cv2.setNumThreads(1)  # Ray runs a worker on every processor
    cue_of = ConfiguredCue(settings)
    box = pa.struct([*((side, pa.int32()) for side in "xywh"), ("score", pa.float32())])
    schema = pa.schema(
        [
            ("cue", pa.string()),
            ("edges", pa.binary()),
            ("density", pa.float32()),
            ("has_structure", pa.bool_()),
            ("regions", pa.list_(box)),
            (ERROR, pa.string()),
        ]
    )

    def row(pair: dict[str, Any]) -> dict[str, Any]:
        cue, found, error = settings.cue, cue_of.blank, None
        try:
            if pair["edges"] is not None:
                cue, found = GIVEN, cue_of.of_given(decode_rgb(pair["edges"]))
            else:
                found = cue_of(decode_rgb(pair["image"]))
        except Exception as raised:  # one image without edges is listed, not fatal
            error = str(raised) or type(raised).__name__
        own = _fractions(pair) if settings.own_boxes else []
        return {
            "cue": cue,
            "edges": encode_edges(found),
            "density": edge_density(found),
            "has_structure": error is None and usable_map(found, settings),
            "regions": [r._asdict() for r in _regions(found, settings.max_regions, own)],
            ERROR: error,
        }

    def make(group: RowGroup, rows: list[int]) -> pa.Table:
        pairs_read = group.read(pairs, ["image", "edges", "width", "height", "boxes"]).take(rows)
        return pa.Table.from_pylist([row(pair) for pair in pairs_read.to_pylist()], schema=schema)

    return make


def _regions(
    edges: EdgeMap, most: int, own: list[tuple[float, float, float, float]]
) -> list[Region]:
    """The regions of a map with pixels. Cells are too coarse to have any."""
    if edges.dtype == np.bool_:
        return edge_regions(np.asarray(edges, np.bool_), most, own)
    return edge_regions(edges[0] > 127, most, own) if len(edges) == 1 else []


def _fractions(pair: dict[str, Any]) -> list[tuple[float, float, float, float]]:
    """The boxes of a pair as fractions of its image."""
    width, height = pair["width"], pair["height"]
    return [
        (box["x"] / width, box["y"] / height, box["w"] / width, box["h"] / height)
        for box in pair["boxes"]
    ]
