"""A model and its index that change while they are served."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from fastapi.testclient import TestClient

from structxlip.config import Edges
from structxlip.errors import UserError
from structxlip.incremental.artifacts import replace_directory
from structxlip.models.heads import HeadsOnTowers
from structxlip.serving import service
from structxlip.serving.embedder import Embedder
from structxlip.serving.following import Follower, first_look
from structxlip.serving.index_files import write_index
from structxlip.serving.search import Searcher
from structxlip.serving.service import create_app
from tests.serving.test_embedder import CONFIG, png

PICTURES = [png((250 - 30 * i, 60 * i, 20)) for i in range(4)]


def train(folder: Path, seed: int) -> Embedder:
    """A model with random weights, in the place of the one that is there."""
    torch.manual_seed(seed)
    new = folder.with_name("new")
    new.mkdir(parents=True)
    HeadsOnTowers(CONFIG).eval().save(new)
    (new / "preprocess.json").write_text(json.dumps({"edges": Edges(size_px=64).model_dump()}))
    replace_directory(new, folder)
    return Embedder(folder, 0.0)


def write(embedder: Embedder) -> None:
    """The index that a model makes, in the place of the one that is there."""
    new = Path("indexes/new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    names = [f"p{i}" for i in range(4)]
    write_index(
        new,
        settings={
            "model": str(embedder.directory),
            "digest": embedder.digest,
            "alpha": 0.0,
            "exact_below": 100,
        },
        table=pa.table(
            {
                "id": names,
                "split": ["test"] * 4,
                "captions": [[name] for name in names],
                "thumbnail": PICTURES,
            }
        ),
        arrays={"content": embedder.embed_images(PICTURES).astype(np.float16)},
    )
    replace_directory(new, Path("indexes/toys"))


def until(done: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_swap_under_load_fails_no_request_and_mixes_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(service, "FOLLOW_S", 0.05)
    model = Path("models/toys/vanilla")
    write(train(model, 0))
    searcher, follower = first_look("toys")
    expected = {searcher.embedder.digest: scores(searcher)}
    answers: list[dict[str, Any]] = []
    seen: list[int] = []
    stop = threading.Event()
    with TestClient(create_app(searcher, follower=follower)) as client:

        def ask() -> None:
            while not stop.is_set():
                answer = client.post("/v1/search", json={"text": "a square", "k": 4})
                seen.append(answer.status_code)
                answers.append(answer.json())
                time.sleep(0.01)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(answers) > 20)
        changed = train(model, 1)  # the index is still that of the model before
        time.sleep(0.2)
        write(changed)
        until(lambda: answers[-1].get("model") == changed.digest)
        stop.set()
        for thread in threads:
            thread.join()
    expected[changed.digest] = scores(Searcher("toys"))
    assert set(seen) == {200}
    assert {answer["model"] for answer in answers} == set(expected)
    for answer in answers:
        found = {hit["id"]: hit["score"] for hit in answer["hits"]}
        assert found == pytest.approx(expected[answer["model"]], abs=2e-4)


def scores(searcher: Searcher) -> dict[str, float]:
    return {hit.id: hit.score for hit in searcher.find(text="a square", k=4)}


def test_what_does_not_belong_together_is_refused_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = Path("models/toys/vanilla")
    write(train(model, 0))
    _, follower = first_look("toys")
    assert follower.look() is None
    train(model, 1)
    assert follower.look() is None  # the index is as it was
    (Path("indexes/toys/index.json")).touch()
    with pytest.raises(UserError, match=r"made by another model .* `dvc repro index@toys`"):
        follower.look()
    assert follower.look() is None
    shutil.rmtree("indexes/toys")  # as DVC does before it runs a stage
    assert follower.look() is None
    with pytest.raises(UserError, match="holds no index"):
        Follower("toys").look()
