"""The registered models of a dataset: which of them is champion, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from structxlip.commands.options import PARAMS, DatasetArgument, ParamsFile, dataset_params

commands = typer.Typer()

ReasonOption = Annotated[str, typer.Option("--reason", help="Goes into the log of decisions.")]


@commands.command()
def register(
    dataset: DatasetArgument,
    force: Annotated[
        str | None, typer.Option("--force", help="Promote whatever the gate says, for this reason.")
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Register the packaged model in MLflow, and let the gate decide whether it is promoted."""
    from structxlip.tracking.commands import register as register_package

    register_package(dataset_params(params, dataset), dataset, force)


@commands.command()
def rollback(dataset: DatasetArgument, reason: ReasonOption = "") -> None:
    """Make the previous champion the champion again."""
    from structxlip.tracking.commands import rollback as roll_back

    roll_back(dataset, reason)


@commands.command()
def history(dataset: DatasetArgument) -> None:
    """Print who was champion when, and why."""
    from structxlip.tracking.commands import history as print_history

    print_history(dataset)
