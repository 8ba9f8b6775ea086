"""Checkpoints: whole or not there, whatever happens to them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from structxlip.training.checkpoints import BEST, STEP, Checkpoints


@pytest.fixture(params=["local", "memory"])
def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Checkpoints]:
    if request.param == "local":
        yield Checkpoints(str(tmp_path / "run"), keep=2)
        return
    yield Checkpoints("memory://run", keep=2)
    MemoryFileSystem().rm("/run", recursive=True)


def write(checkpoints: Checkpoints, kind: str, *steps: int) -> None:
    for step in steps:
        checkpoints.save(kind, step, {"weight": torch.full((3,), float(step)), "step": step})


def newest(checkpoints: Checkpoints) -> int:
    state = checkpoints.newest()
    assert state is not None
    assert state["weight"].tolist() == [state["step"]] * 3
    return int(state["step"])


def test_the_newest_are_kept_and_read(checkpoints: Checkpoints) -> None:
    assert checkpoints.newest() is None
    write(checkpoints, STEP, 1, 2, 30)
    assert newest(checkpoints) == 30
    assert len(checkpoints.files(STEP)) == 2
    assert checkpoints.at(STEP, 2) is not None
    assert checkpoints.at(STEP, 1) is None


def test_one_more_of_the_best_is_kept(checkpoints: Checkpoints) -> None:
    write(checkpoints, BEST, 1, 2, 3, 4)
    assert [checkpoints.at(BEST, step) is None for step in (1, 2, 3, 4)] == [True] + [False] * 3


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_one_falls_back_to_the_one_before(
    checkpoints: Checkpoints, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(checkpoints, STEP, 1, 2)
    name = checkpoints.files(STEP)[0]
    content = checkpoints.fs.cat_file(name)
    middle = len(content) // 2
    damaged = {
        "cut": content[:middle],
        "changed": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "empty": b"",
    }
    checkpoints.fs.pipe_file(name, damaged[damage])
    assert newest(checkpoints) == 1
    assert f"{name} was damaged, and is removed" in capsys.readouterr().err
    write(checkpoints, STEP, 0)  # what is whole is not pushed out by what was not
    assert newest(checkpoints) == 1


def test_any_folder_will_do(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path / "run [v2] *"), keep=1)
    write(checkpoints, STEP, 1, 2)
    assert newest(checkpoints) == 2
    assert len(checkpoints.files(STEP)) == 1


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(str(tmp_path / "run"), keep=1)
    write(checkpoints, STEP, 1)

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoints.fs, "mv", fail)
    with pytest.raises(OSError, match="no space"):
        write(checkpoints, STEP, 2)
    assert newest(checkpoints) == 1
    monkeypatch.undo()
    write(checkpoints, STEP, 3)
    assert os.listdir(tmp_path / "run") == [Path(checkpoints.files(STEP)[0]).name]


def test_they_go_with_their_run(checkpoints: Checkpoints) -> None:
    write(checkpoints, STEP, 1)
    checkpoints.remove()
    assert checkpoints.newest() is None
    checkpoints.remove()
    write(checkpoints, STEP, 1)
