"""Artifacts: a finished folder takes the place of the old one in one step."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from structxlip.incremental.artifacts import atomic_directory, replace_directory


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """A folder with the file `new`, on another file system."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system")
    folder = memory / tmp_path.name / "new"
    folder.mkdir(parents=True)
    (folder / "new").write_text("new")
    yield folder
    shutil.rmtree(folder.parent)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder with the file `old`."""
    folder = tmp_path / "target"
    folder.mkdir()
    (folder / "old").write_text("old")
    return folder


def test_a_folder_is_replaced_from_another_file_system(source: Path, target: Path) -> None:
    replace_directory(source, target)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert (target / "new").read_text() == "new"
    assert not source.exists()
    assert list(target.parent.iterdir()) == [target]


def test_a_kill_leaves_no_part_of_the_old_folder(target: Path) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
from structxlip.incremental.artifacts import atomic_directory

sys.addaudithook(lambda event, _: event == "os.remove" and os.kill(os.getpid(), signal.SIGKILL))
with atomic_directory(Path({str(target)!r})) as folder:
    (folder / "new").touch()
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL  # when it began to remove the old folder
    assert [path.name for path in target.iterdir()] == ["new"]
    with atomic_directory(target) as folder:
        (folder / "newer").touch()
    assert [path.name for path in target.iterdir()] == ["newer"]
    assert list(target.parent.iterdir()) == [target]


def test_a_copy_that_fails_leaves_the_old_folder(source: Path, target: Path) -> None:
    (source / "broken").symlink_to("nowhere")
    with pytest.raises(shutil.Error):
        replace_directory(source, target)
    assert [path.name for path in target.iterdir()] == ["old"]
    assert sorted(path.name for path in source.iterdir()) == ["broken", "new"]
    assert list(target.parent.iterdir()) == [target]
