"""Features: a run that was killed is gone on from, and what is cached trains like the towers."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.dataset as ds
import pytest
import torch
from ruamel.yaml import YAML

from structxlip.config import Params
from structxlip.data.images import decode_rgb
from structxlip.data.ingestion import write_pairs
from structxlip.data.pairs import RawPair
from structxlip.data.shards import shards
from structxlip.features.colours import colour_copies
from structxlip.features.edge_maps import EdgeMaps
from structxlip.features.store import FeatureStore
from structxlip.incremental import ray_map
from structxlip.models.structxlip import Batch
from structxlip.models.towers import Pixels, load_encoders
from structxlip.stages import features as stage
from structxlip.stages.captions import captions
from structxlip.stages.edges import edges
from structxlip.stages.features import features
from structxlip.training.assembly import model_with_loss, untrained_model
from structxlip.training.batches import TrainingBatches
from structxlip.training.run import TrainingRun
from tests.clips import IMAGE_PX, TINY, write_tiny_clip
from tests.conftest import small
from tests.operation import ROOT

PAIRS, GROUP = 200, 64
FEATURES, HOME = Path("data/scenes/features"), Path(".cache/rows/features/scenes")
# Each is killed when an event comes for the n-th time: before the arrays are there, before the note
# of how far they are filled is written again, when all is filled and the old output has gone, and
# when the new one is in place.
MOMENTS = {
    "at the start": ("open", 0, "names_side.npy", 1),
    "while filling": ("os.rename", 1, ".json", 3),
    "before the end": ("os.rename", 1, str(FEATURES), 1),
    "at the end": ("shutil.rmtree", 0, str(HOME), 1),
}
KILLED_RUNS = """
import json, os, signal, sys
import torch
from structxlip.config import load_params
from structxlip.features import writer
from structxlip.incremental import ray_map
from structxlip.stages.features import features

writer.FLUSH_S = 0
ray_map.RAY_START_S = float("inf")
torch.set_num_threads(1)
for folder, (event, argument, end, times) in json.load(sys.stdin):
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        continue
    seen = 0

    def kill(name, arguments):
        global seen
        if name == event and str(arguments[argument]).endswith(end):
            seen += 1
            if seen == times:
                os.kill(os.getpid(), signal.SIGKILL)

    os.chdir(folder)
    sys.addaudithook(kill)
    features(load_params("params.yaml"), "scenes")
    os._exit(0)
"""


def picture(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), np.uint8)
    image = cv2.resize(coarse, (48, 48), interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".png", image)[1].tobytes()


def write_sources(params: Params, pairs: int, seed: int = 0) -> None:
    """Write a pair store and its captions in this folder."""
    folder = Path("data/scenes/pairs")
    folder.mkdir(parents=True, exist_ok=True)
    raw = [
        RawPair(
            f"p{i:03}",
            lambda i=i: picture(seed + i),  # type: ignore[misc]
            (f"a red dog sits left of box {i}", f"two small blue balls under tree {i}")[
                : 1 + i % 2
            ],
            group=f"p{i:03}",
            source="test",
            split={0: "test", 1: "val"}.get(i, "train"),
        )
        for i in range(pairs)
    ]
    write_pairs(
        raw,
        folder,
        shard_bytes=2**18,
        max_bad_fraction=0,
        split_for=lambda pair: pair.split or "train",
    )
    captions(params, "scenes")


def with_model(params: Params, **changes: Any) -> Params:
    content = params.model_dump(by_alias=True)
    content["recipes"][params.recipe]["model"] |= changes
    return Params.model_validate(content)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """All in this process: it is little work, also where the machine has other work to do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_map, "RAY_START_S", float("inf"))
        yield
    torch.set_num_threads(threads)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def tiny() -> Params:
    """Heads on the two towers of a random CLIP of 32 px, a file in the folder of the run."""
    clip = "open_clip:tiny_clip.json"
    model = {"image_tower": clip, "text_tower": clip, "image_px": IMAGE_PX, "embed_dim": 16}
    return small("frozen", model)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny: Params) -> Path:
    """A folder with all that the stage reads."""
    folder = tmp_path_factory.mktemp("project")
    write_tiny_clip(folder)
    with contextlib.chdir(folder):
        write_sources(tiny, PAIRS)
        with Path("params.yaml").open("w") as file:
            YAML().dump(tiny.model_dump(by_alias=True), file)
    return folder


@pytest.fixture(scope="module")
def unbroken(project: Path, tmp_path_factory: pytest.TempPathFactory, tiny: Params) -> Path:
    """The project after a run that nothing has broken."""
    folder = tmp_path_factory.mktemp("unbroken") / "project"
    shutil.copytree(project, folder)
    with contextlib.chdir(folder):
        features(tiny, "scenes")
    return folder


@pytest.fixture(scope="module")
def killed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of the project, with an old output, in which a run was killed at each moment."""
    folders = {name: tmp_path_factory.mktemp("killed") / "project" for name in MOMENTS}
    for folder in folders.values():
        shutil.copytree(project, folder)
        (folder / FEATURES).mkdir()
        (folder / FEATURES / "old").touch()
    runs = [(str(folder), MOMENTS[name]) for name, folder in folders.items()]
    done = subprocess.run(
        [sys.executable, "-c", KILLED_RUNS],
        cwd=ROOT,
        input=json.dumps(runs),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(runs), done.stderr
    return folders


@pytest.mark.parametrize(
    ("moment", "output", "filled"),
    [
        ("at the start", "old", 0),
        ("while filling", "old", 2 * GROUP),
        ("before the end", "none", PAIRS),
        ("at the end", "new", 0),
    ],
)
def test_a_run_that_was_killed_is_gone_on_from(
    moment: str,
    output: str,
    filled: int,
    killed: dict[str, Path],
    unbroken: Path,
    tiny: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(killed[moment], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    whole = contents(unbroken / FEATURES)
    expected = {"old": {"old": b""}, "none": None, "new": whole}[output]
    assert (contents(FEATURES) if FEATURES.exists() else None) == expected

    features(tiny, "scenes")
    said = capsys.readouterr().err
    assert (f"going on after {filled} of {PAIRS} samples" in said) == (filled > 0)
    left = PAIRS - filled
    assert (f"{left}/{left} samples" in said) == (left > 0)
    assert contents(FEATURES) == whole
    assert not HOME.exists()
    assert sorted(path.name for path in FEATURES.parent.iterdir()) == [
        "captions",
        "features",
        "pairs",
    ]


def other_length(params: Params) -> Params:
    return with_model(params, max_tokens=12)


def other_pictures(params: Params) -> Params:
    write_sources(params, PAIRS, seed=1)
    return params


def other_structure(params: Params) -> Params:
    content = params.model_dump(by_alias=True)
    content["recipes"][params.recipe]["captions"]["mode"] = "mask"
    captions(Params.model_validate(content), "scenes")
    return params


def other_network(params: Params) -> Params:
    write_tiny_clip(Path("."), text_cfg=TINY["text_cfg"] | {"layers": 1})
    return params


@pytest.mark.parametrize(
    "change",
    [other_length, other_pictures, other_structure, other_network],
    ids=lambda f: f.__name__,
)
def test_what_is_made_of_something_else_is_not_gone_on_from(
    change: Callable[[Params], Params],
    killed: dict[str, Path],
    tiny: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(killed["while filling"], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert len(list(HOME.glob("*"))) == 3  # arrays, how far they are filled, and a broken note
    changed = change(tiny)
    features(changed, "scenes")
    assert "going on" not in capsys.readouterr().err
    assert not HOME.exists()
    found = contents(FEATURES)
    features(changed, "scenes")
    assert contents(FEATURES) == found


def test_weights_of_the_same_name_are_not_the_same(
    tiny: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = Path("weights.pt")
    name = f"{write_tiny_clip(Path('.'))}/{weights}"
    settings = with_model(tiny, image_tower=name, text_tower=name).recipe_settings.model
    weights.write_bytes(b"1")
    before = stage._signature(settings)
    assert stage._signature(settings) == before
    weights.write_bytes(b"2")
    assert stage._signature(settings) != before
    assert stage._signature(settings, b"pairs") != stage._signature(settings)


def test_a_killed_run_goes_on_only_with_the_code_that_it_began_with() -> None:
    """The signature covers the code in the data graph, but for parameters and machinery."""
    graph = YAML(typ="safe").load(ROOT / "dvc.yaml")
    code = [
        dep for dep in graph["stages"]["features"]["do"]["deps"] if dep.startswith("structxlip")
    ]
    machinery = ("structxlip/config", "structxlip/incremental", "structxlip/data/quarantine.py")
    deciding = [
        dep for dep in code if not dep.startswith((*machinery, "structxlip/data/shards.py"))
    ]
    assert sorted(ROOT / dep for dep in deciding) == sorted(stage.CODE)


def test_cached_features_train_like_the_towers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = small("frozen", {"image_px": 96, "embed_dim": 32, "hidden_dim": 32, "dropout": 0.3})
    write_sources(params, 70)
    edges(params, "scenes")
    features(params, "scenes")
    run = TrainingRun(params, "structxlip", FEATURES, Path("data/scenes/edges"))
    store = FeatureStore(FEATURES)
    maps = EdgeMaps(Path("data/scenes/edges"), store.ids)
    cached = batches(store, maps)
    # Drawn alike, but of each row only its place: what the towers are to be run on.
    places = FeatureStore(FEATURES)
    places.image = np.arange(len(store.image))[:, None]
    places.caption = places.structure = np.arange(len(store.caption))[:, None]
    places.chunks = 1 + np.arange(len(store.chunks))[:, None]
    drawn = batches(places, maps)
    towers = Towers(params)

    losses = []
    for through_towers in (False, True):
        task = model_with_loss(run, untrained_model(run, store, maps))
        optimizer = torch.optim.AdamW(task.parameters(), lr=1e-3)
        for epoch in range(2):
            for step, pairs in enumerate(cached.epoch(epoch)):
                batch = cached.batch(pairs, epoch, step)
                if through_towers:
                    batch = towers(drawn.batch(pairs, epoch, step))
                torch.manual_seed(100 * epoch + step)  # of dropout
                found = task(batch, {})
                optimizer.zero_grad()
                found["loss"].backward()
                optimizer.step()
                losses.append([float(value.detach()) for value in found.values()])
    from_cache, from_towers = np.split(np.array(losses), 2)
    assert from_cache.shape == (8, 5)
    assert from_cache[-1, -1] < from_cache[0, -1]
    np.testing.assert_allclose(from_towers, from_cache, atol=1e-4, rtol=0)


def test_copies_of_training_pictures_in_other_colours_are_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = small("frozen", {"image_px": 96})
    write_sources(params, 12)
    params = with_model(params, colour_copies=2)
    features(params, "scenes", tmp_path / "recoloured")
    assert not FEATURES.exists()
    store = FeatureStore(tmp_path / "recoloured")
    assert store.copies is not None
    assert len(store.copies) == 10  # two are of validation and test
    encoder = load_encoders(**params.recipe_settings.model.encoder_settings())[0]
    rows = store.rows("train")[[3, 7]]
    square = Pixels(96).encode([decode_rgb(picture(rows[0]))])[0]
    copies = colour_copies(square, 2)
    found = store.recoloured(rows, np.array([2, 0]))
    np.testing.assert_allclose(found[0], encoder.encode([copies[1]])[0], atol=0.05)
    np.testing.assert_array_equal(found[1], store.image[rows[1]])


def batches(store: FeatureStore, maps: EdgeMaps) -> TrainingBatches:
    return TrainingBatches(store, maps, batch_size=16, chunks_per_caption=3, seed=0)


class Towers:
    """Makes a batch of places into what frozen towers make of the raw images and texts there."""

    def __init__(self, params: Params) -> None:
        def rows(artifact: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = (
                ds.dataset(shards(FEATURES.parent / artifact)).to_table().to_pylist()
            )
            return found

        self.images, self.texts = load_encoders(**params.recipe_settings.model.encoder_settings())
        self.pairs, self.captions = rows("pairs"), rows("captions")
        self.chunks = [chunk for caption in self.captions for chunk in caption["chunks"]]

    def __call__(self, places: Batch) -> Batch:
        pictures = [decode_rgb(self.pairs[i]["image"]) for i in places["image"][:, 0].tolist()]
        rows = [self.captions[i] for i in places["caption"][:, 0].tolist()]
        spans = [
            [(self.chunks[i - 1]["start"], self.chunks[i - 1]["end"]) for i in chunks if i]
            for chunks in places["chunks"][..., 0].tolist()
        ]
        structure, found = self.texts.encode([row["structure"] for row in rows], spans)
        mask = places["chunk_mask"]
        chunks = torch.zeros(*mask.shape, structure.shape[1])
        chunks[mask] = torch.from_numpy(np.concatenate(found))
        return places | Batch(
            image=torch.from_numpy(self.images.encode(pictures)),
            caption=torch.from_numpy(self.texts.encode([row["text"] for row in rows])[0]),
            structure=torch.from_numpy(structure),
            chunks=chunks,
        )
