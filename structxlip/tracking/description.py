"""What MLflow's pages say of a version: what it gains, how to load it, what it comes from."""

from __future__ import annotations

import json
from typing import Any

from structxlip.incremental.artifacts import DATA, REPORTS
from structxlip.reports.comparison import gain_sentence
from structxlip.reports.provenance import VERSION_MARK

NOTE = "mlflow.note.content"  # the tag that MLflow shows as the description of a run
LOGGED = ("comparison.json", "gain.svg", "losses.svg", "recall.svg")


def describe(client: Any, name: str, number: str, metrics: dict[str, Any]) -> None:
    """Describe a new version of a registered model, and its run, in Markdown; log its pairs and
    its report.

    Args:
        client: of MLflow.
        name: of the model, ``structxlip-<dataset>``.
        number: of the version.
        metrics: the content of ``comparison.json``.
    """
    dataset, version = name.removeprefix("structxlip-"), client.get_model_version(name, number)
    run, tags = client.get_run(version.run_id), version.tags
    training = tags.get(f"training/{tags['arm']}")  # older releases did not keep it
    # The registered model gives embeddings, which do not rerank.
    gain = gain_sentence({"delta": metrics.get("delta_fused", metrics["delta"])})
    load = f'structxlip.load("models:/{name}/{number}")'
    lines = [
        f"Version {number} of `{name}` is `{tags['arm']}`. The comparison on the test split, by "
        f"embeddings alone: {gain} (95 % bootstrap interval).\n",
        f"- load it: `{load}`",
        f"- numbers and report: {_link(run)}",
        *([f"- trained in {_link(client.get_run(training))}"] if training else []),
        f"- made from: pairs `{tags['pairs']}` ({tags['images_seen']} images), parameters "
        f"`{tags['params']}`" + (f", commit `{tags['commit']}`" if tags["commit"] else ""),
    ]
    text = "\n".join(lines)
    client.update_model_version(name, number, text)
    for key, value in {NOTE: text, "dataset": dataset, "version": number, **tags}.items():
        client.set_tag(version.run_id, key, value)
    client.log_inputs(version.run_id, [_pairs(dataset, tags["pairs"])])
    said = f" It is version {number} of {name}: <code>{load}</code>."
    page = (REPORTS / dataset / "report.html").read_text(encoding="utf-8")
    client.log_text(version.run_id, page.replace(VERSION_MARK, said), "report/report.html")
    for file in LOGGED:
        client.log_artifact(version.run_id, str(REPORTS / dataset / file), "report")


def _pairs(dataset: str, digest: str) -> Any:
    """The pairs that a version was trained on, as the dataset of its run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    pairs = json.dumps({"uri": (DATA / dataset / "pairs").resolve().as_uri()})
    found = Dataset(dataset, digest, "local", pairs)
    return DatasetInput(found, [InputTag("mlflow.data.context", "training")])


def _link(run: Any) -> str:
    """A link to the page of a run, relative to the server."""
    address = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    return f"[the run {run.info.run_name}]({address})"
