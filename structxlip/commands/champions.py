"""The registered models of a dataset: which of them is champion, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from structxlip.commands.options import (
    PARAMS,
    DatasetArgument,
    ParamsFile,
    dataset_params,
    project_params,
)

commands = typer.Typer()

VersionArgument = Annotated[str, typer.Argument(help="DATASET@champion, or DATASET/3.")]
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


@commands.command()
def lineage(version: VersionArgument) -> None:
    """Print what a version was made of: commit, data, parameters, runs, and the decision on it."""
    from structxlip.tracking.commands import print_lineage

    print_lineage(version)


@commands.command()
def reproduce(
    version: VersionArgument,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
) -> None:
    """Check out a version into a new folder, train it anew there, and compare the numbers."""
    from structxlip.tracking.reproduction import reproduce as make_again

    make_again(version, folder)


@commands.command()
def gc(
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove it; else it is only told.")
    ] = False,
    decisions: Annotated[
        int, typer.Option(min=0, help="Last decisions about each dataset whose versions stay.")
    ] = 10,
    days: Annotated[float, typer.Option(min=0, help="What is younger stays.")] = 7,
    params: ParamsFile = PARAMS,
) -> None:
    """Say what no champion and no recent decision needs, with sizes, and remove it when told to."""
    from structxlip.tracking.commands import clean

    clean(project_params(params), decisions, days, remove)
