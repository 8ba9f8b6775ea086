"""The stages, as DVC runs them: one command for each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from structxlip.commands.options import (
    PARAMS,
    ArmOption,
    DatasetArgument,
    DatasetOption,
    ParamsFile,
    dataset_params,
)
from structxlip.config import Arm
from structxlip.errors import UserError

commands = typer.Typer()


def _stage(name: str, params_file: Path, dataset: str, arm: Arm | None = None) -> None:
    """Validate the parameters, then import and run one stage."""
    from importlib import import_module

    params = dataset_params(params_file, dataset)
    run = getattr(import_module(f"structxlip.stages.{name}"), name)
    run(params, dataset) if arm is None else run(params, dataset, arm)


@commands.command()
def settings(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Work out what a dataset follows: its recipe, and what is overridden for it."""
    _stage("settings", params, dataset)


@commands.command()
def ingest(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Read a dataset, validate it, and write its pair store."""
    _stage("ingest", params, dataset)


@commands.command()
def edges(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Compute the edge map of every image."""
    _stage("edges", params, dataset)


@commands.command()
def captions(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Parse every caption into its structural caption and chunks."""
    _stage("captions", params, dataset)


@commands.command()
def features(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Store what is trained on: outputs of frozen towers, or pixels and tokens."""
    _stage("features", params, dataset)


@commands.command("edge_features")
def edge_features(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Let the frozen image tower read the edge maps, where the recipe asks for it."""
    _stage("edge_features", params, dataset)


@commands.command()
def champion(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Fetch the champion as it is when the pairs change."""
    _stage("champion", params, dataset)


@commands.command()
def check(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Compare new pairs with those of the champion, before anything is trained on them."""
    _stage("check", params, dataset)


@commands.command()
def train(dataset: DatasetOption, arm: ArmOption, params: ParamsFile = PARAMS) -> None:
    """Fine-tune one arm; a killed run goes on from its last checkpoint."""
    _stage("train", params, dataset, arm)


@commands.command()
def evaluate(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Compare base, vanilla and structxlip on the test split, and write the report."""
    _stage("evaluate", params, dataset)


@commands.command()
def index(
    dataset: DatasetOption,
    params: ParamsFile = PARAMS,
    model: Annotated[
        str | None,
        typer.Option(help="Another model than the arm to register, such as the champion."),
    ] = None,
) -> None:
    """Embed every image of a dataset with the registered arm, for search."""
    if model is None:
        return _stage("index", params, dataset)
    from structxlip.serving.loading import find_model
    from structxlip.stages.index import index as index_with

    index_with(dataset_params(params, dataset), dataset, find_model(model))


@commands.command()
def package(dataset: DatasetOption, params: ParamsFile = PARAMS) -> None:
    """Package the chosen arm, as MLflow serves it."""
    _stage("package", params, dataset)


@commands.command()
def run(dataset: DatasetArgument) -> None:
    """Run all stages in Prefect, follow them, and print the comparison or why it failed."""
    dataset_params(PARAMS, dataset)
    if not Path("tasks").is_dir():
        raise UserError("there is no folder `tasks` here; run this in the folder of the project")
    command = [sys.executable, "-m", "tasks.services", "run", dataset]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
