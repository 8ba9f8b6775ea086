"""Datasets of Hugging Face on disk: what `save_to_disk` wrote, or a repository's Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structxlip.config.datasets import HfDataset
from structxlip.data.images import BadImage
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import SPLIT_NAMES, Source
from structxlip.data.sources.files import contents, need, read_json, readable
from structxlip.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 64


def open_hf_dataset(dataset: HfDataset) -> Source:
    """Rows in the order of the files; a caption column may hold a list of captions."""
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
    for entry in read_json(folder / "state.json", dict)["_data_files"]:
        yield folder / entry["filename"], split


def _columns_and_rows(path: Path) -> tuple[list[str], int]:
    import pyarrow.parquet as pq

    with readable(path):
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                return file.schema_arrow.names, file.metadata.num_rows
        table = _mapped(path)
        return table.column_names, table.num_rows


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with readable(path):
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(BATCH, columns=columns)
        else:
            yield from _mapped(path).select(columns).to_batches(max_chunksize=BATCH)


def _mapped(path: Path) -> pa.Table:
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
    def read() -> bytes:
        if isinstance(value, bytes):
            return value
        if isinstance(value, dict) and value.get("bytes"):
            data: bytes = value["bytes"]
            return data
        raise BadImage("missing_image", "the dataset holds a path instead of the image itself")

    return read
