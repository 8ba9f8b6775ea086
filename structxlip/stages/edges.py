"""Stage `edges`: the edge map of every image, `data/<dataset>/edges`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from structxlip.config import Edges, Params
from structxlip.cues import (
    configured,
    edge_density,
    edge_regions,
    encode_edges,
    given_edges,
    has_structure,
)
from structxlip.data.images import decode_rgb
from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.stages.artifacts import DATA, atomic_directory
from structxlip.stages.row_groups import RowGroup, Worker, map_row_groups, write_row_groups

if TYPE_CHECKING:
    import pyarrow as pa


def edges(params: Params, dataset: str) -> None:
    pairs, settings = DATA / dataset / "pairs", params.active.edges
    try:
        configured(settings)
    except ValueError as error:
        raise UserError(f"edges.cue: {error}", 2) from None
    usable = total = 0
    with atomic_directory(DATA / dataset / "edges") as directory:
        results = map_row_groups(
            pairs, partial(_worker, pairs, settings), description=f"edges {dataset}"
        )
        for table in write_row_groups(results, directory):
            usable += sum(table["has_structure"].to_pylist())
            total += table.num_rows
    say(f"edges {dataset}: {usable} of {total} maps carry structure")


def _worker(pairs: Path, settings: Edges) -> Worker:
    detect = configured(settings)

    def work(group: RowGroup) -> pa.Table:
        import pyarrow as pa

        rows = group.read(pairs, ["id", "image", "edges", "width", "height", "boxes"])
        given = rows["edges"].to_pylist()
        maps = [
            given_edges(decode_rgb(drawn), settings.size_px)
            if drawn is not None
            else detect(decode_rgb(image.as_py()))
            for image, drawn in zip(rows["image"], given, strict=True)
        ]
        densities = [edge_density(edges) for edges in maps]
        boxes = _fractions(rows) if settings.own_boxes else [[] for _ in maps]
        regions = [
            [region._asdict() for region in edge_regions(found, settings.max_regions, own)]
            for found, own in zip(maps, boxes, strict=True)
        ]
        box = pa.struct([*((side, pa.int32()) for side in "xywh"), ("score", pa.float32())])
        limits = {"min_density": settings.min_density, "max_density": settings.max_density}
        return pa.table(
            {
                "id": rows["id"],
                "cue": ["given" if drawn is not None else settings.cue for drawn in given],
                "edges": pa.array([encode_edges(edges) for edges in maps], pa.binary()),
                "density": pa.array(densities, pa.float32()),
                "has_structure": pa.array([has_structure(d, **limits) for d in densities]),
                "regions": pa.array(regions, pa.list_(box)),
            }
        )

    return work


def _fractions(rows: pa.Table) -> list[list[tuple[float, float, float, float]]]:
    """The boxes of each pair as fractions of its image."""
    return [
        [
            (
                box["x"] / row["width"],
                box["y"] / row["height"],
                box["w"] / row["width"],
                box["h"] / row["height"],
            )
            for box in row["boxes"]
        ]
        for row in rows.select(["width", "height", "boxes"]).to_pylist()
    ]
