"""CLIP of transformers and of open_clip: the same embeddings, and no weight lost in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig, CLIPConfig, CLIPModel, CLIPTextConfig, SiglipConfig

from structxlip.models.hf import from_hf_clip, to_hf_clip
from structxlip.models.weights import stretch_text
from tests.models.test_state_dicts import POINTER

IMAGE_PX, LENGTH, VOCABULARY = 32, 24, 120


def hf_clip(**changes: Any) -> CLIPModel:
    tower = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "hidden_act": "quick_gelu",
    } | {k: v for k, v in changes.items() if not k.startswith(("text_", "vision_"))}
    text = tower | {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": LENGTH,
        "bos_token_id": VOCABULARY - 2,
        "eos_token_id": VOCABULARY - 1,
    }
    vision = tower | {"image_size": IMAGE_PX, "patch_size": 8}
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(
            text_config=text | {k[5:]: v for k, v in changes.items() if k.startswith("text_")},
            vision_config=vision
            | {k[7:]: v for k, v in changes.items() if k.startswith("vision_")},
            projection_dim=24,
        )
    )
    for parameter in model.parameters():  # biases and norms start at 0 and 1, which hides mistakes
        torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


def inputs(length: int = LENGTH) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(3, 3, IMAGE_PX, IMAGE_PX, generator=generator)
    ids = torch.randint(3, VOCABULARY - 2, (3, length), generator=generator)
    for row, end in enumerate((4, length // 2, length - 1)):
        ids[row, end:] = VOCABULARY - 1  # the end of a text, and padding as CLIP's tokenizer pads
    return images, ids


def embeddings_of_hf(model: CLIPModel, images: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    found = model(input_ids=ids, pixel_values=images)
    return found.image_embeds, found.text_embeds


def embeddings_of_open_clip(clip: Any, images: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    return clip.encode_image(images, normalize=True), clip.encode_text(ids, normalize=True)


CONFIGS: list[dict[str, Any]] = [
    {},
    {"hidden_act": "gelu", "layer_norm_eps": 1e-3},
    {"text_eos_token_id": 2},
    {"text_hidden_size": 128, "text_num_attention_heads": 4, "vision_num_hidden_layers": 3},
    {"vision_intermediate_size": 192, "vision_patch_size": 16, "vision_num_attention_heads": 2},
]


@pytest.mark.parametrize("changes", CONFIGS)
@torch.no_grad()
def test_embeddings_agree_there_and_back(changes: dict[str, Any]) -> None:
    model = hf_clip(**changes)
    expected = embeddings_of_hf(model, *inputs())
    clip = from_hf_clip(model)
    torch.testing.assert_close(
        embeddings_of_open_clip(clip, *inputs()), expected, atol=1e-5, rtol=0
    )
    back = to_hf_clip(clip)
    torch.testing.assert_close(embeddings_of_hf(back, *inputs()), expected, atol=1e-5, rtol=0)
    assert {n: v.tolist() for n, v in back.state_dict().items()} == {
        n: v.tolist() for n, v in model.state_dict().items()
    }


@torch.no_grad()
def test_a_stretched_text_agrees_there_and_back() -> None:
    clip = from_hf_clip(hf_clip())
    images, ids = inputs(length=60)
    stretch_text(clip, 60)
    ours = embeddings_of_open_clip(clip, images, ids)
    stretched = to_hf_clip(clip)
    assert stretched.config.text_config.max_position_embeddings == 60
    torch.testing.assert_close(embeddings_of_hf(stretched, images, ids), ours, atol=1e-5, rtol=0)
    again = embeddings_of_open_clip(from_hf_clip(stretched), images, ids)
    torch.testing.assert_close(again, ours, atol=1e-5, rtol=0)


FORMS = ["folder", "shards", "bin", "plain", "clip_model.", "model_state_dict", "both"]


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_every_form_of_a_checkpoint_loads(form: str, tmp_path: Path) -> None:
    """The authors save a CLIPModel with 248 positions, plain, wrapped or under a key."""
    model = hf_clip(text_max_position_embeddings=248)
    state = model.state_dict()
    if form in ("folder", "shards", "bin"):
        source = tmp_path / "clip"
        model.save_pretrained(source, max_shard_size="200KB" if form == "shards" else "5GB")
        assert (source / "model.safetensors").exists() == (form != "shards")
        if form == "bin":
            torch.save(load_file(source / "model.safetensors"), source / "pytorch_model.bin")
            (source / "model.safetensors").unlink()
    elif form == "plain":
        source = tmp_path / "clip.safetensors"
        save_file(state, source)
    else:
        source = tmp_path / "clip.pt"
        if form != "model_state_dict":
            state = {f"clip_model.{name}": value for name, value in state.items()}
        torch.save(state if form == "clip_model." else {"model_state_dict": state}, source)
    clip = from_hf_clip(source)
    images, ids = inputs(length=248)
    torch.testing.assert_close(
        embeddings_of_open_clip(clip, images, ids),
        embeddings_of_hf(model, images, ids),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_a_folder_that_lacks_weights_is_refused(ending: str, tmp_path: Path) -> None:
    """Transformers itself gives them random values, and says so in a log."""
    hf_clip().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    gone = [name for name in state if name.startswith("vision_model.encoder.layers.1.")]
    gone.append("visual_projection.weight")
    assert len(gone) == 17
    state = {name: value for name, value in state.items() if name not in gone}
    file.unlink()
    if ending == "safetensors":
        save_file(state, file)
    else:
        torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="do not fit; missing: ") as refused:
        from_hf_clip(tmp_path)
    missing = str(refused.value).partition("missing: ")[2].split(", ")
    assert len(missing) == 13  # open_clip keeps query, key and value in one matrix
    assert {"visual.proj", "visual.transformer.resblocks.1.ln_1.bias"} < set(missing)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda f: SiglipConfig().save_pretrained(f), "is a model of the type siglip, not a CLIP"),
        (lambda f: BertConfig().save_pretrained(f), "is a model of the type bert"),
        (lambda f: CLIPTextConfig().save_pretrained(f), "of the type clip_text_model"),
        (lambda f: (f / "config.json").write_text("{}"), "is a model of the type None"),
        (lambda f: (f / "config.json").write_text("[]"), "is a model of the type None"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json is no JSON"),
        (lambda f: (f / "config.json").write_text(POINTER), "is a pointer of Git LFS"),
        (lambda f: (f / "model.safetensors").touch(), r"it has no config\.json"),
        (lambda f: CLIPConfig().save_pretrained(f), r"holds no weights; it needs model\.safe"),
    ],
)
def test_a_folder_of_something_else_is_one_sentence(
    write: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    write(tmp_path)
    with pytest.raises(ValueError, match=message) as refused:
        from_hf_clip(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_pointer_instead_of_weights_says_how_to_get_them(tmp_path: Path) -> None:
    hf_clip().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_text(POINTER)
    with pytest.raises(ValueError, match=r"model\.safetensors is a pointer .* `git lfs pull`"):
        from_hf_clip(tmp_path)


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
@torch.no_grad()
def test_a_name_on_the_hub_is_read_from_its_cache(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models--org--clip" / "snapshots" / "abc"
    (tmp_path / "models--org--clip" / "refs").mkdir(parents=True)
    (tmp_path / "models--org--clip" / "refs" / "main").write_text("abc")
    model = hf_clip()
    model.save_pretrained(folder)
    if ending == "bin":
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    found = embeddings_of_open_clip(from_hf_clip("org/clip"), *inputs())
    torch.testing.assert_close(found, embeddings_of_hf(model, *inputs()), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"org/other is no CLIP .* connect to the internet once"):
        from_hf_clip("org/other")


def test_missing_and_unexpected_weights_are_named(tmp_path: Path) -> None:
    state = hf_clip().state_dict()
    del state["text_model.encoder.layers.1.mlp.fc1.bias"]
    state["vision_model.extra.weight"] = torch.zeros(1)
    state["text_model.embeddings.position_ids"] = torch.arange(LENGTH)  # holds no weights
    torch.save(state, tmp_path / "clip.pt")
    with pytest.raises(ValueError, match="do not fit") as refused:
        from_hf_clip(tmp_path / "clip.pt")
    assert str(refused.value).endswith(
        "missing: transformer.resblocks.1.mlp.c_fc.bias; unexpected: vision_model.extra.weight"
    )


def test_a_weight_of_another_shape_is_named(tmp_path: Path) -> None:
    state = hf_clip().state_dict()
    state["vision_model.post_layernorm.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "clip.pt")
    with pytest.raises(ValueError, match=r"of another shape: visual\.ln_post\.bias \(3,\) for"):
        from_hf_clip(tmp_path / "clip.pt")


def test_what_is_no_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no weights")
    torch.save({"a": 1}, tmp_path / "number.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    for file, message in (
        ("text.pt", "holds no weights that can be read"),
        ("number.pt", "holds no state dict of tensors"),
        ("other.pt", "holds no CLIPModel of transformers"),
        ("gone.safetensors", "is missing"),
    ):
        with pytest.raises(ValueError, match=message) as refused:
            from_hf_clip(tmp_path / file)
        assert "\n" not in str(refused.value)


def test_what_one_side_cannot_express_is_refused() -> None:
    with pytest.raises(ValueError, match="gelu or quick_gelu in both towers, not relu"):
        from_hf_clip(hf_clip(text_hidden_act="relu"))
    siglip = open_clip.CLIP(
        8,
        {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32},
        {"context_length": 8, "vocab_size": 9, "width": 16, "heads": 1, "layers": 1},
        init_logit_bias=-10.0,
    )
    with pytest.raises(ValueError, match="two plain transformers only"):
        to_hf_clip(siglip)
