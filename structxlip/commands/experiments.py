"""Many trainings that answer one question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from structxlip.commands.options import PARAMS, DatasetArgument, ParamsFile, dataset_params

commands = typer.Typer()

SeedsOption = Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each row.")]


def _experiment(name: str, params_file: Path, dataset: str, seeds: int) -> None:
    """Validate the parameters, then import and run one experiment with several seeds."""
    from importlib import import_module

    params = dataset_params(params_file, dataset)
    run = getattr(import_module(f"structxlip.experiments.{name}"), name)
    run(params, dataset, range(params.seed, params.seed + seeds))


@commands.command()
def compare(dataset: DatasetArgument, seeds: SeedsOption = 5, params: ParamsFile = PARAMS) -> None:
    """Train StructXLIP, vanilla and the controls with several seeds: is the gain structure's?"""
    _experiment("compare", params, dataset, seeds)


@commands.command()
def robustness(
    dataset: DatasetArgument, seeds: SeedsOption = 5, params: ParamsFile = PARAMS
) -> None:
    """Measure the models of `compare` on test images of changed colour, contrast and texture."""
    _experiment("robustness", params, dataset, seeds)


@commands.command()
def ablate(dataset: DatasetArgument, seeds: SeedsOption = 5, params: ParamsFile = PARAMS) -> None:
    """Train StructXLIP without each of its parts: losses, caption filter, cue, fusing."""
    _experiment("ablate", params, dataset, seeds)


@commands.command()
def data_efficiency(
    dataset: DatasetArgument, seeds: SeedsOption = 5, params: ParamsFile = PARAMS
) -> None:
    """Train StructXLIP and vanilla with 5 to 100 % of the training pairs."""
    _experiment("data_efficiency", params, dataset, seeds)


@commands.command()
def flatness(dataset: DatasetArgument, seeds: SeedsOption = 5, params: ParamsFile = PARAMS) -> None:
    """Measure how much the loss of both arms rises under random noise of the weights."""
    _experiment("flatness", params, dataset, seeds)


@commands.command()
def tune(
    dataset: DatasetArgument,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Trainings of each arm.")] = 20,
    params: ParamsFile = PARAMS,
) -> None:
    """Search better settings of both arms on validation, and propose them as a diff."""
    from structxlip.experiments.tune import tune as search

    search(dataset_params(params, dataset), dataset, trials, params)
