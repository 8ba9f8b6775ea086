"""Memory that a step frees stays for the next one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from structxlip.training.memory import KEEP_FREED

CODE = """
import resource, sys, threading, torch

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(int(sys.argv[1]) * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def work():  # in a thread, as workers of Ray Train do it
    faults(20)  # until there is room for every alignment
    print(faults(4))

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(mib: int, **environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(mib)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_pages_are_not_asked_for_again() -> None:
    assert faults(40) > 10_000
    assert all(faults(mib, **KEEP_FREED) < 100 for mib in (4, 40))
