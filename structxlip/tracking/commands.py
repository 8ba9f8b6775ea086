"""The commands about champions: register, roll back, and tell."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.tracking.champion import champion_version
from structxlip.tracking.connection import registry
from structxlip.tracking.decisions import append_decision, read_decisions
from structxlip.tracking.housekeeping import find_waste
from structxlip.tracking.lineage import CHANGES, find_version, read_origin
from structxlip.tracking.promotion import CHAMPION, roll_back
from structxlip.tracking.registration import register_model
from structxlip.tracking.trial import trial_name


def register(params: Params, dataset: str, force: str | None) -> None:
    """Register the packaged model of a dataset, and say what the gate decided."""
    if trial := trial_name():
        raise UserError(
            f"the trial {trial} registers nothing; `dvc exp apply {trial}`, commit, and register"
        )
    done = register_model(params, dataset, force)
    named = f"register {dataset}: {done.model} version {done.version} is {done.arm}"
    if done.decision is None:
        say(f"{named}, nothing new: this package was decided on before")
        return
    promoted = "it is the champion now" if done.decision.promotes else "the champion stays"
    say(f"{named}, {done.decision.verdict}, {promoted} ({done.decision.reason})")


def rollback(dataset: str, reason: str) -> None:
    """Make the previous champion of a dataset the champion again, and write it down."""
    client, name = registry(), f"structxlip-{dataset}"
    now, before = roll_back(client, name)
    said = f"instead of version {before}" + (f": {reason}" if reason else "")
    append_decision(dataset, version=now, verdict="rolled back", champion=before, reason=said)
    client.set_model_version_tag(name, before, "rolled_back", said)
    say(f"rollback {dataset}: version {now} of {name} is the champion again, {said}")


def history(dataset: str) -> None:
    """Print the decisions about a dataset, the oldest first."""
    decisions = read_decisions(dataset)
    if not decisions:
        raise UserError(
            f"no decision about {dataset} yet; `structxlip register {dataset}` makes one"
        )
    for row in decisions:
        recall = "" if row["recall"] is None else f", R@1 {row['recall']:.1f} %"
        told = f"version {row['version']}  {row['verdict']}{recall}: {row['reason']}"
        sys.stdout.write(f"{row['at'][:19]}  {told}\n")


def print_lineage(name: str) -> None:
    """Print the way from a version to all that it was made of."""
    client = registry()
    version = find_version(client, name)
    dataset = version.name.removeprefix("structxlip-")
    with tempfile.TemporaryDirectory() as folder:
        origin, _ = read_origin(client, version, Path(folder))
    logged = client.get_run(version.run_id).data.params
    aliases = ", ".join(version.aliases) or "no alias"
    changed = f", with changes (lineage/{CHANGES} of the run)" if origin.changed else ""
    recipe, seed = logged.get("recipe"), logged.get("seed")
    runs = {"of the version": version.run_id, **origin.trainings}
    decisions = [row for row in read_decisions(dataset) if row["version"] == str(version.version)]
    parts = {
        "version": [f"{version.name} {version.version} ({aliases}), {version.tags['arm']}"],
        "commit": [f"{origin.commit or 'outside of git'}{changed}"],
        "package": [f"structxlip {origin.release}, digest {version.tags['package']}"],
        "params": [f"recipe {recipe}, seed {seed}, digest {version.tags['params']}"],
        "data": [f"{digest}  {path}" for path, digest in origin.digests.items()],
        "MLflow": [f"run {run}  {of}" for of, run in runs.items()],
        "decision": [f"{r['at'][:19]}  {r['verdict']}: {r['reason']}" for r in decisions],
    }
    for part, lines in parts.items():
        for number, line in enumerate(lines):
            sys.stdout.write(f"{part if number == 0 else '':<10}{line}\n")


def clean(params: Params, decisions: int, days: float, remove: bool) -> None:
    """Say what nothing needs any more, with sizes; with ``remove`` remove it."""
    found = find_waste(registry(), params, decisions, days)
    for waste in found:
        sys.stdout.write(f"{waste.kind:<12}{waste.size / 2**20:>10.1f} MiB  {waste.name}\n")
        if remove:
            waste.remove()
    total = sum(waste.size for waste in found) / 2**20
    done = "removed" if remove else "would go; nothing is removed without --remove"
    say(f"gc: {len(found)} things, {total:.1f} MiB, {done}")


def print_champion(dataset: str) -> None:
    """Print the champion of a dataset, as the registry has it now."""
    name, version = f"structxlip-{dataset}", champion_version(dataset)
    if version is None:
        sys.stdout.write(f"model    no champion yet: `structxlip register {dataset}`\n")
        return
    sys.stdout.write(
        f"model    {name} version {version}, alias {CHAMPION}{_told(registry(), name, version)}\n"
    )
    sys.stdout.write("MLflow   mlflow ui --backend-store-uri sqlite:///mlflow.db\n")


def _told(client: Any, name: str, version: str) -> str:
    tags = client.get_model_version(name, version).tags
    recall = tags.get("reported_recall", "nan")
    return "" if recall == "nan" else f", R@1 {float(recall):.1f} % on images no decision has seen"
