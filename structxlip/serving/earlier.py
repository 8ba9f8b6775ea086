"""What an earlier index of the same model has, to take again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structxlip.errors import UserError
from structxlip.serving.image_index import ImageIndex


class Earlier:
    """The rows of an earlier index of the same model, to take again.

    Args:
        directory: of the index; it may be absent.
        digest: of the model.
        alpha: of the model.
        reranks: whether the new index has patches.
    """

    def __init__(self, directory: Path, digest: str, alpha: float, *, reranks: bool) -> None:
        self.rows: dict[str, int] = {}
        try:
            index = ImageIndex(directory)
        except UserError:
            return
        has_all = not reranks or index.patches is not None
        if index.belongs_to(digest) and index.alpha == alpha and has_all:
            self.index = index
            self.rows = {key: row for row, key in enumerate(index.read("key"))}

    def take(
        self, keys: Sequence[str], make: Callable[[NDArray[np.int64]], dict[str, NDArray[Any]]]
    ) -> dict[str, NDArray[np.float16]]:
        """The arrays of rows with these keys: those of the earlier index, and what ``make`` gives
        for the places of the others."""
        known = np.array([self.rows.get(key, -1) for key in keys], np.int64)
        new = np.flatnonzero(known < 0)
        made = make(new)
        found = {}
        for name, rows in made.items():
            like = rows if len(new) else self.index.stored[name]
            found[name] = np.empty((len(keys), *like.shape[1:]), np.float16)
            if len(new):  # rows of nothing have no shape
                found[name][new] = rows
            if len(new) < len(keys):
                found[name][known >= 0] = self.index.stored[name][known[known >= 0]]
        return found

    def thumbnail(self, key: str) -> bytes | None:
        """The thumbnail of an earlier row."""
        row = self.rows.get(key)
        return None if row is None else self.index.thumbnail(self.index.ids[row])
