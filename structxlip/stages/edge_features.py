"""Stage `edge_features`: what a frozen image tower makes of the edge maps,
`data/<dataset>/edge_features`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.config import Edges, Params
from structxlip.cues import decode_edges, drawing
from structxlip.cues.prepare import grey_square
from structxlip.data.images import decode_rgb
from structxlip.data.shards import shards
from structxlip.errors import UserError
from structxlip.features.edge_features import FEATURES, INDEX
from structxlip.features.store import RowSpec
from structxlip.features.writer import ArrayWriter
from structxlip.incremental.artifacts import DATA, atomic_directory
from structxlip.incremental.ray_map import Worker
from structxlip.incremental.row_cache import CACHE, signature
from structxlip.incremental.row_groups import RowGroup, read_row_groups, row_groups
from structxlip.models.towers import ImageTower, load_encoders, named_files
from structxlip.progress import say
from structxlip.stages.features import CODE, PACKAGE, PACKAGES, fill, remove_others, versions

if TYPE_CHECKING:
    import pyarrow as pa

# The pictures of a row group, as the tower reads them: ``uint8 [S, S, 3]``.
Pictures = Callable[[RowGroup], Iterable[NDArray[np.uint8]]]


def edge_features(params: Params, dataset: str) -> None:
    """Let the frozen image tower read the edge maps of a dataset, where `edges.tower_grid` asks."""
    data = DATA / dataset
    if params.recipe_settings.edges.tower_grid is None:
        with atomic_directory(data / "edge_features") as directory:
            (directory / INDEX).write_text("{}\n")
        say(f"edge_features {dataset}: the recipe needs none")
        return
    write_edge_features(params, dataset, data / "edges", data / "edge_features")


def write_edge_features(params: Params, dataset: str, edges: Path, target: Path) -> None:
    """Write the features of the edge maps in ``edges`` to ``target``.

    Raises ``UserError`` for maps that are no pictures, and a tower that tells no patches.
    """
    _write(params, dataset, partial(edge_drawings, edges), shards(edges), target)


def write_picture_features(params: Params, dataset: str, target: Path, *, grey: bool) -> None:
    """Write the features of the pictures of a dataset themselves to ``target``, for a control.

    With ``grey`` they are grey and blurred, as an edge detector sees them.
    """
    pairs, settings = DATA / dataset / "pairs", params.recipe_settings.edges
    pictures = partial(grey_pictures, pairs, settings) if grey else partial(colour_pictures, pairs)
    _write(params, dataset, pictures, shards(pairs), target)


def edge_drawings(edges: Path, group: RowGroup) -> Iterable[NDArray[np.uint8]]:
    """The edge maps of a row group, drawn."""
    for png in group.read(edges, ["edges"])["edges"].to_pylist():
        found = decode_edges(png)
        if found.ndim == 3 and len(found) > 1:
            raise UserError(
                "an image tower reads maps of pixels, and the cue gives cells; set edges.cue to "
                "gradient, or edge_branch to descriptor"
            )
        yield drawing(found)


def grey_pictures(pairs: Path, settings: Edges, group: RowGroup) -> Iterable[NDArray[np.uint8]]:
    """The pictures of a row group, grey and blurred."""
    for data in group.read(pairs, ["image"])["image"].to_pylist():
        size, blur = settings.size_px, settings.blur_sigma
        grey = grey_square(decode_rgb(data), size_px=size, blur_sigma=blur)
        yield np.repeat(grey[..., None], 3, axis=2)


def colour_pictures(pairs: Path, group: RowGroup) -> Iterable[NDArray[np.uint8]]:
    """The pictures of a row group."""
    yield from (decode_rgb(data) for data in group.read(pairs, ["image"])["image"].to_pylist())


def _write(
    params: Params, dataset: str, pictures: Pictures, sources: list[Path], target: Path
) -> None:
    model, grid = params.recipe_settings.model, params.recipe_settings.edges.tower_grid
    assert grid is not None
    pairs, home = DATA / dataset / "pairs", CACHE / target.name / dataset
    groups = row_groups(pairs)
    tower, _ = load_encoders(**model.encoder_settings())
    assert isinstance(tower, ImageTower)
    tower.encode_patches([np.zeros((8, 8, 3), np.uint8)], grid)  # it is refused at once, if at all
    ids = [
        name for rows in read_row_groups(pairs, groups, ["id"]) for name in rows["id"].to_pylist()
    ]
    settings = json.dumps(model.encoder_settings()) + str(grid)
    code = (*CODE, PACKAGE / "cues", Path(__file__))
    files = named_files(model.image_tower)
    name = signature(settings, cv2.__version__, *versions(PACKAGES), *code, *files, *sources)
    index = {"ids": ids, "signature": name}
    with suppress(OSError, ValueError):
        if json.loads((target / INDEX).read_text()) == index:
            return
    remove_others(home, name)
    row = RowSpec("float16", (grid**2, tower.dim))
    writer = ArrayWriter(home / name, {FEATURES: (len(ids), row)})
    (writer.directory / INDEX).write_text(json.dumps(index))
    make_worker = partial(_worker, model.encoder_settings(), grid, pictures)
    fill(writer, FEATURES, groups, make_worker, f"{target.name} {dataset}", target)


def _worker(encoders: dict[str, object], grid: int, pictures: Pictures) -> Worker[RowGroup]:
    tower, _ = load_encoders(**encoders)  # type: ignore[arg-type]
    assert isinstance(tower, ImageTower)

    def work(group: RowGroup) -> pa.Table:
        import pyarrow as pa

        features = tower.encode_patches(list(pictures(group)), grid)
        return pa.table({FEATURES: [features.astype(np.float16).tobytes()]})

    return work
