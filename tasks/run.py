"""`structxlip run D`: run the deployment for a dataset, and follow its stages to the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import FlowRun, StateType, TaskRun
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.utilities.urls import url_for
from rich.console import Console

from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.reports.comparison import print_comparison
from tasks.reporting import artifact_key
from tasks.services import DEPLOYMENT
from tasks.stages import stages_of

POLL_S = 1.0
START = "`make up` (`python -m tasks.services up`) starts what is needed"
DETACHED = 130  # the exit code of a program that Ctrl-C has ended


def run_deployment(dataset: str) -> None:
    """Start a run of the deployment, follow it, and print the comparison in the end.

    Raises ``UserError`` with the reason where the run fails, or nothing can run it.
    """
    if get_current_settings().api.url is None:
        raise UserError(f"this folder has no Prefect server; {START}")
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(DEPLOYMENT)
        except HTTPError:
            raise UserError(f"no Prefect server answers at {client.api_url}; {START}") from None
        except ObjectNotFound:
            raise UserError(f"there is no deployment {DEPLOYMENT}; {START}") from None
        started = client.create_flow_run_from_deployment(
            deployment.id, parameters={"dataset": dataset}
        )
        say(f"run {dataset}: {url_for('flow-run', obj_id=started.id)}")
        try:
            ended = follow(client, started.id, dataset)
        except KeyboardInterrupt:
            raise UserError("the run goes on; its page has a button to cancel", DETACHED) from None
    assert ended.state is not None
    if not ended.state.is_completed():
        reason = ended.state.message or f"the run is {ended.state.name}"
        raise UserError(f"run {dataset}: {reason}")
    if ended.state.message:
        say(f"run {dataset}: {ended.state.message}")
    print_comparison(dataset)


def follow(client: SyncPrefectClient, run: UUID, dataset: str) -> FlowRun:
    """Tell each stage of a flow run that ends, and show what runs, until the flow run ends.

    Returns the flow run as it ended.
    """
    stages = {stage.name for stage in stages_of(dataset)}
    which = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    console, told = Console(stderr=True), set[UUID]()
    with console.status("") as status:
        while True:
            found = client.read_flow_run(run)
            tasks = client.read_task_runs(flow_run_filter=which)
            for task in sorted(tasks, key=lambda task: str(task.end_time)):
                if task.id not in told and task.state is not None and task.state.is_final():
                    told.add(task.id)
                    console.print(_line(task), markup=False, highlight=False, soft_wrap=True)
            status.update(_now(client, found, tasks, stages))
            if found.state is None or found.state.is_final():
                return found
            time.sleep(POLL_S)


def _line(task: TaskRun) -> str:
    seconds = task.total_run_time.total_seconds()
    return f"{task.name}: {str(task.state_name).lower()}, {seconds:.0f} s"


def _now(
    client: SyncPrefectClient, run: FlowRun, tasks: Sequence[TaskRun], stages: set[str]
) -> str:
    """How many stages are done, and what runs now, with its share where that is known."""
    done = {task.name for task in tasks if task.state_type == StateType.COMPLETED} & stages
    running = [task.name for task in tasks if task.state_type == StateType.RUNNING]
    shares = _shares(client, run.id) if running else {}
    notes = [name + shares.get(artifact_key("progress", name), "") for name in running]
    now = ", ".join(notes) or f"the run is {run.state_name}"
    return f"{len(done)}/{len(stages)} stages, {now}"


def _shares(client: SyncPrefectClient, run: UUID) -> dict[str, str]:
    """The progress of the stages of a run, such as ` 45 %`, by the key of their artifact."""
    found = client.read_artifacts(
        artifact_filter=ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[run]),
            type=ArtifactFilterType(any_=["progress"]),
        )
    )
    return {str(one.key): f" {float(str(one.data)):.0f} %" for one in found}
