"""Deployments in prefect.yaml: write the schedule on which a dataset is retrained."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from ruamel.yaml import YAML

from structxlip.errors import UserError
from structxlip.progress import say


def schedule_dataset(file: Path, dataset: str, cron: str, timezone: str) -> None:
    """Write the deployment ``retrain-<dataset>`` with a schedule; one that is there gets it.

    Args:
        file: prefect.yaml.
        dataset: an active dataset.
        cron: minute, hour, day of month, month, day of week.
        timezone: its name in the IANA database.

    Raises ``UserError`` for a schedule that is none; the file then stays as it was.
    """
    _check(cron, timezone)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    try:
        content = yaml.load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}); run this in a project"
        ) from None
    name = f"retrain-{dataset}"
    found = _named(content["deployments"], name)
    if found is None:
        found = {
            "name": name,
            "description": f"New data of {dataset}: train, compare, and let the gate decide.",
            "entrypoint": "flows/train_eval.py:structxlip",
            "parameters": {"dataset": dataset},
            # Two runs would write the same artifacts: the second one waits.
            "concurrency_limit": {"limit": 1, "collision_strategy": "ENQUEUE"},
        }
        content["deployments"].append(found)
    found["schedules"] = [{"cron": cron, "timezone": timezone, "active": True}]
    temporary = file.with_name(f".{file.name}.tmp-{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as out:
        yaml.dump(content, out)
    temporary.replace(file)
    say(f"structxlip/{name} runs at `{cron}` ({timezone}); `make up` puts it in force")


def _check(cron: str, timezone: str) -> None:
    try:
        ZoneInfo(timezone)
    except (OSError, ValueError, LookupError):
        raise UserError(
            f"{timezone!r} is no time zone; give one such as Europe/Berlin", 2
        ) from None
    try:
        CronSim(cron, datetime(2000, 1, 1))
        if len(cron.split()) != 5:
            raise CronSimError("Wrong number of fields")
    except CronSimError as error:
        raise UserError(
            f"{cron!r} is no schedule ({error}); give minute, hour, day, month and day of the "
            f"week, such as '0 3 * * 1' for Mondays at three",
            2,
        ) from None


def _named(deployments: Iterable[Any], name: str) -> Any:
    return next((entry for entry in deployments if entry["name"] == name), None)
