"""The command line: a mistake is one sentence, and a traceback for who asks for it."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.operation import BIN, ROOT

MISTAKE = ("structxlip", "edges", "--dataset", "scnes")
SENTENCE = "dataset 'scnes' is not active; active are: scenes\n"


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_mistake_is_one_sentence() -> None:
    done = run(*MISTAKE)
    assert (done.returncode, done.stderr) == (2, f"structxlip: {SENTENCE}")


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        (("structxlip", "--debug", *MISTAKE[1:]), {}),
        (MISTAKE, {"STRUCTXLIP_DEBUG": "1"}),
        (("structxlip", "--debug", "with-ray", *MISTAKE), {"RAY_ADDRESS": "127.0.0.1:1"}),
    ],
    ids=["option", "variable", "command that starts stages"],
)
def test_who_asks_for_it_sees_the_traceback(
    command: tuple[str, ...], environment: dict[str, str]
) -> None:
    done = run(*command, **environment)
    assert done.returncode != 0
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.endswith(f"UserError: {SENTENCE}")
