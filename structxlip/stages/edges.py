"""Stage `edges`: the edge map of every image, `data/<dataset>/edges`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from structxlip.config import Edges, Params
from structxlip.cues import (
    CUES,
    LEARNED,
    edge_density,
    edge_regions,
    encode_edges,
    given_edges,
    has_structure,
)
from structxlip.data.edge_maps import encoded_detector
from structxlip.data.images import decode_rgb
from structxlip.data.pairs import shards
from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.stages.artifacts import DATA
from structxlip.stages.derived import ERROR, Derivation, Make, derive
from structxlip.stages.made import signature
from structxlip.stages.row_groups import RowGroup

if TYPE_CHECKING:
    import pyarrow as pa

UNIT = 512
PACKAGE = Path(__file__).parents[1]


def edges(params: Params, dataset: str) -> None:
    import pyarrow.dataset as ds

    pairs, settings = DATA / dataset / "pairs", params.active.edges
    try:
        encoded_detector(settings)
    except ValueError as error:
        raise UserError(f"edges.cue: {error}", 2) from None
    derivation = Derivation(
        stage="edges",
        columns=("id",),
        identify=lambda rows: rows,
        source_columns=("sha256", "boxes", "edges"),
        sources=_sources,
        make_worker=partial(make_worker, pairs, settings),
        failed="no_edges",
        signature=_signature(settings),
        unit=UNIT,
    )
    derive(derivation, dataset, max_bad_fraction=params.ingest.max_bad_fraction)
    maps = ds.dataset(shards(DATA / dataset / "edges"))
    usable = maps.count_rows(filter=ds.field("has_structure"))
    say(f"edges {dataset}: {usable} of {maps.count_rows()} maps carry structure")


def _signature(settings: Edges) -> str | None:
    import PIL

    if settings.cue not in {*CUES, LEARNED}:
        return None  # whether the code of somebody else's cue has changed cannot be known
    code = (
        PACKAGE / "cues",
        PACKAGE / "data/edge_maps.py",
        PACKAGE / "data/images.py",
        Path(__file__),
    )
    weights = [Path(settings.weights)] if settings.weights else []
    return signature(settings.model_dump_json(), cv2.__version__, PIL.__version__, *code, *weights)


def _sources(rows: pa.Table) -> list[bytes]:
    return [
        f"{row['sha256']}{row['boxes']}".encode() + (row["edges"] or b"")
        for row in rows.to_pylist()
    ]


def make_worker(pairs: Path, settings: Edges) -> Make:
    import pyarrow as pa

    cv2.setNumThreads(1)  # Ray runs a worker on every processor
    detect = encoded_detector(settings)
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
    nothing = np.zeros((settings.size_px, settings.size_px), np.bool_)
    limits = {"min_density": settings.min_density, "max_density": settings.max_density}

    def row(pair: dict[str, Any]) -> dict[str, Any]:
        cue, found, error = settings.cue, nothing, None
        try:
            if pair["edges"] is not None:
                cue, found = "given", given_edges(decode_rgb(pair["edges"]), settings.size_px)
            else:
                found = detect(pair["image"], min(pair["width"], pair["height"]))
        except Exception as raised:  # a sample that no cue can be taken from is listed, not fatal
            error = str(raised) or type(raised).__name__
        density = edge_density(found)
        own = _fractions(pair) if settings.own_boxes else []
        return {
            "cue": cue,
            "edges": encode_edges(found),
            "density": density,
            "has_structure": error is None and has_structure(density, **limits),
            "regions": [r._asdict() for r in edge_regions(found, settings.max_regions, own)],
            ERROR: error,
        }

    def make(group: RowGroup, rows: list[int]) -> pa.Table:
        pairs_read = group.read(pairs, ["image", "edges", "width", "height", "boxes"]).take(rows)
        return pa.Table.from_pylist([row(pair) for pair in pairs_read.to_pylist()], schema=schema)

    return make


def _fractions(pair: dict[str, Any]) -> list[tuple[float, float, float, float]]:
    """The boxes of a pair as fractions of its image."""
    width, height = pair["width"], pair["height"]
    return [
        (box["x"] / width, box["y"] / height, box["w"] / width, box["h"] / height)
        for box in pair["boxes"]
    ]
