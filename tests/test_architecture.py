"""Imports point one way, heavy ones wait until they are used, and dvc.yaml follows the imports."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from tests.import_graph import ROOT, STAGES, code_of, import_graph, room

# A room imports from lower levels, and from rooms of its own level that do not import it.
LEVELS = {
    **dict.fromkeys(("errors", "progress", "ray_session"), 0),
    "config": 1,
    **dict.fromkeys(("data", "cues", "captions", "features", "losses", "incremental"), 2),
    "models": 3,
    **dict.fromkeys(("evaluation", "training", "reports", "serving", "tracking", "needs"), 4),
    **dict.fromkeys(("stages", "experiments", "doctor", "estimates"), 5),
    "commands": 6,
    "cli": 7,
}
# Modules that flows and tasks may import: light ones that do not do the work of a stage.
LIGHT = {"config", "errors", "progress", "ray_session", "reports.comparison", "tracking.decisions"}
OURS = [module for module in import_graph().modules if module.startswith("structxlip.")]
OPERATION = sorted(
    module for module in import_graph().modules if module.partition(".")[0] in ("flows", "tasks")
)


def room_imports() -> set[tuple[str, str]]:
    """Every pair of rooms of which the first imports the second."""
    pairs = {
        (room(module), room(imported))
        for module in OURS
        for imported in import_graph().find_modules_directly_imported_by(module)
        if imported in OURS
    }
    return {(one, other) for one, other in pairs if one != other}


def test_every_room_has_a_level() -> None:
    assert {room(module) for module in OURS} == set(LEVELS)


def test_imports_point_one_way() -> None:
    upwards = [f"{a} imports {b}" for a, b in room_imports() if LEVELS[b] > LEVELS[a]]
    assert not upwards


def test_no_circle_of_rooms() -> None:
    graph: dict[str, set[str]] = {name: set() for name in LEVELS}
    for one, other in room_imports():
        graph[one].add(other)
    while graph:
        free = [name for name, others in graph.items() if not others]
        assert free, f"these rooms import each other in a circle: {graph}"
        graph = {n: others - set(free) for n, others in graph.items() if n not in free}


@pytest.mark.parametrize("module", OPERATION)
def test_operation_is_thin(module: str) -> None:
    """Flows use tasks, tasks use no flow, and neither knows how a stage does its work."""
    for imported in import_graph().find_modules_directly_imported_by(module):
        top, _, rest = imported.partition(".")
        assert not (module.startswith("tasks") and top == "flows")
        assert top != "structxlip" or rest in LIGHT or rest.partition(".")[0] == "config"


def test_the_library_knows_neither_prefect_nor_dvc() -> None:
    for path in (ROOT / "structxlip").rglob("*.py"):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                assert words[1].split(".")[0] not in {"prefect", "dvc", "flows", "tasks"}, path


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_depends_on_the_code_that_a_stage_runs(stage: str) -> None:
    """Both ways: nothing that runs is missing, nothing that does not run is listed."""
    entry = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]
    listed = entry.get("do", entry)["deps"]
    assert {path for path in listed if path.startswith("structxlip/")} == code_of(stage)


def test_the_command_line_imports_nothing_heavy() -> None:
    code = (
        "import sys, structxlip.cli; heavy = {'torch', 'ray', 'mlflow', 'spacy', 'pandas', 'cv2', "
        "'numpy', 'pyarrow', 'matplotlib'}; sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr


def test_parameters_are_read_without_anything_heavy() -> None:
    code = (
        "import sys; from structxlip.config import load_params; load_params(); "
        "heavy = {'torch', 'cv2', 'pyarrow', 'pandas'}; "
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
