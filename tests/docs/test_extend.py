"""The worked examples of `docs/extend` run, and each is one new file or one entry of params.yaml.

The page is the only source. The block with the path of a file is that file. The block `params.yaml`
is merged into the parameters. The commands of the block `terminal` run in a copy of the project,
and each line of the block `prints` must be among what they print.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from structxlip.config import load_params
from tests.docs.pages import DOCS, ROOT, titled_blocks

EXAMPLES = {
    "source": "structxlip/data/sources",
    "maps": "structxlip/data/sources",
    "cue": "structxlip/cues/detectors",
    "loss": "structxlip/losses",
    "tower": "structxlip/models/towers/kinds",
    "recipe": None,
}


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that stages need to run."""
    folder = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "structxlip", folder / "structxlip", ignore=ignored)
    shutil.copy(ROOT / "params.yaml", folder)
    return folder


def test_every_page_is_an_example() -> None:
    pages = {page.stem for page in (DOCS / "extend").glob("*.md")}
    assert pages == {"index", *EXAMPLES}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name: str, project: Path, tmp_path: Path) -> None:
    blocks, home = titled_blocks(DOCS / "extend" / f"{name}.md"), EXAMPLES[name]
    added = [title for title in blocks if title.startswith("structxlip/")]
    assert [str(Path(title).parent) for title in added] == ([home] if home else [])
    copy = tmp_path / "project"
    shutil.copytree(project, copy)
    for title in {*added, "try_it.py"} & blocks.keys():
        assert not (copy / title).exists(), "an example adds a file and changes none"
        (copy / title).write_text(blocks[title], encoding="utf-8")

    params = yaml.safe_load((copy / "params.yaml").read_text(encoding="utf-8"))
    merge(params, yaml.safe_load(blocks["params.yaml"]))
    (copy / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")

    printed = "".join(run(line, copy) for line in blocks["terminal"].splitlines())
    wanted = blocks["prints"].splitlines()
    assert wanted
    assert [line for line in wanted if line not in printed.splitlines()] == [], printed
    if name == "recipe":
        assert load_params(copy / "params.yaml").recipe == "first_look"


def merge(content: dict[str, Any], changes: dict[str, Any]) -> None:
    """Put changes into a mapping, key by key."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            merge(content[key], value)
        else:
            content[key] = value


def run(command: str, folder: Path) -> str:
    """The output of a command of a page, run in a folder that holds the package."""
    program, *arguments = command.split()
    starts = {"python": [], "structxlip": ["-m", "structxlip.cli"]}
    done = subprocess.run(
        [sys.executable, *starts[program], *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
