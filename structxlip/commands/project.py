"""The project itself: its parameters, its datasets, its installation."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from structxlip.commands.options import (
    PARAMS,
    ArmOption,
    DatasetArgument,
    DatasetOption,
    ParamsFile,
    dataset_params,
)
from structxlip.errors import UserError

commands = typer.Typer()


@commands.command()
def report(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Print the comparison of a dataset, and where to look further."""
    from structxlip.reports.comparison import print_comparison
    from structxlip.tracking.commands import print_champion

    dataset_params(params, dataset)
    print_comparison(dataset)
    print_champion(dataset)


@commands.command()
def doctor(params: ParamsFile = PARAMS) -> None:
    """Say what is installed, which models are usable offline, and how to get what is missing."""
    from structxlip.doctor import examine

    raise typer.Exit(0 if examine(params) else 1)


@commands.command()
def activate(
    preset: Annotated[str, typer.Argument(help="An entry under `presets:`.")],
    path: Annotated[Path, typer.Option("--path", help="What the dataset is read from.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Make a preset an active dataset that is read from PATH."""
    from structxlip.config.edit import activate_preset

    activate_preset(params, preset, path)


@commands.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the new entry under `datasets:`.")],
    path: Annotated[Path, typer.Argument(help="The folder or the table of the dataset.")],
    yes: Annotated[bool, typer.Option("--yes", help="Write the entry without asking.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Look at your own data, guess its entry, show ten pairs as it reads them, and write it."""
    from structxlip.config.edit import add_dataset

    add_dataset(params, name, _guessed(name, path.resolve(), yes))


@commands.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder of the project: new, or empty.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="The folder or the table of your dataset.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the dataset is called.")] = "mine",
    yes: Annotated[bool, typer.Option("--yes", help="Write the entry without asking.")] = False,
) -> None:
    """Make a project folder for your own data; in a project, mend its link to the package."""
    from structxlip.config.project import create_project

    entry = _guessed(name, source.resolve(), yes) if source else None
    create_project(folder, {name: entry} if entry else None)


def _guessed(name: str, path: Path, yes: bool) -> dict[str, Any]:
    """The entry that is guessed, once the user has seen it."""
    from structxlip.config.edit import check_name, entry_text
    from structxlip.data.guess import guess_entry, preview

    check_name(name)
    entry = guess_entry(path)
    shown = "\n".join([entry_text(name, entry), *preview(entry)])
    typer.echo(shown.encode("utf-8", "replace").decode())
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("nothing is written without an answer; give --yes", 2)
        typer.confirm("Write this entry?", abort=True)
    return entry


@commands.command()
def deploy(
    dataset: DatasetArgument,
    cron: Annotated[str, typer.Option(help='Minute, hour, day, month, weekday: "0 3 * * 1".')],
    timezone: Annotated[str, typer.Option(help="For example Europe/Berlin.")] = "UTC",
    params: ParamsFile = PARAMS,
) -> None:
    """Retrain a dataset on a schedule: write its deployment into prefect.yaml."""
    from structxlip.config.deployments import schedule_dataset

    dataset_params(params, dataset)
    schedule_dataset(params.with_name("prefect.yaml"), dataset, cron, timezone)


@commands.command()
def inspect(dataset: DatasetArgument, params: ParamsFile = PARAMS) -> None:
    """Write a page that shows a dataset: lengths, edges, structure, and what was left out."""
    from structxlip.reports.dataset_page import inspect as write_page

    write_page(dataset_params(params, dataset), dataset)


@commands.command()
def replay(dataset: DatasetOption, arm: ArmOption, params: ParamsFile = PARAMS) -> None:
    """Repeat the step over which a training failed, and say what in it is not finite."""
    from structxlip.training.replay import replay as replay_training

    replay_training(dataset_params(params, dataset), dataset, arm)


@commands.command()
def sources() -> None:
    """List the kinds of datasets that can be read, with an example of each."""
    from structxlip.config.reference import examples

    sys.stdout.write(examples())


@commands.command("params")
def describe_params(
    key: Annotated[str | None, typer.Argument(help="For example `train` or `edges.cue`.")] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Show the values that this dataset follows.")
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Explain the keys of params.yaml: one key, one section, or all of them."""
    from structxlip.config.reference import describe_keys

    followed = dataset_params(params, dataset) if dataset else None
    sys.stdout.write(describe_keys(key, followed) + "\n")


@commands.command()
def recipe(
    name: Annotated[str, typer.Argument(help="An entry under `recipes:`.")],
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Select it for this dataset alone.")
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Select the recipe that the stages follow."""
    from structxlip.config.edit import select_recipe

    select_recipe(params, name, dataset)


@commands.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def with_ray(
    command: Annotated[list[str], typer.Argument(help="For example `dvc repro`.")],
) -> None:
    """Run COMMAND with one local Ray head that all of its stages share."""
    import subprocess

    from structxlip.ray_session import ray_head

    with ray_head() as environment:
        try:
            code = subprocess.run(command, env=os.environ | environment, check=False).returncode
        except FileNotFoundError:
            raise UserError(f"{command[0]} is not a program on the PATH") from None
    raise typer.Exit(code)
