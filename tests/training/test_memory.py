"""Memory that a step frees stays for the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

CODE = """
import resource, torch
from structxlip.training.memory import keep_freed_memory

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(2**23)  # 32 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults(4)
keep_freed_memory()
faults(20)  # until there is room for every alignment
print(before, faults(4))
"""


def test_pages_are_not_asked_for_again() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    if platform.libc_ver()[0] == "glibc":
        assert after < before / 10
