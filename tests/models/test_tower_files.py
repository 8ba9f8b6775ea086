"""The files that the name of a tower stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from structxlip.errors import UserError
from structxlip.models.towers import named_files


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, weights, and a model of two files."""
    monkeypatch.chdir(tmp_path)
    for name in ("clip.json", "weights.pt", "model/config.json", "model/sub/model.safetensors"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("open_clip:clip.json", ["clip.json"]),
        ("open_clip:clip.json/weights.pt", ["clip.json", "weights.pt"]),
        (
            "open_clip:clip.json/model",
            ["clip.json", "model/config.json", "model/sub/model.safetensors"],
        ),
        ("open_clip:ViT-B-16/weights.pt", ["weights.pt"]),
        ("open_clip:ViT-B-16/openai", []),
        ("open_clip:hf-hub:org/repo", []),
        ("open_clip:local-dir:model", ["model/config.json", "model/sub/model.safetensors"]),
        ("hf:model", ["model/config.json", "model/sub/model.safetensors"]),
        ("hf:weights.pt", ["weights.pt"]),
        ("timm:vit_tiny_patch16_224/weights.pt", ["weights.pt"]),
        ("timm:vit_tiny_patch16_224", []),
    ],
)
def test_files_of_a_name(name: str, files: list[str]) -> None:
    assert [str(path) for path in named_files(name)] == files


def test_absolute_paths(folder: Path) -> None:
    weights = folder / "weights.pt"
    assert named_files(f"hf:{weights}") == [weights]
    assert named_files(f"open_clip:{folder}/clip.json/{weights}")[-1] == weights


def test_packaged_towers_are_files_of_their_packages() -> None:
    (image,) = named_files("packaged:efficientnet-lite0")
    assert image.suffix == ".pth"
    text = {path.name for path in named_files("packaged:all-minilm-l6-v2")}
    assert {"model.safetensors", "tokenizer.json"} <= text
    with pytest.raises(UserError, match="no packaged tower"):
        named_files("packaged:other")
