"""The memory of a process: its peak, and an allocator setting that keeps freed memory."""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# With these variables glibc keeps freed memory for the next step. Every step needs the same
# activations, and the kernel clears each page that it hands out: on a CPU that takes a fifth of the
# time of a convolution. A thread, such as Ray Train's, has an arena of its own that holds no block
# above 64 MiB; with one arena for all the step of a CLIP takes a tenth longer (docs/results.md).
KEEP_FREED = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}


def peak_memory_mib(device: torch.device) -> float:
    """The peak memory in MiB: of the GPU, or of this process on a CPU."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
