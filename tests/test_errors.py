"""Errors of other programs as one sentence: a full disk, whoever notices it."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from structxlip.errors import UserError, find_user_error, ray_died


def write_text(full: Path) -> None:
    full.write_text("much")


def write_array(full: Path) -> None:
    with full.open("wb") as file:
        np.save(file, np.zeros(100_000))


def write_parquet(full: Path) -> None:
    pq.write_table(pa.table({"x": list(range(100_000))}), full)


def write_checkpoint(full: Path) -> None:
    with full.open("wb") as file:
        torch.save({"x": torch.zeros(100_000)}, file)


def fill_database(_: Path) -> None:
    database = sqlite3.connect(":memory:")
    database.execute("pragma max_page_count = 2")
    database.execute("create table t (x)")
    database.execute("insert into t values (zeroblob(100000))")


@pytest.mark.parametrize(
    "write",
    [write_text, write_array, write_parquet, write_checkpoint, fill_database],
    ids=lambda f: f.__name__,
)
def test_a_full_disk_is_known(write: Callable[[Path], None], tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")  # what is written there meets a full disk
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has its own
        write(full)
    found = find_user_error(caught.value)
    assert found is not None
    assert str(found).startswith("the disk is full: /")
    assert str(found).endswith("free some space there, then run the same command again")
    assert found.exit_code == 1


def test_a_limit_on_the_size_of_files_is_known(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            (tmp_path / "file").write_bytes(bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "there is a limit on the size of files; raise it" in str(find_user_error(caught.value))


def test_no_folder_for_temporary_files_is_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/dev/full"])
    with pytest.raises(FileNotFoundError) as caught:
        tempfile.gettempdir()
    assert str(find_user_error(caught.value)).startswith(f"the disk is full: {Path.cwd()} takes")


def test_the_folder_of_the_file_is_named() -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/far/away/part-00000.parquet")
    assert "full: /far/away takes" in str(find_user_error(error))


def test_a_missing_permission_names_the_file() -> None:
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/there/params.yaml")
    assert "permissions of /there/params.yaml do not let" in str(find_user_error(error))


def test_what_is_wrapped_is_found_and_all_else_is_not() -> None:
    mistake = UserError("lower it")
    wrapped = RuntimeError("in a worker")
    wrapped.worker_failures = {0: RuntimeError("of rank 0")}  # type: ignore[attr-defined]
    wrapped.worker_failures[0].__cause__ = mistake  # type: ignore[attr-defined]
    assert find_user_error(wrapped) is mistake
    assert find_user_error(OSError(errno.EIO, "input/output error")) is None
    assert find_user_error(ValueError("no space for 3 words")) is None


def test_processes_of_ray_that_died_are_no_fault_of_the_work() -> None:
    from ray.exceptions import LocalRayletDiedError

    failed = RuntimeError("the training failed")
    failed.__cause__ = LocalRayletDiedError("the raylet has died")
    assert ray_died(failed)
    assert find_user_error(failed) is None
    assert not ray_died(ValueError("the raylet has died"))
