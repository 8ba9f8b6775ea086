"""A CLIP that is trained itself: its features one by one, its edge branches, and what is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor

from structxlip.config import EdgeBranch, Params
from structxlip.errors import UserError
from structxlip.features.edge_maps import EdgeMaps
from structxlip.losses import CompositeLoss
from structxlip.models.build import build_model, load_model
from structxlip.models.structxlip import Batch
from structxlip.models.towers import encode_images, encode_tokens, load_clip, project_tokens
from structxlip.models.tuned_clip import TunedClip, TunedClipConfig
from structxlip.training.batches import TrainingBatches
from tests.clips import IMAGE_PX
from tests.store import Artifacts

CONFIG = TunedClipConfig(
    image_tower="",
    text_tower="",
    image_px=IMAGE_PX,
    max_tokens=None,
    trained="all",
    lora_rank=2,
    edges="image_tower",
)


@pytest.fixture
def batch(raw_artifacts: Artifacts) -> Batch:
    """12 pairs, some without structure, regions or chunks."""
    batches = TrainingBatches(
        raw_artifacts.store,
        raw_artifacts.maps,
        batch_size=12,
        chunks_per_caption=3,
        regions_per_image=2,
        crop_px=IMAGE_PX,
        seed=0,
    )
    return batches.batch(batches.epoch(0)[0], 0, 0)


def clip_of(params: Params, **changes: Any) -> TunedClip:
    name = params.recipe_settings.model.image_tower
    config = replace(CONFIG, image_tower=name, text_tower=name, **changes)
    return TunedClip(config, load_clip(name, config.max_tokens))


def pictures(images: Tensor, model: TunedClip) -> Tensor:
    """``uint8 [N, S, S, 3]`` or maps ``[N, 1, S, S]``, as open_clip preprocesses them."""
    visual = model.loaded.model.visual
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (visual.image_mean, visual.image_std)
    )
    if images.dtype == torch.uint8:
        images = images.permute(0, 3, 1, 2) / 255
    return (images.expand(-1, 3, -1, -1) - mean) / std


def test_features_are_those_of_the_clip_one_by_one(paper_params: Params, batch: Batch) -> None:
    model = clip_of(paper_params).eval()
    clip = model.loaded.model
    found = model(batch)
    torch.testing.assert_close(
        found["image_features"], clip.encode_image(pictures(batch["image"], model))
    )
    torch.testing.assert_close(
        found["edge_features"], clip.encode_image(pictures(batch["edges"], model))
    )
    torch.testing.assert_close(found["text_features"], clip.encode_text(batch["caption"]))
    torch.testing.assert_close(found["structure_features"], clip.encode_text(batch["structure"]))
    assert 0 < int(batch["region_mask"].sum()) < batch["region_mask"].numel()
    for i, k in batch["region_mask"].nonzero().tolist():
        alone = clip.encode_image(pictures(batch["regions"][i, k][None], model))[0]
        torch.testing.assert_close(found["region_features"][i, k], alone)
    assert int(batch["chunk_mask"].sum()) > 3
    for i, c in batch["chunk_mask"].nonzero().tolist():
        _, tokens = encode_tokens(clip, batch["structure"][i : i + 1])
        first, last = batch["chunks"][i, c].tolist()
        rows = tokens[0, first:last]
        naive = torch.zeros(rows.shape[-1])
        for weight, row in zip(rows.norm(dim=-1).softmax(dim=0), rows, strict=True):
            naive = naive + weight * row
        torch.testing.assert_close(found["chunk_features"][i, c], project_tokens(clip, naive))


def test_smaller_crops_are_read_at_their_size(paper_params: Params, batch: Batch) -> None:
    model = clip_of(paper_params).eval()
    mask, regions = batch["region_mask"], batch["regions"]
    small = regions[..., ::2, ::2]
    found = model(batch | {"regions": small})["region_features"]
    for i, k in mask.nonzero().tolist():
        alone = encode_images(model.loaded.model, pictures(small[i, k][None], model))[0]
        torch.testing.assert_close(found[i, k], alone)
    assert not found[~mask].any()
    none: Batch = batch | {"region_mask": torch.zeros_like(mask)}
    without = model(none)["region_features"]
    assert not without.any()
    assert without.requires_grad  # or a worker without crops leaves the others waiting


def test_no_picture_is_read_that_no_loss_needs(paper_params: Params, batch: Batch) -> None:
    """Fault 7: one call a step, with the images and, for the structural losses alone, the edge maps
    and the regions that there are."""
    seen: list[int] = []
    for edges, expected in ((None, 12), ("image_tower", 24 + int(batch["region_mask"].sum()))):
        model = clip_of(paper_params, edges=edges)
        model.clip.visual.register_forward_hook(lambda _m, inputs, _o: seen.append(len(inputs[0])))
        model(batch)
        assert seen.pop() == expected
        assert not seen


def test_a_vanilla_batch_reads_neither_edges_nor_structure(raw_artifacts: Artifacts) -> None:
    batches = TrainingBatches(
        raw_artifacts.store, None, batch_size=12, chunks_per_caption=3, seed=0
    )
    assert set(batches.batch(batches.epoch(0)[0], 0, 0)) == {"image", "caption", "group_ids"}


def test_maps_of_another_size_are_resized(paper_params: Params, batch: Batch) -> None:
    model = clip_of(paper_params).eval()
    twice = batch["edges"].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    found = model.edge_features(twice)
    cosines = torch.cosine_similarity(found, model.edge_features(batch["edges"]))
    assert float(cosines.detach().min()) > 0.9


@pytest.mark.parametrize("branch", ["image_tower", "cnn"])
@pytest.mark.parametrize("trained", ["all", "lora", 1])
def test_what_is_trained_is_saved_and_loaded(
    paper_params: Params, batch: Batch, branch: Any, trained: Any, tmp_path: Path
) -> None:
    model = clip_of(paper_params, trained=trained, edges=branch)
    start = clip_of(paper_params, trained=trained, edges=branch)
    weights = {"edge_text": 0.5, "region_chunk": 0.1, "edge_image": 0.05}
    crops = {"region_chunk": "region_chunk", "edge_image": "cosine"}
    kinds = crops if branch == "image_tower" else {}
    loss = CompositeLoss(model.embed_dim, **weights, kinds=kinds)
    parameters = [p for p in (*model.parameters(), *loss.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, 3e-3)
    losses = []
    for _ in range(8):
        found = loss(model(batch))["loss"]
        optimizer.zero_grad()
        found.backward()
        assert all(p.grad is not None for p in parameters), "an unused weight stalls workers"
        optimizer.step()
        losses.append(float(found.detach()))
    assert losses[-1] < losses[0]
    model.prepare_export(lambda: start, 1.0)
    model.eval().save(tmp_path)
    loaded = load_model(tmp_path)
    expected = model.embed_images(batch["image"], batch["edges"], 0.3)
    torch.testing.assert_close(
        loaded.embed_images(batch["image"], batch["edges"], 0.3), expected, atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        loaded.embed_texts(batch["caption"]), model.embed_texts(batch["caption"])
    )
    untrained = start.eval().embed_images(batch["image"], None, 0.0)
    assert not torch.allclose(model.embed_images(batch["image"], None, 0.0), untrained, atol=1e-3)


def test_the_folder_is_a_model_of_open_clip(
    paper_params: Params, batch: Batch, tmp_path: Path
) -> None:
    model = clip_of(paper_params, max_tokens=60).eval()
    model.save(tmp_path)
    clip, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    ids = tokenizer(["a ball left of a house " * 20])
    assert ids.shape == (1, 60)
    torch.testing.assert_close(
        clip.encode_text(ids, normalize=True).detach(), model.embed_texts(ids)
    )
    assert "Resize(size=(32, 32)" in str(preprocess).replace("[", "(").replace("]", ")")
    images, texts = model.encoders()
    pixels = torch.from_numpy(images.encode([np.full((40, 50, 3), 9, np.uint8)]))
    torch.testing.assert_close(
        clip.encode_image(pictures(pixels, model), normalize=True).detach(),
        model.embed_images(pixels, None, 0.0),
    )
    read, _ = texts.encode(["a ball left of a house " * 20])
    assert np.array_equal(read, ids.numpy())


@pytest.mark.parametrize("trained", ["all", "lora"])
def test_export_goes_a_share_of_the_way(paper_params: Params, trained: Any, batch: Batch) -> None:
    """WiSE-FT: halfway between the weights of the start and those that were trained."""
    start, model = clip_of(paper_params, trained=trained), clip_of(paper_params, trained=trained)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    whole = clip_of(paper_params, trained=trained)
    whole.load_state_dict(model.state_dict())
    whole.prepare_export(lambda: clip_of(paper_params, trained=trained), 1.0)
    model.prepare_export(lambda: start, 0.5)
    before, after = clip_of(paper_params).clip.state_dict(), whole.clip.state_dict()
    for name, value in model.clip.state_dict().items():
        torch.testing.assert_close(value, (before[name] + after[name]) / 2)
    assert not torch.allclose(before["text_projection"], after["text_projection"])


def test_a_shorter_text_stays_shorter(paper_params: Params, tmp_path: Path) -> None:
    model = clip_of(paper_params, max_tokens=10).eval()
    model.save(tmp_path)
    _, texts = load_model(tmp_path).encoders()
    assert texts.encode(["a ball left of a house " * 9])[0].shape == (1, 10)


def test_regions_are_not_read_where_no_loss_needs_them(paper_params: Params, batch: Batch) -> None:
    seen: list[int] = []
    model = clip_of(paper_params)
    model.clip.visual.register_forward_hook(lambda _m, inputs, _o: seen.append(len(inputs[0])))
    without: Any = {k: v for k, v in batch.items() if not k.startswith("region")}
    assert "region_features" not in model(without)
    assert seen == [24]


BRANCHES: list[tuple[int, EdgeBranch | None]] = [
    (0, None),
    (0, "image_tower"),
    (0, "cnn"),
    (1, None),
]


def test_both_arms_start_from_the_same_clip(raw_artifacts: Artifacts, paper_params: Params) -> None:
    settings = paper_params.recipe_settings.model
    states = [
        build_model(settings, raw_artifacts.store, seed=seed, edge_branch=branch).state_dict()
        for seed, branch in BRANCHES
    ]
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value)
        assert torch.equal(states[2][name], value)
    assert not torch.equal(states[0]["clip.text_projection"], states[3]["clip.text_projection"])


def test_mistakes_are_one_sentence(
    artifacts: Artifacts, paper_params: Params, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"model\.trained: .* blocks from 1 to 2, not 3"):
        clip_of(paper_params, trained=3)
    with pytest.raises(UserError, match="made with other towers; run `dvc repro`"):
        build_model(paper_params.recipe_settings.model, artifacts.store, seed=0, edge_branch=None)
    clip_of(paper_params).save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="could not be loaded"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="could not be loaded"):
        load_model(tmp_path)


def test_crops_are_the_regions_of_the_map(raw_artifacts: Artifacts) -> None:
    maps: EdgeMaps = raw_artifacts.maps
    rows = np.arange(12)
    drawn = maps.maps(rows)
    crops, mask = maps.crops(rows, drawn, 2, 20)
    assert mask.sum(axis=1).tolist() == [0 if i % 5 == 0 else i % 3 for i in range(12)]
    assert crops.shape == (12, 2, 1, 20, 20)
    region = drawn[2, 0, 4:16, 0:20]
    np.testing.assert_allclose(crops[2, 0, 0].mean(), region.mean(), atol=0.05)
    assert not crops[~mask].any()
