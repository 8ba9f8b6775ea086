"""The precision that frozen towers run in."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where the processor multiplies it natively, else float32."""
    if device.type == "cpu":
        native = torch.cpu.get_capabilities()
        enabled = bool(native.get("avx512_bf16") or native.get("amx_bf16"))
    else:
        enabled = torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
