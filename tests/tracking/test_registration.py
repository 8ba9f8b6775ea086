"""Which package is the candidate, and what the gate is told of a champion that saw its images."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from structxlip.config import Params
from structxlip.config.gate import Gate
from structxlip.errors import UserError
from structxlip.tracking import evidence
from structxlip.tracking.evidence import Candidate, collect
from structxlip.tracking.gate import decide
from structxlip.tracking.registration import choose_candidate
from structxlip.tracking.scoring import Scored, score_package
from structxlip.tracking.split import Seen, TestSplit, caption_hash

IMAGES = 120


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the packages of both arms, of which structxlip was chosen."""
    monkeypatch.chdir(tmp_path)
    folder = Path("models/scenes/package")
    for arm in ("vanilla", "structxlip"):
        (folder / arm).mkdir(parents=True)
        (folder / arm / "weights").write_text(arm)
    (folder / "candidate.json").write_text('{"arm": "structxlip"}')
    return folder


def gained(mean: float, low: float, high: float) -> dict[str, Any]:
    return {"delta": {"R@1": {"mean": mean, "low": low, "high": high}}}


def test_an_arm_that_may_be_worse_than_vanilla_is_no_candidate(
    packaged: Path, params: Params
) -> None:
    better = choose_candidate(params, "scenes", gained(2.0, -0.5, 4.5))
    assert (better.arm, better.package, better.note) == ("structxlip", packaged / "structxlip", "")
    assert better.vanilla is not None
    lost = choose_candidate(params, "scenes", gained(-2.8, -5.6, 0.0))
    assert (lost.arm, lost.vanilla) == ("vanilla", None)
    assert lost.note == (
        "; structxlip may be worse than vanilla (-2.8 [-5.6, +0.0]), so vanilla is the candidate"
    )
    assert lost.digest != better.digest


def test_nothing_packaged_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Params
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="holds no package; run `dvc repro package@scenes`"):
        choose_candidate(params, "scenes", {})


def split_of(images: int) -> TestSplit:
    return TestSplit(
        images=[b""] * images,
        edges=[None] * images,
        texts=[f"picture {i}" for i in range(images)],
        text_to_image=np.arange(images),
        groups=np.arange(images),
        digest="",
        gate=np.ones(images, bool),
        sha256=[f"hash {i}" for i in range(images)],
        slices={},
    )


@pytest.mark.parametrize("seen_images", [0, 40, 115, 120])
def test_gate_images_that_the_champion_saw_are_left_out(
    seen_images: int, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The champion knows by heart what it saw, and half of the rest; the candidate knows all."""
    test, perfect = split_of(IMAGES), np.eye(IMAGES, dtype=np.float32)
    known = (np.arange(IMAGES) < seen_images) | (np.arange(IMAGES) % 2 == 0)
    texts = np.where(known[:, None], perfect, -perfect)
    champion, challenger = Scored(perfect, texts, 1.0), Scored(perfect, perfect, 1.0)

    @contextmanager
    def downloaded(*_: object) -> Any:
        yield tmp_path, Seen(frozenset(test.sha256[:seen_images]), frozenset())

    monkeypatch.setattr(evidence, "_downloaded", downloaded)
    monkeypatch.setattr(evidence, "score_package", lambda *_: champion)
    monkeypatch.setattr(evidence, "_equal_suffices", lambda *_: False)
    version = SimpleNamespace(tags={"gate_recall": "50"})
    client = SimpleNamespace(get_model_version=lambda *_: version)
    mlflow = SimpleNamespace(MlflowClient=lambda: client)
    candidate = Candidate("vanilla", tmp_path, "", None, "")
    found = collect(mlflow, params, candidate, challenger, test, ("structxlip-scenes", "1"))
    assert (found.images, found.seen_images) == (IMAGES - seen_images, seen_images)
    decision = decide(found, Gate())
    if found.images < Gate().min_slice:
        assert decision.verdict == "refused"
        assert f"was trained on {seen_images} of the gate images, and too few" in decision.reason
    else:
        assert decision.verdict == "promoted"
        assert found.champion is not None
        assert found.champion.mean == pytest.approx(50, abs=3)
        assert ("are left out" in decision.reason) == bool(seen_images)


def test_an_image_that_was_stored_anew_is_known_by_its_captions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not by a caption that is in the training pairs of today as well."""
    test = split_of(4)
    hashes = [caption_hash(text) for text in test.texts]
    monkeypatch.setattr(evidence, "read_seen", lambda _: Seen(frozenset(), frozenset(hashes[2:3])))
    seen = Seen(frozenset(["hash 0"]), frozenset(hashes[1:3]))
    assert evidence.seen_by(seen, test, Path()).tolist() == [True, True, False, False]


def test_a_package_that_does_not_load_is_one_sentence(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "candidate.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match=r"package does not load or answer: .*MLmodel"):
        score_package(package, split_of(2))
