"""Registration: a packaged model becomes a version in MLflow, and the gate decides on it."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.evaluation.chosen import candidate_arm, embedding_gain, embedding_metrics
from structxlip.evaluation.statistics import Gain, mean_recall
from structxlip.incremental.artifacts import DATA, MODELS
from structxlip.serving.card import CARD, read_comparison, write_card
from structxlip.serving.package import package_digest
from structxlip.tracking.champion import SEEN, trained_on
from structxlip.tracking.connection import (
    connect,
    experiment_id,
    logged_params,
    metric_names,
    registry,
)
from structxlip.tracking.decisions import append_decision
from structxlip.tracking.description import describe
from structxlip.tracking.evidence import Candidate, collect, recall
from structxlip.tracking.gate import Decision, Evidence, decide
from structxlip.tracking.lineage import record
from structxlip.tracking.origin import origin
from structxlip.tracking.promotion import CHALLENGER, CHAMPION, promote, version_of
from structxlip.tracking.scoring import Scored, score_package
from structxlip.tracking.split import TestSplit, read_test_split

TOLERANCE_POINTS = 2.0  # of R@1: other batch sizes round bfloat16 differently


@dataclass(frozen=True)
class Registration:
    """The result of a registration.

    Attributes:
        model: its name in the registry, ``structxlip-<dataset>``.
        version: the number of the version.
        arm: what is registered.
        decision: of the gate; None where this package was decided on before.
    """

    model: str
    version: str
    arm: str
    decision: Decision | None


def register_model(params: Params, dataset: str, force: str | None = None) -> Registration:
    """Register the packaged model of a dataset, and let the gate decide on it.

    The package and the champion are each scored in a fresh process by their own code. The same
    package on the same test split is registered and decided on once.

    Args:
        params: of the run.
        dataset: its name.
        force: the reason of a person who promotes whatever the gate says.

    Raises ``UserError`` when nothing is packaged, or when the package does not reach what
    evaluation measured.
    """
    metrics = read_comparison(dataset)
    candidate = choose_candidate(params, dataset, metrics)
    test = _test_split(params, dataset)
    client, name = registry(), f"structxlip-{dataset}"
    mlflow = connect()
    known = _version_with(client, name, candidate.digest)
    done = known and (
        known.tags.get("test_split") == test.digest
        or str(known.version) == version_of(client, name, CHAMPION)
    )
    if done and force is None:
        return Registration(name, str(known.version), candidate.arm, None)
    scored = score_package(candidate.package, test)
    _check(candidate, scored, test, metrics)
    version = str(known.version) if known else _create(mlflow, params, dataset, candidate, metrics)
    client.set_registered_model_alias(name, CHALLENGER, version)
    while True:  # until nobody else has promoted meanwhile
        champion = version_of(client, name, CHAMPION)
        evidence = collect(mlflow, params, candidate, scored, test, (name, champion))
        decision = decide(evidence, params.gate, force)
        if not decision.promotes or promote(client, name, version, champion):
            break
    _write_down(
        client,
        dataset,
        (name, version),
        evidence,
        decision,
        arm=candidate.arm,
        champion=champion,
        package=candidate.digest,
        test_split=test.digest,
        reason=f"{decision.reason}{candidate.note}",
        reported_recall=recall(scored, test, ~test.gate),
    )
    return Registration(name, version, candidate.arm, decision)


def choose_candidate(params: Params, dataset: str, metrics: dict[str, Any]) -> Candidate:
    """The packaged arm that was chosen, or vanilla where that arm may be worse than it."""
    folder = MODELS / dataset / "package"
    try:
        arm = json.loads((folder / "candidate.json").read_text())["arm"]
    except OSError:
        raise UserError(f"{folder} holds no package; run `dvc repro package@{dataset}`") from None
    gain, note = None, ""
    if arm != "vanilla":
        gain = Gain(**embedding_gain(metrics))
        if candidate_arm(metrics, arm, params.gate.margin) != arm:
            note = f"; {arm} may be worse than vanilla ({gain}), so vanilla is the candidate"
            arm, gain = "vanilla", None
    return Candidate(arm, folder / arm, package_digest(folder / arm), gain, note)


def _test_split(params: Params, dataset: str) -> TestSplit:
    edges = DATA / dataset / "edges"
    return read_test_split(
        DATA / dataset / "pairs", params.gate.test_share, edges if edges.exists() else None
    )


def _check(candidate: Candidate, scored: Scored, test: TestSplit, metrics: dict[str, Any]) -> None:
    """Whether the package, as it is served, reaches what evaluation measured on the test split."""
    score = recall(scored, test, np.ones(len(test.images), bool))
    expected = mean_recall(embedding_metrics(metrics, candidate.arm))
    if abs(score - expected) > TOLERANCE_POINTS:
        raise UserError(
            f"{candidate.package} gives R@1 {score:.1f} % where evaluation gave {expected:.1f} %; "
            f"it is not registered; run `dvc repro`"
        )


def _version_with(client: Any, name: str, digest: str) -> Any:
    """The version that has a package; None where none has."""
    found = client.search_model_versions(f"name = '{name}' and tags.package = '{digest}'")
    return found[0] if found else None


def _create(
    mlflow: Any, params: Params, dataset: str, candidate: Candidate, metrics: dict[str, Any]
) -> str:
    """Log a run with parameters, metrics, report, model card and package; its package becomes a
    version."""
    client, name = mlflow.MlflowClient(), f"structxlip-{dataset}"
    mlflow.set_experiment(experiment_id=experiment_id(mlflow, dataset))
    seen = trained_on(dataset)
    comes_from = origin(params, dataset, seen)
    with mlflow.start_run(run_name=candidate.arm) as run, tempfile.TemporaryDirectory() as folder:
        mlflow.log_params(logged_params(params, dataset))
        mlflow.log_metrics(metric_names(metrics))
        seen.write(Path(folder, SEEN))
        mlflow.log_artifact(str(Path(folder, SEEN)))
        write_card(Path(folder, CARD), params, dataset, candidate.arm, comes_from)
        mlflow.log_artifact(str(Path(folder, CARD)))
        mlflow.log_artifacts(str(candidate.package), "model")
        source = mlflow.get_artifact_uri("model")
    with suppress(mlflow.exceptions.MlflowException):  # there is one
        client.create_registered_model(
            name,
            {"dataset": dataset},
            f"Images and texts like those of `{dataset}` as embeddings. The alias `{CHAMPION}` is "
            f'served: `structxlip.load("{name}@{CHAMPION}")`. `structxlip history {dataset}` '
            f"tells why.",
        )
    tags = {"arm": candidate.arm, "package": candidate.digest} | comes_from
    tags |= record(client, run.info.experiment_id, run.info.run_id, dataset, seen.digest())
    made = client.create_model_version(name, source, run.info.run_id, tags=tags)
    describe(client, name, str(made.version), metrics)
    return str(made.version)


def _write_down(
    client: Any,
    dataset: str,
    version: tuple[str, str],
    evidence: Evidence,
    decision: Decision,
    *,
    test_split: str,
    reported_recall: float,
    **values: Any,
) -> None:
    """Write a decision to the tags of the version, to its run, and to the log of the dataset."""
    name, number = version
    found = client.get_model_version(name, number)
    gain = evidence.champion
    of_gain = asdict(gain) if gain else dict.fromkeys(("mean", "low", "high"))
    row = values | {
        "version": number,
        "verdict": decision.verdict,
        "recall": evidence.recall,
        "champion_recall": evidence.champion_recall,
        "gain": of_gain["mean"],
        "gain_low": of_gain["low"],
        "gain_high": of_gain["high"],
        "gate_images": evidence.images,
        "images_needed": decision.images_needed,
        "reported_recall": None if np.isnan(reported_recall) else reported_recall,
        "run_id": found.run_id,
        **{key: found.tags.get(key, "") for key in ("commit", "params", "pairs")},
    }
    file = append_decision(dataset, **row)
    client.log_artifact(found.run_id, str(file), "decisions")
    tags = {
        "verdict": decision.verdict,
        "reason": values["reason"],
        "gate_recall": f"{evidence.recall:.4f}",
        "reported_recall": f"{reported_recall:.4f}",
        "test_split": test_split,  # the last one: with it the decision is complete
    }
    for key, value in tags.items():
        client.set_model_version_tag(name, number, key, value)
