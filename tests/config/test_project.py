"""`structxlip init`: a project of the installed package, in which the stages run."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from structxlip.cli import app
from structxlip.config import load_params, project
from structxlip.config.project import FILES, create_project
from structxlip.errors import UserError
from tests.data.test_guess import png
from tests.operation import BIN, ROOT
from tests.trees import write


def dvc(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *command],
        cwd=folder,
        env={"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.e2e
def test_stages_run_in_a_project_of_ones_own(tmp_path: Path) -> None:
    rows = "".join(f"{i}.png,A dog number {i} on a lawn\n" for i in range(12))
    files = {f"own/{i}.png": png(i) for i in range(12)}
    write(tmp_path, {"own/t.csv": f"image,caption\n{rows}"} | files)
    folder = tmp_path / "project"
    command = ["init", str(folder), "--from", str(tmp_path / "own"), "--name", "dogs", "--yes"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    params = load_params(folder / "params.yaml")
    assert list(params.datasets) == ["dogs"]
    assert "dataset: dogs" in (folder / "prefect.yaml").read_text()
    names = [line.split()[0] for line in dvc(folder, "stage", "list", "--all").splitlines()]
    assert {"ingest@dogs", "train@dogs-structxlip"} <= set(names)
    assert not [name for name in names if "scenes" in name or "dvc.yaml" in name]
    dvc(folder, "repro", "ingest@dogs")
    assert (folder / "data/dogs/pairs/report.json").is_file()
    assert "up to date" in dvc(folder, "status", "ingest@dogs")

    # Another environment: the link is mended, and the rest stays.
    link = folder / "structxlip"
    link.unlink()
    link.symlink_to(tmp_path / "gone")
    assert CliRunner().invoke(app, ["init", str(folder)]).exit_code == 0
    assert link.resolve() == ROOT / "structxlip"
    assert "up to date" in dvc(folder, "status", "ingest@dogs")


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, {"notes.txt": "mine"})
    with pytest.raises(UserError, match="is not empty; give a new folder"):
        create_project(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(UserError, match="holds the package itself"):
        create_project(ROOT)


@pytest.mark.parametrize("name", ["bad.name!", "scenes"])
def test_a_name_is_checked_before_anything_is_made(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"own/t.csv": "image,caption\na.png,A dog\n", "own/a.png": png()})
    folder = tmp_path / "project"
    command = ["init", str(folder), "--from", str(tmp_path / "own"), "--name", name, "--yes"]
    done = CliRunner().invoke(app, command)
    if name == "scenes":  # takes the place of the built-in drawings
        assert done.exit_code == 0, done.output
        assert load_params(folder / "params.yaml").datasets["scenes"].kind == "table"
        again = CliRunner().invoke(app, command)
        assert "add the data with `structxlip add`" in str(again.exception)
    else:
        assert "cannot name a dataset" in str(done.exception)
        assert not folder.exists()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file; give a new folder"):
        create_project(tmp_path / "file")


def test_the_wheel_carries_what_is_copied() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    carried = build["targets"]["wheel"]["force-include"]
    assert carried == {name: f"structxlip/project/{name}" for name in FILES}
    assert not (Path(project.__file__).parents[1] / "project").exists(), "a checkout copies its own"
