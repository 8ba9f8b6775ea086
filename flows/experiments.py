"""Flows of the experiments, which test what StructXLIP gains, and by what."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed

from tasks.experiments import run_experiment


@flow(name="compare")
def compare(dataset: str = "scenes", seeds: int = 5) -> State[Any]:
    """Train StructXLIP, vanilla and the controls with several seeds, and publish the table.

    Args:
        dataset: An entry under `datasets:` in params.yaml whose features are made.
        seeds: Trainings of each row.
    """
    return _run("compare", dataset, seeds)


@flow(name="robustness")
def robustness(dataset: str = "scenes", seeds: int = 5) -> State[Any]:
    """Measure the models of `compare` on changed test images, and publish the table.

    Args:
        dataset: An entry under `datasets:` in params.yaml whose features are made.
        seeds: Trainings of each row.
    """
    return _run("robustness", dataset, seeds)


@flow(name="ablate")
def ablate(dataset: str = "scenes", seeds: int = 5) -> State[Any]:
    """Train StructXLIP without each of its parts, and publish the table.

    Args:
        dataset: An entry under `datasets:` in params.yaml whose features are made.
        seeds: Trainings of each row.
    """
    return _run("ablate", dataset, seeds)


@flow(name="data-efficiency")
def data_efficiency(dataset: str = "scenes", seeds: int = 5) -> State[Any]:
    """Train both arms with 5 to 100 % of the training pairs, and publish the table.

    Args:
        dataset: An entry under `datasets:` in params.yaml whose features are made.
        seeds: Trainings of each row.
    """
    return _run("data-efficiency", dataset, seeds)


@flow(name="flatness")
def flatness(dataset: str = "scenes", seeds: int = 5) -> State[Any]:
    """Measure the loss of both arms under random noise of the weights, and publish the table.

    Args:
        dataset: An entry under `datasets:` in params.yaml whose features are made.
        seeds: Trainings of each row.
    """
    return _run("flatness", dataset, seeds)


def _run(experiment: str, dataset: str, seeds: int) -> State[Any]:
    """The state of the flow: that of its task, with the message of a failure."""
    state = run_experiment(experiment, dataset, seeds, return_state=True)
    return state if state.is_completed() else Failed(message=state.message)
