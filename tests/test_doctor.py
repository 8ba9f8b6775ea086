"""`structxlip doctor`: what is there, what is missing, and the exit code that says so."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from structxlip import doctor
from structxlip.config import load_params
from structxlip.estimates import estimated_minutes

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "400")


def test_everything_is_there_after_the_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.examine(Path("params.yaml"), probe_s=0.01)
    shown = capsys.readouterr().out
    for name in ("torch", "packaged:efficientnet-lite0", "dataset scenes", "language model"):
        assert name in shown
    assert "missing" not in shown
    (line,) = [line for line in shown.splitlines() if "estimated minutes" in line]
    stages = ("edges", "captions", "features", "edge_features", r"train \(structxlip\)")
    for stage in stages:
        assert re.search(rf"[:,] {stage} \d+(\.\d)?", line), stage


def test_what_is_missing_is_named_with_its_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "minilm" in name else find(name)
    )
    params = (ROOT / "params.yaml").read_text()
    file = tmp_path / "params.yaml"
    file.write_text(params.replace("path: structxlip/data/scenes.yaml", "path: gone.yaml"))
    assert not doctor.examine(file, probe_s=None)
    lines = capsys.readouterr().out.splitlines()
    tower = next(line for line in lines if "all-minilm" in line)
    assert "missing" in tower
    assert "pip install 'structxlip[offline]'" in tower
    (dataset,) = [line for line in lines if "dataset scenes" in line]
    assert "gone.yaml" in dataset
    assert "structxlip activate scenes --path DIR" in dataset


def test_parameters_that_are_wrong_are_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("seed: [")
    assert not doctor.examine(file, probe_s=None)
    assert "is not valid YAML" in " ".join(capsys.readouterr().out.split())


def test_towers_from_files_are_looked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    params = (ROOT / "params.yaml").read_text().replace("recipe: frozen", "recipe: paper_tiny")
    file = tmp_path / "params.yaml"
    file.write_text(params)
    assert doctor.examine(file, probe_s=None)
    assert "all of it is trained" in capsys.readouterr().out
    file.write_text(params.replace("tiny_clip.json", "gone.json"))
    assert not doctor.examine(file, probe_s=None)
    assert "gone.json" in capsys.readouterr().out


def test_a_clip_that_is_trained_is_estimated_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate grows with the counts of the pair store, where there is one."""
    params = load_params("params.yaml").model_copy(update={"recipe": "paper_tiny"})
    pairs = Path("data/scenes/pairs")
    (tmp_path / pairs).mkdir(parents=True)
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    counts = {"pairs": 10**6, "captions": 10**6, "splits": {"train": 9 * 10**5}}
    (pairs / "report.json").write_text(json.dumps(counts))
    found = estimated_minutes(params.for_dataset("scenes"), "scenes", 0.01)
    assert set(found) == {"edges", "captions", "features", "train (structxlip)"}
    assert all(1 < minutes < 1e7 for minutes in found.values()), found
