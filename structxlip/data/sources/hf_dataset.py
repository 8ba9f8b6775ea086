"""Hugging Face datasets on disk: a folder of `save_to_disk`, or a repository's Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import BadImage
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import contents, need, read_json, readable
from structxlip.data.splits import SPLIT_NAMES
from structxlip.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 64  # rows that are in memory at once


class HfDataset(DatasetEntry):
    """A Hugging Face dataset on disk.

    A folder that `save_to_disk` of `datasets` wrote, or the Parquet files of a dataset repository.
    """

    kind: Literal["hf_dataset"]
    image: str = Field("image", description="The column of the images.")
    caption: str = Field("text", description="The column of the captions, or of lists of them.")


def open_hf_dataset(dataset: HfDataset) -> Source:
    """Read the rows in the order of the files. The caption column may hold a list of captions."""
    root = Path(dataset.path)
    files = _files(root)
    if not files:
        raise UserError(
            f"{root} is no dataset on disk (no state.json and no Parquet); it holds: "
            f"{contents(root)}"
        )
    size = 0
    for path, _ in files:
        names, rows = _columns_and_rows(path)
        need(dict.fromkeys(names), (dataset.image, dataset.caption), path)
        size += rows
    given = frozenset(split for _, split in files if split)
    return Source(_pairs(files, root, dataset), size, given)


def _files(root: Path) -> list[tuple[Path, str | None]]:
    """The Arrow or Parquet files of a dataset, and the split of each."""
    if (root / "dataset_dict.json").is_file():
        names = read_json(root / "dataset_dict.json", dict)["splits"]
        return [file for name in names for file in _arrow(root / name, SPLIT_NAMES.get(name))]
    if (root / "state.json").is_file():
        return list(_arrow(root, None))
    paths = sorted(root.rglob("*.parquet"))
    return [(path, SPLIT_NAMES.get(path.name.split("-")[0].split(".")[0])) for path in paths]


def _arrow(folder: Path, split: str | None) -> Iterator[tuple[Path, str | None]]:
    """The Arrow files of a folder that `save_to_disk` wrote, with the split."""
    for entry in read_json(folder / "state.json", dict)["_data_files"]:
        yield folder / entry["filename"], split


def _columns_and_rows(path: Path) -> tuple[list[str], int]:
    """The names of the columns of an Arrow or Parquet file, and the number of its rows."""
    import pyarrow.parquet as pq

    with readable(path):
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                return file.schema_arrow.names, file.metadata.num_rows
        table = _memory_mapped(path)
        return table.column_names, table.num_rows


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with readable(path):
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(BATCH_ROWS, columns=columns)
        else:
            yield from _memory_mapped(path).select(columns).to_batches(max_chunksize=BATCH_ROWS)


def _memory_mapped(path: Path) -> pa.Table:
    """An Arrow file as a table whose data stay on disk."""
    import pyarrow as pa

    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def _pairs(
    files: list[tuple[Path, str | None]], root: Path, dataset: HfDataset
) -> Iterator[RawPair]:
    for path, split in files:
        number = 0
        for batch in _batches(path, [dataset.image, dataset.caption]):
            for row in batch.to_pylist():
                name = f"{path.relative_to(root)}#{number}"
                number += 1
                captions = row[dataset.caption]
                yield RawPair(
                    id=name,
                    read_image=_image(row[dataset.image]),
                    captions=captions if isinstance(captions, list) else [captions or ""],
                    group=name,
                    source="hf_dataset",
                    split=split,
                )


def _image(value: Any) -> Callable[[], bytes]:
    """A function that returns the bytes of an image column's value."""

    def read() -> bytes:
        if isinstance(value, bytes):
            return value
        if isinstance(value, dict) and value.get("bytes"):
            data: bytes = value["bytes"]
            return data
        raise BadImage("missing_image", "the dataset holds a path instead of the image itself")

    return read
