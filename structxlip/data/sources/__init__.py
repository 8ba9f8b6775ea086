"""Sources: read raw image-caption pairs from files of many layouts, one file here for each layout.

The file ``x.py`` is the kind `x`. It holds the settings of an entry under `datasets:` in
params.yaml, a subclass of ``DatasetEntry``, and the function ``open_x``, which returns a
``Source``.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

from structxlip.config.datasets import SOURCES, DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import Source
from structxlip.data.text import plain_text

__all__ = ["Source", "open_source"]


def open_source(entry: DatasetEntry) -> Source:
    """Open the dataset of an entry.

    Args:
        entry: an entry under `datasets:` in params.yaml.

    Raises:
        UserError: the files do not have the layout of the kind.
    """
    module = import_module(f"{SOURCES}.{entry.kind}")
    open_kind = getattr(module, f"open_{entry.kind}")
    source: Source = open_kind(entry)
    return replace(source, pairs=map(_as_text, source.pairs)) if entry.html else source


def _as_text(pair: RawPair) -> RawPair:
    """A pair whose captions are HTML, with their text."""
    texts = [plain_text(one) if isinstance(one, str) else one for one in pair.captions]
    return replace(pair, captions=texts)
