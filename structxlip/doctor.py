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

PROBE_S = 2.0  # ten seconds for the five stages
PACKAGES = ("torch", "timm", "open_clip_torch", "opencv-python-headless", "spacy", "ray", "mlflow",
            "dvc", "prefect")  # fmt: skip


def examine(params_file: Path, probe_s: float | None = PROBE_S) -> bool:
    """Print a table of checks, with a remedy for each that fails. Where all pass, print how long
    each stage takes here, estimated from a probe of ``probe_s`` seconds a stage; None skips it.

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
    whole = all(passed for passed, *_ in checks)
    if whole and probe_s is not None:
        for line in _estimates(params_file, probe_s):
            Console().print(line, highlight=False)
    return whole


def _estimates(params_file: Path, probe_s: float) -> list[str]:
    """The estimated minutes of each stage, for each active dataset that can be opened."""
    from structxlip.config import load_params
    from structxlip.estimates import estimated_minutes

    params, lines = load_params(params_file), []
    for name in params.datasets:
        try:
            found = estimated_minutes(params.for_dataset(name), name, probe_s)
        except UserError as error:
            lines.append(f"{name}: {error}")
            continue
        stages = ", ".join(f"{stage} {_minutes(value)}" for stage, value in found.items())
        lines.append(f"{name}, estimated minutes on this machine as busy as it is now: {stages}")
    return lines


def _minutes(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


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
    """Try one need of a recipe. Returns its line in the table of `structxlip doctor`."""
    try:
        return True, need.name, need.check(), ""
    except UserError as error:
        return False, need.name, "", str(error)
