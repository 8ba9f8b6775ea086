"""One rule for all losses: they are computed in at least float32, whatever their caller does."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def full_precision(forward: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a function compute outside of autocast, from tensors of at least float32.

    Training loops call a loss inside of autocast. There the product of features would be bfloat16,
    which has steps of 0.5 at logits of 100: another loss, and another gradient.
    """

    @functools.wraps(forward)
    def computed(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        devices: set[str] = set()
        wide: Any = [_widened(value, devices) for value in args]
        named: Any = {name: _widened(value, devices) for name, value in kwargs.items()}
        with torch.autocast(devices.pop(), enabled=False):
            return forward(*wide, **named)

    return computed


def _widened(value: Any, devices: set[str]) -> Any:
    """A value with tensors of at least float32; the kinds of their devices go to ``devices``."""
    if isinstance(value, Mapping):
        return {name: _widened(held, devices) for name, held in value.items()}
    if isinstance(value, Tensor):
        devices.add(value.device.type)
        if value.is_floating_point():
            return value.to(torch.promote_types(value.dtype, torch.float32))
    return value
