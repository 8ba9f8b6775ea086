"""Imports point one way, from operation to configuration; heavy ones wait until they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A room may import from its own level and from those below.
LEVELS = {
    **dict.fromkeys(("errors", "progress", "config"), 0),
    "ray_session": 1,
    **dict.fromkeys(("losses", "captions", "cues", "data"), 2),
    "models": 3,
    **dict.fromkeys(("evaluation", "inference", "presets", "doctor"), 4),
    **dict.fromkeys(("training", "registry", "pyfunc_model"), 5),
    "stages": 6,
    "cli": 7,
}
FILES = sorted((ROOT / "structxlip").rglob("*.py"))
OPERATION = [path for room in ("flows", "tasks") for path in sorted((ROOT / room).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    return modules


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(ROOT / "structxlip").parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for module in imports(path):
        top, _, rest = module.partition(".")
        assert top not in {"prefect", "dvc", "flows", "tasks"}, f"{path} imports {module}"
        if top == "structxlip" and rest:
            used = rest.split(".")[0]
            assert LEVELS[used] <= LEVELS[room], f"{room} must not import {used}"


@pytest.mark.parametrize("path", OPERATION, ids=lambda path: str(path.relative_to(ROOT)))
def test_operation_is_thin(path: Path) -> None:
    """Flows know tasks, tasks know no flow, and neither knows how a stage does its work."""
    room = path.relative_to(ROOT).parts[0]
    light = {"config", "errors", "progress", "ray_session", "evaluation.comparison"}
    for module in imports(path):
        top, _, rest = module.partition(".")
        assert not (room == "tasks" and top == "flows"), f"{path} imports {module}"
        assert top != "structxlip" or rest in light, f"{path} imports {module}"


def test_the_command_line_imports_nothing_heavy() -> None:
    code = (
        "import sys, structxlip.cli; heavy = {'torch', 'ray', 'mlflow', 'spacy', 'pandas', 'cv2', "
        "'numpy', 'pyarrow', 'matplotlib'}; sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
