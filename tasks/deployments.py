"""The deployments of prefect.yaml, as they come into force."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.responses import DeploymentResponse

from structxlip.config import load_params
from structxlip.errors import UserError

FILE = Path("prefect.yaml")


def deploy(
    client: SyncPrefectClient, pool: str, home: Path, environment: Mapping[str, str]
) -> None:
    """Create the deployments of prefect.yaml, or update them.

    Those with a schedule are created for active datasets alone. What a person has paused on the
    server stays paused.

    Args:
        client: of the server.
        pool: the work pool of this folder.
        home: the folder of Prefect's files, for the log.
        environment: of the command that deploys.

    Raises ``UserError`` on failure.
    """
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    of_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    known = {found.name: found for found in client.read_deployments(work_pool_filter=of_pool)}
    active, wanted = load_params().datasets, []
    for entry in content["deployments"]:
        found = known.get(entry["name"])
        if not entry.get("schedules") or entry["parameters"]["dataset"] in active:
            wanted.append(_as_paused(entry, found) if found else entry)
        elif found:
            client.delete_deployment(found.id)
    chosen, log = home / FILE.name, home / "deploy.log"
    chosen.write_text(yaml.safe_dump(content | {"deployments": wanted}), encoding="utf-8")
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    finished = subprocess.run(
        [*command, "--prefect-file", os.path.relpath(chosen)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    log.write_text(finished.stdout, encoding="utf-8")
    if finished.returncode:
        raise UserError(f"the deployments of prefect.yaml were refused; {log} says why")


def _as_paused(entry: dict[str, Any], found: DeploymentResponse) -> dict[str, Any]:
    """An entry of prefect.yaml, in which is paused what is paused on the server."""
    paused = [
        (getattr(kept.schedule, "cron", None), getattr(kept.schedule, "timezone", None))
        for kept in found.schedules
        if not kept.active
    ]
    schedules = [
        plan
        | {"active": plan.get("active", True) and (plan["cron"], plan["timezone"]) not in paused}
        for plan in entry.get("schedules", [])
    ]
    return entry | {"paused": found.paused} | ({"schedules": schedules} if schedules else {})
