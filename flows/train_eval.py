"""The flow `structxlip`: run each DVC stage of a dataset as a task, then publish the comparison."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Failed

from structxlip.config import load_params
from structxlip.errors import UserError
from tasks.champions import is_packaged, register_package
from tasks.reporting import publish_comparison
from tasks.stages import out_of_date, run_stage, stages_of
from tasks.turns import turn


@flow(name="structxlip")
def structxlip(dataset: str = "scenes") -> State[Any] | None:
    """Run the stages of a dataset that are out of date, register its model, and publish it all.

    Args:
        dataset: An entry under `datasets:` in params.yaml.
    """
    try:
        load_params().dataset(dataset)
        with turn(dataset):
            failure = _run_stages(dataset) or _register(dataset)
    except UserError as error:
        failure = str(error)
    if failure:
        get_run_logger().error(failure)
        return Failed(message=failure)
    publish_comparison(dataset)
    return None


def _run_stages(dataset: str) -> str | None:
    """Run the stages in the order of DVC, up to the first that fails.

    Returns the name and the message of the stage that failed, or None.
    """
    stages = stages_of(dataset)
    ray: AbstractContextManager[dict[str, str]] = nullcontext({})
    if out_of_date(stages):
        ray = _shared_ray()
    with ray as environment:
        for stage in stages:
            state = run_stage(stage, environment, return_state=True)
            if not state.is_completed():
                return f"{stage.name}: {state.message}"
    return None


def _register(dataset: str) -> str | None:
    """Register the package and let the gate decide. Returns the message of a failure, or None."""
    if not is_packaged(dataset):
        return None
    state = register_package(dataset, return_state=True)
    return None if state.is_completed() else f"register@{dataset}: {state.message}"


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
