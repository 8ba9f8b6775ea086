"""Sources: one file a format; each turns a dataset's entry in params.yaml into raw pairs."""

from __future__ import annotations

from importlib import import_module

from structxlip.config.datasets import AnyDataset, Scenes
from structxlip.data.sources.base import Source

__all__ = ["Source", "open_source"]


def open_source(dataset: AnyDataset, *, seed: int) -> Source:
    """The pairs of a dataset's entry; ``UserError`` when its files are not what it says.

    The kind ``x`` is opened by ``open_x`` of the file ``x.py``.
    """
    module = import_module(f"structxlip.data.sources.{dataset.kind}")
    open_kind = getattr(module, f"open_{dataset.kind}")
    # Drawings alone are made, not read.
    source: Source = open_kind(dataset, **({"seed": seed} if isinstance(dataset, Scenes) else {}))
    return source
