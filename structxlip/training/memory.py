"""The memory of this process: what it has used at most, and how it keeps what a step frees."""

from __future__ import annotations

import ctypes
import resource
import sys

import torch

# Of <malloc.h>; -1 and 0 turn off what they are thresholds of.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let the allocator keep freed memory for the next step, where it is glibc's.

    Activations are the same in every step, and the kernel clears each page that it hands out: on
    a CPU that is a fifth of the time of a convolution.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, -1)
        mallopt(M_MMAP_MAX, 0)


def peak_memory_mib(device: torch.device) -> float:
    """The most memory that was in use: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
