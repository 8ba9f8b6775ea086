"""A model on frozen towers that are named by files works wherever its folder goes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from transformers import CLIPConfig, CLIPModel

from structxlip.config import Edges
from structxlip.errors import UserError
from structxlip.models.build import load_model
from structxlip.models.heads import HeadsConfig, HeadsOnTowers
from structxlip.models.towers import load_clip
from structxlip.models.tuned_clip import TunedClip, TunedClipConfig
from structxlip.serving.embedder import Embedder
from tests.clips import IMAGE_PX, write_tiny_clip
from tests.serving.test_embedder import png

TEXT = "packaged:all-minilm-l6-v2"
CONFIG = HeadsConfig(
    image_tower="",
    text_tower="",
    image_px=IMAGE_PX,
    max_tokens=16,
    image_dim=16,
    text_dim=16,
    embed_dim=16,
    hidden_dim=8,
    dropout=0.0,
    aligned=True,
    edges=False,
)


def config_file(folder: Path) -> tuple[str, str]:
    write_tiny_clip(folder)
    name = f"open_clip:{folder}/tiny_clip.json"
    return name, name


def config_and_weights(folder: Path) -> tuple[str, str]:
    name, _ = config_file(folder)
    (folder / "run").mkdir()
    torch.save({"state_dict": load_clip(name, seed=5).model.state_dict()}, folder / "run/last.pt")
    return (f"{name}/{folder}/run/last.pt",) * 2


def folder_of_open_clip(folder: Path) -> tuple[str, str]:
    name, _ = config_file(folder)
    config = TunedClipConfig(name, name, IMAGE_PX, None, "all", 8, None)
    (folder / "clip").mkdir()
    TunedClip(config, load_clip(name, seed=6)).save(folder / "clip")
    return (f"open_clip:local-dir:{folder}/clip",) * 2


def folder_of_transformers(folder: Path) -> tuple[str, str]:
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    tower |= {"num_attention_heads": 2}
    text = {"vocab_size": 49408, "max_position_embeddings": 40, "eos_token_id": 49407}
    config = CLIPConfig(
        text_config=tower | text,
        vision_config=tower | {"image_size": IMAGE_PX, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder / "clip", max_shard_size="1MB")
    (folder / "clip" / "flax_model.msgpack").write_bytes(b"the same in another format")
    return (f"hf:{folder}/clip",) * 2


def weights_of_timm(folder: Path) -> tuple[str, str]:
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), folder / "net.pt")
    return f"timm:test_resnet/{folder}/net.pt", TEXT


KINDS = [
    config_file,
    config_and_weights,
    folder_of_open_clip,
    folder_of_transformers,
    weights_of_timm,
]


@pytest.mark.parametrize("path", ["relative", "absolute"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_was_moved_embeds_as_before(
    kind: Callable[[Path], tuple[str, str]],
    path: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files, trained, elsewhere = (tmp_path / name for name in ("files", "trained", "elsewhere"))
    for folder in (files, trained, elsewhere):
        folder.mkdir()
    monkeypatch.chdir(tmp_path)
    image_tower, text_tower = kind(Path("files") if path == "relative" else files)
    config = replace(CONFIG, image_tower=image_tower, text_tower=text_tower)
    if kind is weights_of_timm:
        config = replace(config, image_dim=96, text_dim=384, aligned=False)
    torch.manual_seed(0)
    HeadsOnTowers(config).eval().save(trained)
    (trained / "preprocess.json").write_text(json.dumps({"edges": Edges().model_dump()}))
    given = [png((255, 0, 0)), png((0, 255, 0))], ["a ball", "two cats"]

    def embedded(folder: Path) -> list[np.ndarray]:
        embedder = Embedder(folder, 0.0)
        return [embedder.embed_images(given[0]), embedder.embed_texts(given[1])]

    before = embedded(trained)
    shutil.rmtree(files)
    shutil.move(trained, elsewhere / "model")
    monkeypatch.chdir(elsewhere)
    for folder in (Path("model"), elsewhere / "model"):
        for found, expected in zip(embedded(folder), before, strict=True):
            np.testing.assert_array_equal(found, expected)
    assert not list(elsewhere.rglob("*.msgpack"))
    # Saved where it lies, and to another folder, it is the same model again.
    load_model(Path("model")).save(Path("model"))
    Path("copy").mkdir()
    load_model(Path("model")).save(Path("copy"))
    shutil.copy("model/preprocess.json", "copy")
    shutil.rmtree("model")
    for found, expected in zip(embedded(Path("copy")), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_tower_that_is_not_there_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models of earlier versions carry no towers."""
    names = {"image_tower": "hf:clip.safetensors", "text_tower": "hf:clip.safetensors"}
    HeadsOnTowers(replace(CONFIG, **names)).save(tmp_path)
    (tmp_path / "preprocess.json").write_text(json.dumps({"edges": Edges().model_dump()}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"looked for {tmp_path.resolve()}/clip.safetensors"):
        Embedder(tmp_path, 0.0)
