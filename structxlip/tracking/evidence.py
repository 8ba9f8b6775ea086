"""What the gate decides on: candidate and champion, each scored by its own package."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structxlip.config import Params
from structxlip.evaluation.statistics import Gain, mean_recall
from structxlip.incremental.artifacts import DATA
from structxlip.tracking.champion import fetch
from structxlip.tracking.gate import Evidence, gains
from structxlip.tracking.scoring import Scored, score_package
from structxlip.tracking.split import Seen, TestSplit, caption_hash, read_seen

DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Candidate:
    """A package that may become the champion.

    Attributes:
        arm: that it is of.
        package: its folder.
        digest: of the package.
        vanilla: the gain over vanilla of the same run; None for vanilla.
        note: what is said of the choice of the arm.
    """

    arm: str
    package: Path
    digest: str
    vanilla: Gain | None
    note: str


def recall(scored: Scored, test: TestSplit, chosen: NDArray[np.bool_]) -> float:
    """Mean R@1 of both ways among the chosen images, in percent; NaN for none."""
    return mean_recall(scored.ranks(test, chosen).recall((1,))) if chosen.any() else float("nan")


def collect(
    mlflow: Any,
    params: Params,
    candidate: Candidate,
    scored: Scored,
    test: TestSplit,
    champion: tuple[str, str | None],
) -> Evidence:
    """The numbers that the gate decides on.

    Args:
        mlflow: connected.
        params: of the run.
        candidate: the package.
        scored: the candidate on the test split.
        test: the test split.
        champion: the name of the registered model, and the version that is champion, or None.
    """
    size = sum(path.stat().st_size for path in candidate.package.rglob("*") if path.is_file())
    chosen = test.gate
    alone: dict[str, Any] = {
        "latency_ms": scored.latency_ms,
        "size_mib": size / 2**20,
        "vanilla": candidate.vanilla,
    }
    name, version = champion
    if version is None:
        found = _of_candidate(scored, test, chosen)
        return Evidence(**found, **alone)
    with _downloaded(name, version) as (package, seen):
        clean = ~seen_by(seen, test, DATA / name.removeprefix("structxlip-") / "pairs")
        chosen = test.gate & clean
        unseen = int(chosen.sum())
        chosen = chosen if unseen else test.gate
        best = score_package(package, test).ranks(test, chosen)
    slices = {part: inside[chosen] for part, inside in test.slices.items()}
    gain, parts = gains(best, scored.ranks(test, chosen), test.owners(chosen), slices, params.gate)
    found_version = mlflow.MlflowClient().get_model_version(name, version)
    before = found_version.tags.get("gate_recall")
    return Evidence(
        **_of_candidate(scored, test, chosen) | {"images": unseen},
        **alone,
        champion=gain,
        champion_recall=mean_recall(best.recall((1,))),
        champion_before=float(before) if before else None,
        slices=parts,
        seen_images=int((test.gate & ~clean).sum()),
        equal_suffices=_equal_suffices(params, found_version, len(seen.images)),
    )


def seen_by(seen: Seen, test: TestSplit, pairs: Path) -> NDArray[np.bool_]:
    """Whether a model has seen each image of the test split, ``[N]``.

    It has where it was trained on the same bytes, or on all captions of the image: so an image that
    was stored anew is known as well. A caption that training pairs of today have too is a common
    one, and says nothing.

    Args:
        seen: what the model was trained on.
        test: the split.
        pairs: the pair store that the split is of.
    """
    images = np.array([sha256 in seen.images for sha256 in test.sha256], bool)
    if not seen.captions:
        return images
    telling = seen.captions - read_seen(pairs).captions
    known = np.array([caption_hash(text) in telling for text in test.texts], bool)
    others = np.bincount(test.text_to_image[~known], minlength=len(images))
    return images | (others == 0)


def _of_candidate(scored: Scored, test: TestSplit, chosen: NDArray[np.bool_]) -> dict[str, Any]:
    ranks = scored.ranks(test, chosen)
    shares = np.bincount(ranks.groups) / len(ranks.groups)
    return {
        "images": len(ranks.groups),
        "recall": mean_recall(ranks.recall((1,))),
        "chance": 100 * float((shares**2).sum()),
    }


def _equal_suffices(params: Params, champion: Any, images_seen: int) -> bool:
    """Whether the data has grown, or the champion is old; see ``gate.promote_equal``."""
    age_days = (datetime.now(UTC).timestamp() * 1000 - champion.creation_timestamp) / DAY_MS
    dataset = champion.name.removeprefix("structxlip-")
    grown = len(read_seen(DATA / dataset / "pairs").images) / max(images_seen, 1) - 1
    return age_days >= params.gate.equal_after_days or grown >= params.gate.equal_after_growth


@contextmanager
def _downloaded(name: str, version: str) -> Iterator[tuple[Path, Seen]]:
    """The package of a version, and what it was trained on, for as long as the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        yield fetch(name, version, Path(folder))
