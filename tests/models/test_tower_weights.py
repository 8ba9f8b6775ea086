"""Towers with weights from files: every form of a checkpoint, and nothing that is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from structxlip.errors import UserError
from structxlip.models.towers import load_clip, load_image_tower
from structxlip.models.tuned_clip import TunedClip, TunedClipConfig
from tests.clips import IMAGE_PX, TINY, write_tiny_clip
from tests.models.test_state_dicts import POINTER, prefixed, training_checkpoint


def clip_state(tiny_clip: str) -> dict[str, Tensor]:
    return dict(load_clip(tiny_clip, seed=1).model.state_dict())


@pytest.mark.parametrize("form", ["plain", "open_clip", "_orig_mod.module.", "model.", "numbered"])
def test_a_checkpoint_of_a_training_loop_is_a_clip(
    form: str, tiny_clip: str, tmp_path: Path
) -> None:
    state = clip_state(tiny_clip)
    wrapped = {
        "plain": lambda: state,
        "open_clip": lambda: training_checkpoint(state),
        "numbered": lambda: state | {"logit_scale": state["logit_scale"].reshape(1)},
    }.get(form, lambda: prefixed(form)(state))()
    torch.save(wrapped, tmp_path / "epoch_3.pt")
    found = load_clip(f"{tiny_clip}/{tmp_path / 'epoch_3.pt'}").model.state_dict()
    assert found.keys() == state.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


def test_positions_are_resized_to_the_images_and_texts_of_the_configuration(
    tiny_clip: str, tmp_path: Path
) -> None:
    torch.save(clip_state(tiny_clip), tmp_path / "clip.pt")
    longer = TINY["text_cfg"] | {"context_length": 60}
    name = write_tiny_clip(
        tmp_path, text_cfg=longer, vision_cfg=TINY["vision_cfg"] | {"image_size": 64}
    )
    found = load_clip(f"{name}/{tmp_path / 'clip.pt'}").model
    assert found.positional_embedding.shape[0] == 60
    assert found.visual.positional_embedding.shape[0] == 17


def test_a_clip_that_lacks_weights_is_refused(tiny_clip: str, tmp_path: Path) -> None:
    state = clip_state(tiny_clip)
    for name, message in (
        (
            "visual.proj",
            r"could not be loaded .the weights of .*clip\.pt do not fit; missing: visu",
        ),
        ("logit_scale", "missing: logit_scale"),
    ):
        torch.save({k: v for k, v in state.items() if k != name}, tmp_path / "clip.pt")
        with pytest.raises(UserError, match=message):
            load_clip(f"{tiny_clip}/{tmp_path / 'clip.pt'}")
    for content in (POINTER, "no weights"):
        (tmp_path / "clip.pt").write_text(content)
        with pytest.raises(UserError, match=r"`git lfs pull`|no weights that can be read"):
            load_clip(f"{tiny_clip}/{tmp_path / 'clip.pt'}")


def test_pointers_in_a_folder_of_open_clip_say_how_to_get_the_files(
    tiny_clip: str, tmp_path: Path
) -> None:
    config = TunedClipConfig(tiny_clip, tiny_clip, IMAGE_PX, None, "all", 8, None)
    TunedClip(config, load_clip(tiny_clip)).save(tmp_path)
    name = f"open_clip:local-dir:{tmp_path}"
    assert load_clip(name).model.visual.image_size == (IMAGE_PX, IMAGE_PX)
    for file in ("model.safetensors", "open_clip_config.json"):
        (tmp_path / file).write_text(POINTER)
        with pytest.raises(
            UserError, match=f"{file} is a pointer of Git LFS, not the file; run `git lfs pull`"
        ):
            load_clip(name)
    config_file = tmp_path / "clip.json"
    config_file.write_text(POINTER)
    with pytest.raises(UserError, match=r"clip\.json is a pointer of Git LFS"):
        load_clip(f"open_clip:{config_file}")


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_a_network_of_timm_is_loaded_whole_or_not_at_all(model: str, tmp_path: Path) -> None:
    """Timm itself leaves random what is missing, where the classifier is not wanted."""
    torch.manual_seed(0)
    network = timm.create_model(model, num_classes=7).eval()
    state = network.state_dict()
    save_file(state, tmp_path / "plain.safetensors")
    torch.save({"state_dict": prefixed("module.")(state)}, tmp_path / "wrapped.pt")
    headless = {
        k: v for k, v in state.items() if not k.startswith(network.pretrained_cfg["classifier"])
    }
    torch.save(headless, tmp_path / "headless.pt")
    image = np.random.default_rng(0).integers(0, 256, (160, 160, 3)).astype(np.uint8)
    features = [
        load_image_tower(f"timm:{model}/{tmp_path / name}", 160).encode([image])
        for name in ("plain.safetensors", "wrapped.pt", "headless.pt")
    ]
    np.testing.assert_array_equal(features[0], features[1])
    np.testing.assert_array_equal(features[0], features[2])
    gone = sorted(load_file(tmp_path / "plain.safetensors"))[3]
    assert gone in headless
    torch.save({k: v for k, v in headless.items() if k != gone}, tmp_path / "lacking.pt")
    with pytest.raises(UserError, match=f"do not fit; missing: {gone}") as refused:
        load_image_tower(f"timm:{model}/{tmp_path / 'lacking.pt'}", 160)
    assert "internet" not in str(refused.value)


def test_names_of_the_first_publication_are_converted(tmp_path: Path) -> None:
    """Those of the ViTs of Google, whose patch embedding is a matrix."""
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=0)
    state = network.state_dict()
    matrix = "patch_embed.proj.weight"
    torch.save({"model": state | {matrix: state[matrix].flatten(1)}}, tmp_path / "vit.pt")
    tower = load_image_tower(f"timm:test_vit/{tmp_path / 'vit.pt'}", 160)
    torch.testing.assert_close(tower.network.state_dict()[matrix], state[matrix])
