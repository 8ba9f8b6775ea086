"""A model by its name, in the registry or a folder, from anywhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import structxlip
from structxlip.config import Edges
from structxlip.errors import EXTRAS, UserError
from tests.operation import ROOT, Project
from tests.serving.test_embedder import png, save_model

IMAGES = [png((255, 200, 0)), png((0, 90, 255))]


def test_alpha_comes_from_the_evaluation_beside_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "toys" / "structxlip"
    folder.mkdir(parents=True)
    save_model(folder, Edges(size_px=64))
    assert structxlip.load(folder).alpha == 0
    report = tmp_path / "reports" / "toys" / "comparison.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps({"alpha": 0.3}))
    assert structxlip.load(folder).alpha == 0.3
    assert structxlip.load(str(folder), alpha=0.7).alpha == 0.7


def test_what_is_no_model_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="modles/toys is no folder of a model; give models/"):
        structxlip.load("modles/toys")
    with pytest.raises(UserError, match=r"there is no mlflow\.db .* set MLFLOW_TRACKING_URI"):
        structxlip.load("toys@champion")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no StructXLIP model"):
        structxlip.load("empty")


def test_the_import_is_quick() -> None:
    code = "import sys, structxlip; sys.exit(len({'torch', 'numpy', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.e2e
@pytest.mark.xdist_group("after the pipeline: serving")
def test_the_champion_is_loaded_far_from_the_project(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = json.loads((project.folder / "models/scenes/package/candidate.json").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.folder}/mlflow.db")
    champion = structxlip.load("structxlip-scenes@champion")
    trained = structxlip.load(project.folder / "models/scenes" / candidate["arm"])
    assert (champion.digest, champion.alpha) == (trained.digest, trained.alpha)
    np.testing.assert_array_equal(champion.embed_images(IMAGES), trained.embed_images(IMAGES))
    with pytest.raises(UserError, match="structxlip-scenes@nobody cannot be loaded from sqlite"):
        structxlip.load("structxlip-scenes@nobody")


LEAN = """
import sys
from structxlip.errors import EXTRAS, find_user_error
sys.modules |= dict.fromkeys(EXTRAS)  # as if they were not installed
import structxlip
model = structxlip.load(sys.argv[1], alpha=0.5)
assert model.embed_images([sys.argv[2]]).shape == model.embed_texts(["a fish"]).shape == (1, 16)
import structxlip.cli, structxlip.serving.bulk, structxlip.serving.search, structxlip.serving.server
import structxlip.serving.reranker, structxlip.losses
try:
    import ray
except ModuleNotFoundError as error:
    print(find_user_error(error))
"""


def test_use_needs_no_package_of_an_extra(tmp_path: Path) -> None:
    save_model(tmp_path / "model", Edges(size_px=64))
    (tmp_path / "a.png").write_bytes(IMAGES[0])
    command = [sys.executable, "-c", LEAN, tmp_path / "model", tmp_path / "a.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "this needs ray; run `pip install 'structxlip[train]'`\n", done.stderr


def test_the_extras_are_those_of_the_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {
        re.split(r"[\[<>=]", requirement)[0]: extra
        for extra in ("train", "pipeline")
        for requirement in declared["optional-dependencies"][extra]
    }
    installed_otherwise = {"sqlalchemy": "pipeline", "structxlip": "pipeline"}
    assert names == EXTRAS | installed_otherwise
    assert not {re.split(r"[\[<>=]", one)[0] for one in declared["dependencies"]} & set(EXTRAS)
