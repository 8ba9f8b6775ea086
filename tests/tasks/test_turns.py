"""One run of a dataset at a time, others side by side; a killed run frees its turn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks import turns
from tasks.turns import turn

HOLD = """
import sys, time
from tasks.turns import turn
with turn("scenes"):
    print("taken", flush=True)
    time.sleep(600)
"""


def test_a_run_waits_for_another_one_of_its_dataset_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(turns.__file__).parents[1]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(root))
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "taken\n"
        with turn("photos"):
            pass
        said: list[str] = []

        class Logger:
            def info(self, *words: str) -> None:
                said.append(words[0] % words[1:])
                holder.kill()

        monkeypatch.setattr(turns, "get_run_logger", Logger)
        monkeypatch.setattr(turns, "POLL_S", 0.05)
        with turn("scenes"):
            assert said == ["another run of scenes is under way; waiting"]
    finally:
        holder.kill()
        holder.wait()
