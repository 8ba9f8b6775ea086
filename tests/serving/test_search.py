"""Search of the trained project, on the command line: it finds what evaluation found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from structxlip.config import load_params
from structxlip.cues import decode_edges, drawing
from structxlip.data.shards import read_shards
from structxlip.errors import UserError
from structxlip.serving.following import first_look
from structxlip.serving.image_index import ImageIndex
from structxlip.serving.loading import find_model
from structxlip.serving.search import Searcher
from structxlip.serving.service import create_app
from structxlip.stages.index import index
from tests.operation import Project

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("after the pipeline: serving")]


def search(project: Project, *arguments: str) -> list[dict[str, Any]]:
    done = project.run("structxlip", "search", "scenes", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_the_index_holds_every_image_and_the_registered_arm(project: Project) -> None:
    index = ImageIndex(project.folder / "indexes/scenes")
    pairs = read_shards(project.folder / "data/scenes/pairs", ["id"])
    assert index.ids == pairs["id"].to_pylist()
    candidate = json.loads((project.folder / "models/scenes/package/candidate.json").read_text())
    assert index.settings["model"] == f"models/scenes/{candidate['arm']}"
    for name in index.ids[:3]:
        jpeg = index.thumbnail(name)
        assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) is not None


def test_words_a_picture_and_an_id_find_images(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_screen = search(project, "a red boat", "-k", "3", "--split", "test", "--beta", "0")
    image = read_shards(project.folder / "data/scenes/pairs", ["image"])["image"][3].as_py()
    (tmp_path / "image.png").write_bytes(image)
    monkeypatch.chdir(project.folder)
    searcher = Searcher("scenes")
    found = searcher.find(text="a red boat", k=3, split="test", beta=0.0)
    assert [hit["id"] for hit in on_screen] == [hit.id for hit in found]
    found = searcher.find(text="a red boat", k=3)
    assert len(found) == 3
    with TestClient(create_app(searcher)) as client:  # the page reranks as the command does
        answered = client.post("/v1/search", json={"text": "a red boat", "k": 3}).json()["hits"]
    assert [(hit["id"], hit["score"]) for hit in answered] == [(hit.id, hit.score) for hit in found]
    first = searcher.find(image=str(tmp_path / "image.png"), k=2)
    assert first[0].id == searcher.index.ids[3]
    assert first[0].score == pytest.approx(1, abs=0.02)
    likes = searcher.find(like=first[0].id, k=1)
    assert likes[0].id == first[1].id


def test_a_sketch_finds_its_picture_where_the_model_reads_edges(
    project: Project, tmp_path: Path
) -> None:
    index = ImageIndex(project.folder / "indexes/scenes")
    edges = read_shards(project.folder / "data/scenes/edges", ["edges"])["edges"]
    cv2.imwrite(str(tmp_path / "lines.png"), drawing(decode_edges(edges[5].as_py())))
    asked = ("structxlip", "search", "scenes", "--sketch", str(tmp_path / "lines.png"))
    done = project.run(*asked, "-k", "1")
    if index.has_edges:
        assert done.returncode == 0, done.stderr
        assert "rank" in done.stdout
    else:
        assert done.stderr.endswith("take the arm structxlip\n")
        assert done.returncode == 1


def test_a_wrong_question_is_one_sentence(project: Project) -> None:
    done = project.run("structxlip", "search", "scenes", "--like", "nobody")
    assert (done.returncode, done.stderr) == (
        2,
        "structxlip: indexes/scenes has no image 'nobody'\n",
    )
    done = project.run("structxlip", "search", "toys", "a boat")
    assert done.stderr.endswith("holds no index; run `dvc repro index@toys`\n")


def test_the_champion_is_served_with_its_own_index_alone(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data", "indexes"):
        shutil.copytree(project.folder / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.folder}/mlflow.db")
    searcher, follower = first_look("scenes")
    assert searcher.champion is not None
    assert follower.look() is None
    settings = Path("indexes/scenes/index.json")
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"digest": "of another"}))
    command = "structxlip index --dataset scenes --model structxlip-scenes@champion"
    with pytest.raises(UserError, match=f"made by another model .* run `{command}`"):
        follower.look()
    params = load_params(project.folder / "params.yaml").for_dataset("scenes")
    index(params, "scenes", find_model("structxlip-scenes@champion"))
    again = follower.look()
    assert again is not None
    assert again.embedder.digest == searcher.embedder.digest
    np.testing.assert_array_equal(again.index.arrays["content"], searcher.index.arrays["content"])
