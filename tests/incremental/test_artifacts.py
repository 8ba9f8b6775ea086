"""Artifacts: a finished folder takes the place of the old one in one step."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from structxlip.incremental.artifacts import replace_directory


def test_a_folder_is_replaced_from_another_file_system(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system")
    source, target = memory / tmp_path.name / "new", tmp_path / "target"
    try:
        source.mkdir(parents=True)
        target.mkdir()
        (source / "new").write_text("new")
        (target / "old").write_text("old")
        replace_directory(source, target)
        assert [path.name for path in target.iterdir()] == ["new"]
        assert (target / "new").read_text() == "new"
        assert not source.exists()
        assert list(tmp_path.iterdir()) == [target]
    finally:
        shutil.rmtree(source.parent, ignore_errors=True)
