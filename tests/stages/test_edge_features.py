"""Stage `edge_features`: the frozen tower reads what the recipe asks for, and training, evaluation
and serving see the same."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from structxlip.config import ArmSettings, Params, Recipe, load_params
from structxlip.cues import decode_edges, drawing
from structxlip.data.ingestion import write_pairs
from structxlip.data.pairs import RawPair
from structxlip.data.shards import read_shards
from structxlip.errors import UserError
from structxlip.evaluation.embedding import embed_parts, embed_split
from structxlip.experiments.compare import ROWS
from structxlip.experiments.rows import Row, plan
from structxlip.features.edge_features import EdgeFeatures
from structxlip.features.store import FeatureStore
from structxlip.models.build import build_model
from structxlip.models.projection import TowerBranch
from structxlip.models.towers import ImageTower, load_encoders
from structxlip.serving.embedder import Embedder
from structxlip.serving.reranker import Reranker
from structxlip.stages.captions import captions
from structxlip.stages.edge_features import edge_features
from structxlip.stages.edges import edges, make_edges
from structxlip.stages.features import features
from structxlip.training.assembly import assemble, open_view
from structxlip.training.run import TrainingRun
from tests.operation import ROOT

PX, GRID, PAIRS = 64, 2, 20
SPLITS = ["train"] * 12 + ["val"] * 4 + ["test"] * 4
BLANK = 3  # a picture without structure


def picture(number: int) -> bytes:
    image = np.full((PX, PX, 3), 230, np.uint8)
    if number != BLANK:
        centre, size = (20 + number, 30), 6 + number % 9
        cv2.circle(image, centre, size, (20, 10 * number, 90), -1)
    return cv2.imencode(".png", image)[1].tobytes()


def changed(params: Params, recipe: str = "frozen", **sections: dict[str, object]) -> Params:
    """The parameters with other values in sections of a recipe, which they follow."""
    content = params.recipes[recipe].model_dump()
    for name, values in sections.items():
        content[name] = content[name] | values
    recipes = params.recipes | {recipe: Recipe.model_validate(content)}
    return params.model_copy(update={"recipes": recipes, "recipe": recipe})


@pytest.fixture(scope="module")
def params() -> Params:
    """The shipped recipe `frozen`, small."""
    return changed(
        load_params(ROOT / "params.yaml"),
        edges={"size_px": PX, "tower_grid": GRID, "min_density": 0.001},
        model={"image_px": PX, "max_tokens": 16, "embed_dim": 16, "hidden_dim": 16, "dropout": 0.0},
        train={"epochs": 2, "batch_size": 6, "warmup_epochs": 1},
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    """A folder in which all artifacts of `scenes` are made."""
    folder = tmp_path_factory.mktemp("edge-features")
    (folder / "data/scenes/pairs").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_pairs(
            [
                RawPair(
                    f"p{i}",
                    lambda i=i: picture(i),  # type: ignore[misc]
                    [f"a disc of size {i} on a wall"],
                    group=f"p{i}",
                    source="test",
                    split=SPLITS[i],
                )
                for i in range(PAIRS)
            ],
            Path("data/scenes/pairs"),
            shard_bytes=2**20,
            max_bad_fraction=0,
            split_for=lambda pair: pair.split or "train",
        )
        for stage in (edges, captions, features, edge_features):
            stage(params, "scenes")
    return folder


@pytest.fixture
def data(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    return Path("data/scenes")


def tower(params: Params) -> ImageTower:
    found, _ = load_encoders(**params.recipe_settings.model.encoder_settings())
    assert isinstance(found, ImageTower)
    return found


def drawn(data: Path) -> list[NDArray[np.uint8]]:
    stored = read_shards(data / "edges", ["edges"])["edges"].to_pylist()
    return [drawing(decode_edges(png)) for png in stored]


def test_the_tower_reads_the_drawn_maps(data: Path, params: Params) -> None:
    stored = np.load(data / "edge_features/features.npy")
    wanted = tower(params).encode_patches(drawn(data), GRID)
    assert stored.shape == (PAIRS, GRID**2, wanted.shape[-1])
    np.testing.assert_allclose(stored, wanted, rtol=2e-3, atol=2e-3)
    assert drawn(data)[BLANK].min() == 255, "no line in a blank picture"


def test_patches_average_to_what_is_pooled(data: Path, params: Params) -> None:
    reader, pictures = tower(params), drawn(data)[:4]
    pooled = reader.encode_patches(pictures, 1)
    np.testing.assert_array_equal(pooled[:, 0], reader.encode(pictures))
    patches = reader.encode_patches(pictures, GRID)  # 64 px are 2 x 2 patches of this tower
    np.testing.assert_allclose(patches.mean(axis=1), pooled[:, 0], atol=0.03)  # half precision
    mirrored = reader.encode_patches([np.ascontiguousarray(p[:, ::-1]) for p in pictures], GRID)
    left_right = [1, 0, 3, 2]
    near = np.abs(mirrored[:, left_right] - patches).mean()
    assert near < np.abs(mirrored - patches).mean(), "patches lie where the picture has them"


def test_what_is_there_is_not_made_again(
    data: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (data / "edge_features/features.npy").stat().st_mtime_ns
    edge_features(params, "scenes")
    assert (data / "edge_features/features.npy").stat().st_mtime_ns == before
    assert not Path(".cache/rows/edge_features/scenes").exists()


def test_a_recipe_that_needs_none_has_none(data: Path, params: Params, tmp_path: Path) -> None:
    content = params.recipe_settings.model_dump()
    content["arms"]["structxlip"] |= {"edge_branch": "cnn"}
    content["edges"]["tower_grid"] = None
    cnn = params.model_copy(
        update={"recipes": params.recipes | {"frozen": Recipe.model_validate(content)}}
    )
    kept = (data / "edge_features").rename(tmp_path / "kept")
    try:
        edge_features(cnn, "scenes")
        assert [file.name for file in (data / "edge_features").iterdir()] == ["index.json"]
        run = TrainingRun.of_dataset(params, "scenes", "structxlip")
        with pytest.raises(UserError, match="edge_features does not fit the features; run"):
            open_view(run, run.store())
    finally:
        (data / "edge_features/index.json").unlink()
        (data / "edge_features").rmdir()
        kept.rename(data / "edge_features")


def test_cells_are_no_pictures(data: Path, params: Params) -> None:
    cells = changed(params, edges={"cue": "orientations"})
    with pytest.raises(UserError, match=r"^arms\.structxlip: edge_branch: image_tower reads maps"):
        edges(cells, "scenes")
    make_edges(cells.recipe_settings.edges, "scenes", 0.0)
    try:
        with pytest.raises(UserError, match="an image tower reads maps of pixels, and the cue"):
            edge_features(cells, "scenes")
    finally:
        edges(params, "scenes")
        edge_features(params, "scenes")


def test_a_tower_without_patches_says_so(monkeypatch: pytest.MonkeyPatch, params: Params) -> None:
    pooling = ImageTower(Pooling(), PX, [0.5] * 3, [0.5] * 3)
    images = [np.zeros((PX, PX, 3), np.uint8)]
    assert pooling.encode_patches(images, 1).shape == (1, 1, 3)
    with pytest.raises(UserError, match="this image tower tells no patches; set it to 1"):
        pooling.encode_patches(images, 2)


class Pooling(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean(dim=(2, 3))


class Tokens(Pooling):
    """As a vision transformer tells its patches: a class token, then 4 x 4 patches."""

    num_prefix_tokens = 1

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        patches = torch.nn.functional.avg_pool2d(pixels, PX // 4).flatten(2).transpose(1, 2)
        return torch.cat([9 * torch.ones_like(patches[:, :1]), patches], dim=1)


class ChannelsLast(Pooling):
    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(pixels, PX // 8).permute(0, 2, 3, 1)


@pytest.mark.parametrize("network", [Tokens(), ChannelsLast()])
def test_patches_of_transformers_are_where_they_belong(network: torch.nn.Module) -> None:
    image = np.random.default_rng(0).integers(0, 256, (PX, PX, 3)).astype(np.uint8)
    found = ImageTower(network, PX, [0.0] * 3, [1.0] * 3).encode_patches([image], 2)
    quarters = image.reshape(2, PX // 2, 2, PX // 2, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(found[0], quarters.reshape(4, 3), atol=1e-3)


def test_a_map_without_structure_is_zero(data: Path, params: Params) -> None:
    run = TrainingRun.of_dataset(params, "scenes", "structxlip")
    store = run.store()
    view = open_view(run, store)
    assert isinstance(view, EdgeFeatures)
    rows = np.arange(PAIRS)
    maps = view.maps(rows)
    assert view.has_structure.tolist() == [row != BLANK for row in rows]
    assert not maps[BLANK].any()
    stored = np.load(data / "edge_features/features.npy").astype(np.float32)
    np.testing.assert_array_equal(maps[view.has_structure], stored[view.has_structure])
    with pytest.raises(UserError, match="does not fit the features"):
        EdgeFeatures(data / "edge_features", store.ids[::-1], view.has_structure)


def test_it_is_trained_and_served_as_it_is_evaluated(
    data: Path, params: Params, tmp_path: Path
) -> None:
    run = TrainingRun.of_dataset(params, "scenes", "structxlip")
    training = assemble(run)
    model = training.model
    branch = model.edge_encoder
    assert isinstance(branch, TowerBranch)
    measured = torch.from_numpy(training.view.maps(training.store.rows("train")))
    torch.testing.assert_close(branch.head.mean, measured.mean(dim=(0, 1)))
    first = [
        result.metrics for result in training.loop.run(lambda _: {"val/image_to_text/R@1": 0.0,
                                                                  "val/text_to_image/R@1": 0.0})
    ]  # fmt: skip
    assert {"edge_text_loss", "region_chunk_loss", "edge_image_loss"} <= set(first[0])
    model.eval().save(tmp_path)
    described = {"edges": params.recipe_settings.edges.model_dump(), "cues": ["gradient"]}
    described |= {"captions": params.caption_settings("scenes").model_dump()}
    described |= {"attention_temperature": 0.1}
    (tmp_path / "preprocess.json").write_text(json.dumps(described))
    served = Embedder(tmp_path, alpha=0.5)
    evaluated = embed_split(model, training.store, training.view, "train", 0.5)
    pictures = [picture(i) for i in range(12)]
    found = served.embed_images(pictures)
    np.testing.assert_allclose(found, evaluated.images, atol=2e-3)

    # So is the late interaction, by which answers are reranked.
    local = embed_parts(model, training.store, training.view, "train", 0.1).local
    assert local is not None
    reranker = Reranker(served)
    patches = reranker.patches(pictures)
    np.testing.assert_allclose(patches, local.patches, atol=2e-2)
    assert not patches[BLANK].any()
    first = local.candidates(evaluated.images, evaluated.texts)["text_to_image"]
    for text in (0, 5):
        late = reranker.late(reranker.chunks(f"a disc of size {text} on a wall"), patches)
        np.testing.assert_allclose(late[first.answers[text]], first.late[text], atol=2e-2)
    plain = assemble(TrainingRun.of_dataset(params, "scenes", "vanilla")).model
    plain.eval().save(tmp_path)
    with pytest.raises(UserError, match="cannot rerank"):
        Reranker(Embedder(tmp_path, alpha=0.0))


def test_the_grey_control_is_read_by_the_same_branch(data: Path, params: Params) -> None:
    (trial,) = plan(params, "scenes", {"grey": Row("grey", view="grey")}, [0])
    store = FeatureStore(data / "features")
    view = open_view(trial.run, store)
    assert isinstance(view, EdgeFeatures)
    assert view.has_structure.all()
    assert view.features.shape == (PAIRS, GRID**2, tower(params).dim)
    own = np.load(data / "edge_features/features.npy")
    assert np.abs(view.features - own).mean() > 0.01


def test_the_second_head_reads_the_patches_of_the_picture(data: Path, params: Params) -> None:
    """Its features are those of the image tower, so it can do all that the edge branch can."""
    (trial,) = plan(params, "scenes", {"image": ROWS["image"]}, [0])
    training = assemble(trial.run)
    assert isinstance(training.model.edge_encoder, TowerBranch)
    assert training.view is not None
    assert training.view.plain_captions
    pooled = training.view.maps(np.arange(PAIRS)).mean(axis=1)
    np.testing.assert_allclose(pooled, training.store.image, atol=0.03)  # half precision
    weights = training.loop.local_task.loss.weights
    assert weights["edge_text"] > 0 < weights["region_chunk"]
    assert weights["edge_image"] == 0


def test_the_branch_needs_its_features(data: Path, params: Params) -> None:
    recipe = params.recipe_settings
    store = FeatureStore(data / "features")
    with pytest.raises(AssertionError, match="needs the features of its edge maps"):
        build_model(recipe.model, store, seed=0, edge_branch="image_tower")
    assert ArmSettings().edge_branch == "cnn"
