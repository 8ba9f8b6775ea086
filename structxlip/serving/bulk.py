"""Embed a folder, a table or a list of texts into one Parquet file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from structxlip.data.quarantine import BadImage
from structxlip.data.readers.arrow_files import arrow_records
from structxlip.data.readers.files import files_below
from structxlip.data.readers.records import Record, line_records
from structxlip.data.readers.text_files import text_lines
from structxlip.data.readers.text_tables import csv_records
from structxlip.errors import UserError
from structxlip.progress import progress, say
from structxlip.serving.embedder import Embedder, Prepared
from structxlip.serving.loading import load

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 64
AHEAD = 2  # batches that are read while the model computes another
PICTURES = tuple(f"*.{end}" for end in ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif"))
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
Kind = Literal["image", "text"]


@dataclass(frozen=True)
class Inputs:
    """What is embedded: the paths of images, or texts."""

    kind: Kind
    items: list[str]

    def batches(self) -> list[list[str]]:
        """The items in batches of ``BATCH``."""
        return [self.items[start : start + BATCH] for start in range(0, len(self.items), BATCH)]


def find_inputs(
    paths: Sequence[Path], images: str | None = None, texts: str | None = None
) -> Inputs:
    """What stands in folders and files.

    Args:
        paths: folders of images, images, files of texts (``.txt``, one a line), and tables.
        images: the column of the tables that holds paths of images, relative to their table.
        texts: the column of the tables that holds texts.

    Raises ``UserError`` for a path that is not there, a table without such a column, or images
    beside texts.
    """
    if images and texts:
        raise UserError("give one of --images and --texts", 2)
    found: dict[Kind, list[str]] = {"image": [], "text": []}
    for path in paths:
        if path.is_dir():
            found["image"] += map(str, files_below(path, *PICTURES))
        elif not path.is_file():
            raise UserError(f"there is no {path}", 2)
        elif path.suffix.lower() == ".txt":
            found["text"] += filter(None, (line.strip() for line in text_lines(path)))
        elif path.suffix.lower() in TABLES:
            column = images or texts
            if column is None:
                raise UserError(
                    f"{path} is a table; name its column of paths with --images, or of texts with "
                    f"--texts",
                    2,
                )
            cells = [record.name(column) for record in _records(path, column)]
            folder = path.parent
            found["image" if images else "text"] += (
                [str(folder / cell) for cell in cells] if images else cells
            )
        else:
            found["image"].append(str(path))
    kinds = [kind for kind, items in found.items() if items]
    if len(kinds) != 1:
        what = "both images and texts" if kinds else "no image and no text"
        raise UserError(f"{', '.join(map(str, paths))} hold {what}; give one of them", 2)
    return Inputs(kinds[0], found[kinds[0]])


def _records(path: Path, column: str) -> Iterator[Record]:
    if path.suffix.lower() == ".parquet":
        return arrow_records(path, [column], path.name)
    if path.suffix.lower() == ".jsonl":
        return line_records(path)
    return csv_records(path, [column])


def embed(inputs: Inputs, model: str, alpha: float | None, out: Path) -> None:
    """Embed everything, and write a table with ``image`` or ``text``, ``embedding`` (float32
    ``[D]``, of unit length) and ``error``, in the order of the inputs.

    What cannot be embedded has no embedding, and the reason in ``error``. A cluster at RAY_ADDRESS
    does the work where there is one, else threads of this process.

    Args:
        inputs: what is embedded.
        model: as ``load`` takes it.
        alpha: weight of the edges of images; None: that of the model.
        out: the file to write; it is complete or as before.
    """
    import pyarrow.parquet as pq

    partial_file = out.with_name(f".{out.name}.tmp")
    failed = 0
    first: str | None = None
    writer = None
    try:
        with progress(f"embed {out.name}", len(inputs.items), unit=f"{inputs.kind}s") as advance:
            for table in _tables(inputs, model, alpha):
                writer = writer or pq.ParquetWriter(partial_file, table.schema)
                writer.write_table(table)
                errors = [error for error in table["error"].to_pylist() if error]
                first, failed = first or next(iter(errors), None), failed + len(errors)
                advance(len(table))
        assert writer is not None
        writer.close()
        partial_file.replace(out)
    finally:
        partial_file.unlink(missing_ok=True)
    say(f"embed: {len(inputs.items) - failed} {inputs.kind}s in {out}")
    if failed:
        say(f"embed: {failed} could not be embedded, such as: {first}; see the column `error`")


def _tables(inputs: Inputs, model: str, alpha: float | None) -> Iterator[pa.Table]:
    """The rows of all batches, in order."""
    batches, make = inputs.batches(), partial(BatchEmbedder, model, alpha, inputs.kind)
    if os.environ.get("RAY_ADDRESS"):
        from structxlip.incremental.ray_map import map_on_ray

        yield from map_on_ray(batches, make, lambda batch: f"the batch of {batch[0]}")
    else:
        yield from make().embed_all(batches)


class BatchEmbedder:
    """Embeds batches of images or texts with a model.

    Args:
        model: as ``load`` takes it, or what it returned.
        alpha: weight of the edges; None: that of the model.
        kind: of the items.
    """

    def __init__(self, model: str | Embedder, alpha: float | None, kind: Kind) -> None:
        self.embedder = load(model, alpha) if isinstance(model, str) else model
        self.alpha, self.kind = self.embedder.alpha if alpha is None else alpha, kind

    def __call__(self, batch: Sequence[str]) -> pa.Table:
        """The rows of one batch."""
        return self._table(batch, [self._read(item) for item in batch])

    def embed_all(self, batches: Sequence[Sequence[str]]) -> Iterator[pa.Table]:
        """The rows of all batches; threads read the next ones meanwhile."""
        with ThreadPoolExecutor() as pool:
            ahead: list[list[Future[Prepared | str | None]]] = []
            for place, batch in enumerate(batches):
                for later in batches[place + len(ahead) : place + AHEAD + 1]:
                    ahead.append([pool.submit(self._read, item) for item in later])
                yield self._table(batch, [future.result() for future in ahead.pop(0)])

    def _read(self, item: str) -> Prepared | str | None:
        """An image as the model reads it, or why it cannot be read; None for a text, which needs no
        reading."""
        if self.kind == "text":
            return None
        try:
            return self.embedder.prepare(item, alpha=self.alpha, name=item)
        except (UserError, BadImage) as error:
            return str(error)

    def _table(self, batch: Sequence[str], read: Sequence[Prepared | str | None]) -> pa.Table:
        import pyarrow as pa

        errors = [one if isinstance(one, str) else None for one in read]
        embeddings: list[NDArray[np.float32] | None] = [None] * len(batch)
        good = [place for place, error in enumerate(errors) if error is None]
        for place, row in zip(good, self._embedded(batch, read, good), strict=True):
            embeddings[place] = row
        return pa.table(
            {
                self.kind: pa.array(batch, pa.string()),
                "embedding": pa.array(embeddings, pa.list_(pa.float32())),
                "error": pa.array(errors, pa.string()),
            }
        )

    def _embedded(
        self, batch: Sequence[str], read: Sequence[Prepared | str | None], good: Sequence[int]
    ) -> NDArray[np.float32]:
        if self.kind == "text":
            return self.embedder.embed_texts(batch)
        prepared = [one for one in read if isinstance(one, Prepared)]
        if not good:
            return np.zeros((0, self.embedder.model.embed_dim), np.float32)
        return self.embedder.embed_prepared(prepared, self.alpha).numpy()
