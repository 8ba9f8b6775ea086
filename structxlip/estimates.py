"""How long each stage takes on this machine, estimated from a short probe on an invented pair."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from structxlip.config import FittedTrain, Params, Train
from structxlip.data.images import decode_rgb, encode_jpeg
from structxlip.incremental.artifacts import DATA

TEXT = "A photo of a small red bicycle that leans against the white wall of an old house."
SPANS = [(0, 32), (43, 60), (64, 80)]
BATCHES = 4  # of the invented training split, of which three are trained on


def estimated_minutes(params: Params, dataset: str, probe_s: float) -> dict[str, float]:
    """The minutes that each stage takes for a dataset, without the start of programs.

    Args:
        params: those that the dataset follows.
        dataset: its pairs are counted: in the pair store, or else in the source.
        probe_s: seconds for each stage. Longer: steadier.

    Raises ``UserError`` for towers that cannot be had, or a source that cannot be opened.
    """
    pairs, captions, train = _counts(params, dataset)
    cpus = os.cpu_count() or 1  # rows are made by as many processes, of one thread each
    jpeg = encode_jpeg(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8))
    seconds = {
        "edges": pairs * _edges(params, jpeg, probe_s) / cpus,
        "captions": captions * _captions(params, dataset, probe_s) / cpus,
        **{
            stage: found / cpus
            for stage, found in _towers(params, jpeg, pairs, captions, probe_s).items()
        },
        "train (structxlip)": _training(params, jpeg, train, probe_s),
    }
    return {stage: found / 60 for stage, found in seconds.items()}


def _counts(params: Params, dataset: str) -> tuple[int, int, int]:
    """Pairs, captions and training pairs."""
    from structxlip.data.sources import open_source

    try:
        report = json.loads((DATA / dataset / "pairs" / "report.json").read_text())
    except OSError:
        size = open_source(params.dataset(dataset)).size
        held_out = params.ingest.val_fraction + params.ingest.test_fraction
        return size, size, round(size * (1 - held_out))
    return report["pairs"], report["captions"], report["splits"]["train"]


def _seconds(work: Callable[[], object], probe_s: float) -> float:
    """The seconds of a call, in the mean over a while, after a first one."""
    work()
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < probe_s:
        work()
        calls += 1
    return (time.perf_counter() - start) / calls


def _edges(params: Params, jpeg: bytes, probe_s: float) -> float:
    from structxlip.cues import ConfiguredCue, encode_edges

    cue = ConfiguredCue(params.recipe_settings.edges)
    return _seconds(lambda: encode_edges(cue(decode_rgb(jpeg))), probe_s)


def _captions(params: Params, dataset: str, probe_s: float) -> float:
    from structxlip.captions import load_language_model, load_lexicon, structure_caption

    settings = params.caption_settings(dataset)
    model, lexicon = load_language_model(settings.language_model), load_lexicon(settings.lexicons)
    texts, how = [TEXT] * 32, settings.of_structure()

    def parse() -> None:
        for doc in model.pipe(texts):
            structure_caption(doc, lexicon=lexicon, **how)

    return _seconds(parse, probe_s) / len(texts)


def _towers(
    params: Params, jpeg: bytes, pairs: int, captions: int, probe_s: float
) -> dict[str, float]:
    """The seconds of the stages that run the towers, on one processor."""
    import torch

    from structxlip.models.towers import ImageTower, load_encoders

    recipe, picture = params.recipe_settings, decode_rgb(jpeg)
    images, texts = load_encoders(**recipe.model.encoder_settings())
    block, threads = 8, torch.get_num_threads()
    torch.set_num_threads(1)
    of_image = _seconds(lambda: images.encode([picture] * block), probe_s / 2) / block
    # A caption is encoded twice, whole and as its structural form.
    of_text = _seconds(lambda: texts.encode([TEXT] * block, [SPANS] * block), probe_s / 2) / block
    found = {"features": pairs * of_image + 2 * captions * of_text}
    grid = recipe.edges.tower_grid
    if grid and isinstance(images, ImageTower):
        of_map = _seconds(lambda: images.encode_patches([picture] * block, grid), probe_s) / block
        found["edge_features"] = pairs * of_map
    torch.set_num_threads(threads)
    return found


def _training(params: Params, jpeg: bytes, pairs: int, probe_s: float) -> float:
    """The seconds of the steps of the arm structxlip, on copies of the invented pair.

    Batches grow up to that of the recipe while they are quick; then a step costs what its pairs do.
    """
    recipe = params.recipe_settings
    fitted = recipe.train.fitted(pairs)
    batch = min(fitted.batch_size, max(pairs, 2))
    tried = batch if recipe.model.frozen else 2
    while (of_step := _step(params, fitted, jpeg, tried)) < probe_s / 4 and tried < batch:
        tried = min(8 * tried, batch)
    return of_step * batch / tried * (pairs // batch) * fitted.epochs


def _step(params: Params, fitted: FittedTrain, jpeg: bytes, batch: int) -> float:
    """The seconds of a step with a batch of so many pairs."""
    from structxlip.training.assembly import assemble
    from structxlip.training.run import TrainingRun

    train = Train.model_validate(fitted.model_dump() | {"batch_size": batch})
    small = params.recipe_settings.model_copy(update={"train": train})
    alone = params.model_copy(update={"recipes": {params.recipe: small}})
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingRun(alone, "structxlip", *_written(alone, jpeg, batch, Path(folder)))
        steps = assemble(run).loop.run(lambda model: {})
        next(steps)  # the first one is slower
        start = time.perf_counter()
        next(steps)
        next(steps)
        return (time.perf_counter() - start) / 2


def _written(params: Params, jpeg: bytes, batch: int, folder: Path) -> tuple[Path, Path, Path]:
    """The folders of features, edge maps and edge features of copies of the invented pair."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from structxlip.cues import ConfiguredCue, encode_edges
    from structxlip.features.edge_features import FEATURES, INDEX
    from structxlip.features.store import RowSpec, StoreSpec
    from structxlip.features.writer import ArrayWriter, FeatureWriter
    from structxlip.models.towers import ImageTower, load_encoders

    recipe, picture, pairs = params.recipe_settings, decode_rgb(jpeg), BATCHES * batch
    encoders = recipe.model.encoder_settings()
    images, texts = load_encoders(**encoders)
    ids = [f"{row:06d}" for row in range(pairs)]
    chunks = len(SPANS)
    spec = StoreSpec(encoders, pairs, pairs, chunks * pairs, images.row, texts.row, texts.chunk_row)
    caption, parts = texts.encode([TEXT], [SPANS])
    store = FeatureWriter(
        folder / "features",
        spec,
        ids=ids,
        splits=["train"] * pairs,
        caption_counts=[1] * pairs,
        chunk_counts=[chunks] * pairs,
        caption_texts=ids,
        names_side=[False] * pairs,
    )
    rows = {"image": images.encode([picture]), "caption": caption, "chunks": np.concatenate(parts)}
    for name, row in (rows | {"structure": caption}).items():
        store.append(**{name: _copies(row, pairs)})
    store.close()
    half = recipe.edges.size_px // 2
    region = {"x": 0, "y": 0, "w": half, "h": half, "score": 1.0}
    edges = {
        "id": ids,
        "cue": [recipe.edges.cue] * pairs,
        "edges": [encode_edges(ConfiguredCue(recipe.edges)(picture))] * pairs,
        "has_structure": [True] * pairs,
        "regions": [[region] * recipe.edges.max_regions or [region]] * pairs,
    }
    (folder / "edges").mkdir()
    pq.write_table(pa.table(edges), folder / "edges" / "part-00000.parquet")
    grid, target = recipe.edges.tower_grid, folder / "edge_features"
    if grid and isinstance(images, ImageTower):
        of_map = RowSpec("float16", (grid**2, images.dim))
        writer = ArrayWriter(target, {FEATURES: (pairs, of_map)})
        found = images.encode_patches([picture], grid).astype(np.float16)
        writer.append(**{FEATURES: _copies(found, pairs)})
        writer.close()
        (target / INDEX).write_text(json.dumps({"ids": ids}))
    return folder / "features", folder / "edges", target


def _copies(row: NDArray[np.generic], count: int) -> bytes:
    return row.tobytes() * count
