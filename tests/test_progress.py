"""Progress in a log: what is done, at which rate, and what is left."""

from __future__ import annotations

import re

import pytest

from structxlip import progress as module
from structxlip.progress import progress


def test_a_log_tells_rate_and_note_of_what_was_done_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([100.0, 100.0, 102.0, 110.0, 110.0, 110.0, 110.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    with progress("train", 30, "steps", done=10) as advance:
        advance(1, "loss 9")  # too early for a line
        advance(4, "loss 3")
    first, last = capsys.readouterr().err.splitlines()
    assert first == "train: 15/30 steps (50 %), 0.5/s, 30 s left, loss 3"
    assert re.match(r"train: 15/30 steps", last)
