"""`structxlip init`: a project folder for the installed package."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from structxlip.config.edit import replace_datasets
from structxlip.errors import UserError
from structxlip.progress import say

PACKAGE = Path(__file__).parents[1]
# Of the repository; the wheel carries them in `project/`.
FILES = (
    *("params.yaml", "dvc.yaml", "prefect.yaml", "prefect.toml", ".dvcignore"),
    *("assets", "flows", "tasks"),
)
DEMO = "scenes"  # the built-in dataset
CODE = "structxlip"  # the link to the package, whose rooms dvc.yaml names
IGNORED = f"""\
/{CODE}
.venv/
__pycache__/
.cache/
/data/
/models/
/reports/
/indexes/
/dvc_plots/
/mlflow.db*
/mlruns/
.prefect/
.env
"""
README = """\
# {name}

A project of StructXLIP. `params.yaml` says what is read and how it is trained, and `dvc.yaml` has
the stages.

```sh
structxlip with-ray dvc repro       # every stage that is out of date
structxlip report --dataset NAME    # the comparison; NAME is an entry under `datasets:`
structxlip search NAME "some words" # or `structxlip serve NAME`: a page
structxlip register NAME            # into MLflow, if the gate takes it as the champion
python -m tasks.services up         # Prefect's server and a worker, for `structxlip run NAME`
```

`{code}` is a link to the installed package, so that DVC sees when its code changes. It is not
committed: after a clone, or in another environment, `structxlip init .` makes it again.
"""


def create_project(folder: Path, datasets: Mapping[str, dict[str, Any]] | None = None) -> None:
    """Make a project in a new or an empty folder, with Git and DVC where they are missing.

    In a folder that is a project already only the link to the package is made again.

    Args:
        folder: of the project.
        datasets: entries that take the place of the built-in drawings, by their names.

    Raises ``UserError`` for a folder that holds something else.
    """
    link = folder / CODE
    if (folder / "dvc.yaml").is_file() and (folder / "params.yaml").is_file():
        if link.exists() and not link.is_symlink():
            raise UserError(f"{folder} holds the package itself, so it needs no link to it")
        if datasets:
            raise UserError(
                f"{folder} is a project already; go there and add the data with `structxlip add`", 2
            )
        _link(link)
        say(f"{folder} is a project already; {link} leads to {PACKAGE}")
        return
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give a new folder", 2)
    if folder.exists() and any(path.name != ".git" for path in folder.iterdir()):
        raise UserError(f"{folder} is not empty; give a new folder", 2)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".structxlip-", dir=folder.parent) as scratch:
        made = Path(scratch, "project")
        _fill(made, folder.resolve().name, datasets or {})
        folder.mkdir(exist_ok=True)
        for path in made.iterdir():
            path.rename(folder / path.name)
    _set_up_versions(folder)
    say(f"{folder} is a project; go there and run `structxlip with-ray dvc repro`")


def _fill(folder: Path, name: str, datasets: Mapping[str, dict[str, Any]]) -> None:
    """Write the files of a project into a new folder."""
    folder.mkdir()
    carried = PACKAGE / "project"
    source = carried if carried.is_dir() else PACKAGE.parent
    for file in FILES:
        if (source / file).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source / file, folder / file, ignore=ignored)
        else:
            shutil.copy(source / file, folder / file)
    (folder / ".gitignore").write_text(IGNORED)
    (folder / "README.md").write_text(README.format(name=name, code=CODE))
    _link(folder / CODE)
    if datasets:
        replace_datasets(folder / "params.yaml", datasets)
        deployments = folder / "prefect.yaml"
        first = f"dataset: {next(iter(datasets))}"
        deployments.write_text(deployments.read_text().replace(f"dataset: {DEMO}", first))


def _link(link: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(PACKAGE, target_is_directory=True)


def _set_up_versions(folder: Path) -> None:
    """Start Git, where it is there, and DVC."""
    has_git = shutil.which("git") is not None
    own = (folder / ".git").exists()
    outer = has_git and not own and _is_inside_git(folder)
    if has_git and not own and not outer:
        _run(folder, "git", "init", "--quiet")
    dvc = (sys.executable, "-m", "dvc")
    kind = [] if has_git and not outer else ["--subdir"] if outer else ["--no-scm"]
    _run(folder, *dvc, "init", "--quiet", *kind)
    for key in ("core.analytics", "core.check_update"):
        _run(folder, *dvc, "config", key, "false")


def _is_inside_git(folder: Path) -> bool:
    command = ["git", "rev-parse", "--is-inside-work-tree"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"`{' '.join(command)}` failed in {folder}: {done.stderr.strip()}")
