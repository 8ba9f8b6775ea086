"""The flow `structxlip`: run each DVC stage of a dataset as a task, then register its model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed
from pydantic import Field

from structxlip.config import load_params
from structxlip.errors import UserError
from tasks.champions import is_packaged, register_package
from tasks.commands import SILENT_MINUTES
from tasks.notices import tell
from tasks.reporting import publish_comparison
from tasks.repository import update_source
from tasks.stages import Stage, out_of_date, push_to_remote, run_stage, stages_of
from tasks.turns import turn

Minutes = Annotated[float, Field(gt=0)]


@flow(name="structxlip")
def structxlip(dataset: str = "scenes", silent_minutes: Minutes = SILENT_MINUTES) -> State[Any]:
    """Look at the source, run the stages that are out of date, and let the gate decide.

    Args:
        dataset: An entry under `datasets:` in params.yaml.
        silent_minutes: A stage that says nothing for so long counts as hung, and is tried again.
    """
    try:
        entry = load_params().dataset(dataset)
        with turn(dataset):
            update_source(entry.path)
            state = _run(dataset, silent_minutes)
    except UserError as error:
        state = Failed(message=str(error))
    if state.is_failed():
        get_run_logger().error(state.message or "")
    tell(dataset, state)
    return state


def _run(dataset: str, silent_minutes: float) -> State[Any]:
    stages = stages_of(dataset)
    if is_new := out_of_date(stages):
        failed = _run_stages(dataset, stages, silent_minutes)
        if failed:
            return failed
        publish_comparison(dataset)
        push_to_remote(dataset, stages)
    if not is_packaged(dataset):
        return Completed() if is_new else _nothing_new()
    # Also where nothing was out of date: a run may have ended before it came to this.
    registered = register_package(dataset, return_state=True)
    if not registered.is_completed():
        return Failed(message=f"register@{dataset}: {registered.message}")
    return Completed(message=registered.message) if is_new else _nothing_new(registered.message)


def _nothing_new(said: str | None = None) -> State[Any]:
    message = "data, parameters and code are those of the last run"
    return Completed(name="Nothing new", message=f"{message}; {said}" if said else message)


def _run_stages(dataset: str, stages: Sequence[Stage], silent_minutes: float) -> State[Any] | None:
    """Run the stages in the order of DVC, up to the first that fails: its state, or None.

    All follow the parameters of the first one.
    """
    begun = _settings(dataset)
    with _shared_ray() as environment:
        for stage in stages:
            if _settings(dataset) != begun:
                return Failed(
                    message=f"params.yaml changed before {stage.name}; what ran is kept, and "
                    f"another run follows the new parameters"
                )
            state = run_stage(stage, environment, silent_minutes, return_state=True)
            if not state.is_completed():
                return Failed(message=f"{stage.name}: {state.message}")
    return None


def _settings(dataset: str) -> str:
    """All parameters that change a result of a dataset."""
    return load_params().for_dataset(dataset).model_dump_json(exclude={"machine"})


@contextmanager
def _shared_ray() -> Iterator[dict[str, str]]:
    """Start one Ray head for all stages. Yields the environment variables that connect to it.

    A second thread starts and ends it: in the main thread Ray would replace the handler of SIGTERM,
    by which Prefect cancels a run.
    """
    from structxlip.ray_session import ray_head

    head = ray_head()
    with ThreadPoolExecutor(max_workers=1) as thread:
        environment = thread.submit(head.__enter__).result()
        try:
            yield environment
        finally:
            thread.submit(head.__exit__, None, None, None).result()
