"""A package needs no hub, and its digest is of what it serves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from structxlip.config import Edges
from structxlip.errors import UserError
from structxlip.serving import package
from structxlip.serving.package import package_digest, write_package
from tests.serving.test_embedder import save_model
from tests.trees import write


def write_model(folder: Path) -> None:
    folder.mkdir()
    save_model(folder, Edges(size_px=64))
    described = json.loads((folder / "preprocess.json").read_text()) | {"cues": ["gradient"]}
    (folder / "preprocess.json").write_text(json.dumps(described))


def test_the_digest_is_of_content_and_not_of_time(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    for name in ("one", "two"):
        write_package(tmp_path / "model", 0.0, tmp_path / name)
    one = package_digest(tmp_path / "one")
    assert one == package_digest(tmp_path / "two")
    write_package(tmp_path / "model", 0.5, tmp_path / "fused")
    assert package_digest(tmp_path / "fused") != one
    code = tmp_path / "two/code/structxlip/errors.py"
    code.write_text(code.read_text() + "\n# changed\n")
    assert package_digest(tmp_path / "two") != one


def test_a_package_holds_no_ignore_file_for_dvc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed package carries one for new projects; DVC refuses it in outputs."""
    installed = shutil.copytree(package.CODE, tmp_path / "structxlip")
    write(installed, {"project/.dvcignore": "", "project/params.yaml": ""})
    monkeypatch.setattr(package, "CODE", installed)
    write_model(tmp_path / "model")
    write_package(tmp_path / "model", 0.0, tmp_path / "package")
    assert (tmp_path / "package/code/structxlip/config/project.py").is_file()
    assert not list((tmp_path / "package").rglob(".dvcignore"))


def test_a_tower_that_only_a_hub_has_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    config = tmp_path / "model/config.json"
    content = json.loads(config.read_text()) | {"image_tower": "open_clip:ViT-B-16/openai"}
    config.write_text(json.dumps(content))
    sentence = "open_clip:ViT-B-16/openai comes from a model hub, and a package must not need one"
    with pytest.raises(UserError, match=sentence):
        write_package(tmp_path / "model", 0.0, tmp_path / "package")
    assert not (tmp_path / "package").exists()
