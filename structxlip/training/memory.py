"""The memory of this process: what it has used at most, and how it keeps what a step frees."""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# The environment in which the allocator of glibc keeps freed memory for the next step. Activations
# are the same in every step, and the kernel clears each page that it hands out: on a CPU that is a
# fifth of the time of a convolution. Threads, such as that of Ray Train, have arenas of their own,
# which hold no block above 64 MiB. One arena for all would hold it, but there the step of a CLIP
# takes a tenth longer or more (docs/results.md). Hence two.
KEEP_FREED = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}


def peak_memory_mib(device: torch.device) -> float:
    """The most memory that was in use: of the GPU, or of this process."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
