"""The import graph of the project, and which files a stage of the pipeline runs."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
STAGES = (
    "settings",
    "ingest",
    "edges",
    "captions",
    "features",
    "edge_features",
    "champion",
    "check",
    "train",
    "evaluate",
    "index",
    "package",
)
# Imports by name, which no import statement shows: folders in which every file may be the one that
# the parameters name, and the file that MLflow runs as code.
BY_NAME = {
    "structxlip.cues.detectors": "structxlip.cues.detectors",
    "structxlip.data.sources": "structxlip.data.sources",
    "structxlip.models.towers.kinds": "structxlip.models.towers.kinds",
    "structxlip.serving.package": "structxlip.serving.pyfunc_model",
}
# Modules that tell of a result or place the work, and never change an output. A stage does not
# depend on them: a better message must not train anything again.
# `needs` tries early what a stage would refuse later.
TELLING = {"structxlip.needs", "structxlip.errors", "structxlip.progress", "structxlip.ray_session"}
TELLING_OF = {"train": {"structxlip.tracking"}}


@cache
def import_graph() -> grimp.ImportGraph:
    """The modules of structxlip, flows and tasks, and their imports, also within functions."""
    return grimp.build_graph("structxlip", "flows", "tasks", cache_dir=None)


def room(module: str) -> str:
    """The top level of a module within structxlip: `data` of `structxlip.data.sources.coco`."""
    return module.split(".")[1] if "." in module else "__init__"


@cache
def modules_run_by(stage: str) -> frozenset[str]:
    """Every module that a stage imports, directly or through others, and that may change it."""
    graph, found, queue = import_graph(), set(), [f"structxlip.stages.{stage}"]
    while queue:
        module = queue.pop()
        if module in found or _tells(module, stage):
            continue
        found.add(module)
        queue += graph.find_modules_directly_imported_by(module)
        parts = module.split(".")  # importing a module runs the packages above it
        queue += [".".join(parts[:end]) for end in range(2, len(parts))]
        if named := BY_NAME.get(module):
            queue += [named, *graph.find_children(named)]
    return frozenset(found)


def code_of(stage: str) -> set[str]:
    """The paths that hold the code of a stage: whole folders wherever that is exact.

    A folder is exact for a stage that runs every file of it that any stage runs. A file that no
    stage runs, such as that of a command, does not count.
    """
    run = {_path(module) for module in modules_run_by(stage)}
    by_any = {_path(module) for other in STAGES for module in modules_run_by(other)}
    return set(_cover(ROOT / "structxlip", run, by_any))


def _tells(module: str, stage: str) -> bool:
    names = TELLING | TELLING_OF.get(stage, set())
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _path(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _cover(folder: Path, run: set[Path], by_any: set[Path]) -> list[str]:
    relevant = {path for path in by_any if path.is_relative_to(folder)}
    if folder.parent != ROOT and relevant and relevant <= run:
        return [str(folder.relative_to(ROOT))]
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            found += _cover(path, run, by_any)
        elif path in run and not _holds_only_a_docstring(path):
            found.append(str(path.relative_to(ROOT)))
    return found


def _holds_only_a_docstring(path: Path) -> bool:
    body = ast.parse(path.read_text()).body
    return all(isinstance(node, ast.Expr) for node in body)
