"""The flow `structxlip`: every DVC stage of a dataset as one task, then the comparison."""

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
from tasks.reporting import publish_comparison
from tasks.stages import out_of_date, run_stage, stages_of


@flow(name="structxlip")
def structxlip(dataset: str = "scenes") -> State[Any] | None:
    """Run what is out of date of a dataset and publish how its models compare.

    Args:
        dataset: An entry under `datasets:` in params.yaml.
    """
    try:
        load_params().dataset(dataset)
        failure = _run_stages(dataset)
    except UserError as error:
        failure = str(error)
    if failure:
        get_run_logger().error(failure)
        return Failed(message=failure)
    publish_comparison(dataset)
    return None


def _run_stages(dataset: str) -> str | None:
    """Run the stages in DVC's order; what the first one that fails says, with its name."""
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


@contextmanager
def _shared_ray() -> Iterator[dict[str, str]]:
    """One Ray head for all stages, as the environment variables that join it.

    It is started and ended outside of the main thread, where Ray would replace the handler of
    SIGTERM through which Prefect cancels a run.
    """
    from structxlip.ray_session import ray_head

    head = ray_head()
    with ThreadPoolExecutor(max_workers=1) as thread:
        environment = thread.submit(head.__enter__).result()
        try:
            yield environment
        finally:
            thread.submit(head.__exit__, None, None, None).result()
