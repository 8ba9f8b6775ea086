"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from structxlip.config import Arm, Params, load_params

PARAMS = Path("params.yaml")

ParamsFile = Annotated[Path, typer.Option("--params", help="The parameter file.")]
DatasetOption = Annotated[str, typer.Option("--dataset", help="An entry under `datasets:`.")]
DatasetArgument = Annotated[str, typer.Argument(help="An entry under `datasets:`.")]
ArmOption = Annotated[Arm, typer.Option("--arm", help="What is trained.")]


def dataset_params(params_file: Path, dataset: str) -> Params:
    """The parameters as a dataset follows them; every command that takes a dataset begins here."""
    return load_params(params_file).for_dataset(dataset)


def project_params(params_file: Path) -> Params:
    """The parameters of the whole project, for a command that takes no dataset."""
    return load_params(params_file)
