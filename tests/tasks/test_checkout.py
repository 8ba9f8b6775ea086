"""Each checkout has a port and a work pool of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.checkout import FILE, pool_name, settle


def test_a_copy_of_a_folder_gets_settings_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    FILE.write_text("TOKEN=secret\n")
    assert settle()
    assert not settle(), "they stay"
    first, pool = FILE.read_text(), pool_name()
    assert first.startswith("TOKEN=secret\n# Made by")
    assert pool.startswith("one-")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    monkeypatch.chdir(tmp_path / "two")
    assert settle()
    second = FILE.read_text()
    assert second.count("TOKEN=secret") == second.count("PREFECT_API_URL=") == 1
    assert f"PREFECT_DEFAULT_WORK_POOL_NAME={pool_name()}" in second
    assert pool_name() != pool
    assert not set(first.splitlines()[2:]) & set(second.splitlines()[2:])
