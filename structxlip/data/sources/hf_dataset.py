"""Hugging Face datasets on disk: a folder of `save_to_disk`, or a repository's Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeGuard

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair, described
from structxlip.data.quarantine import BadImage
from structxlip.data.readers.arrow_files import arrow_records, names_and_rows
from structxlip.data.readers.files import contents, files_below, need, read_json
from structxlip.data.readers.hub_card import card_splits
from structxlip.data.readers.records import Record, pair_of
from structxlip.data.readers.split_names import file_splits, only_split
from structxlip.data.sources.base import Source
from structxlip.data.splits import SPLIT_NAMES
from structxlip.errors import UserError


class HfDataset(DatasetEntry):
    """A Hugging Face dataset on disk.

    A folder that `save_to_disk` of `datasets` wrote, or the Parquet files of a dataset repository.
    Their splits are read off its README.md and their paths as `datasets` reads them.
    """

    kind: Literal["hf_dataset"]
    image: str = Field("image", description="The column of the images.")
    caption: str = Field("text", description="The column of the captions, or of lists of them.")
    config: str | None = Field(
        None,
        description="The configuration to read, where the README.md of a repository names several. "
        "null: its default.",
    )


@dataclass(frozen=True)
class _Files:
    """The Arrow or Parquet files of a dataset with the split of each, and what is left out."""

    splits: dict[Path, str | None]
    left_out: Sequence[Path] = ()
    warnings: Sequence[str] = ()


def open_hf_dataset(dataset: HfDataset) -> Source:
    """Read the rows in the order of the files. The caption column may hold a list of captions.

    The id of a row is the path of its file and its number in it.
    """
    root = Path(dataset.path)
    files = _files(root, dataset.config)
    if not files.splits:
        raise UserError(
            f"{root} is no dataset on disk (no state.json and no Parquet); it holds: "
            f"{contents(root)}"
        )
    size = 0
    for path in files.splits:
        names, rows = names_and_rows(path)
        need(dict.fromkeys(names), (dataset.image, dataset.caption), path)
        size += rows
    unlisted = sum(names_and_rows(path)[1] for path in files.left_out)
    given = frozenset(split for split in files.splits.values() if split)
    return Source(_pairs(files, root, dataset), size, given, unlisted, warnings=files.warnings)


def _files(root: Path, config: str | None) -> _Files:
    if (root / "dataset_dict.json").is_file():
        return _saved_splits(root)
    if (root / "state.json").is_file():
        return _Files(dict.fromkeys(_arrow(root)))
    paths = [path.relative_to(root) for path in files_below(root, "*.parquet")]
    found = card_splits(root, paths, config) or file_splits(paths)
    splits = {root / path: split for path, split in found.splits.items()}
    return _Files(splits, [root / path for path in found.left_out], found.warnings)


def _saved_splits(root: Path) -> _Files:
    """The files of a `DatasetDict` that was saved to disk, with a folder for each split."""
    path = root / "dataset_dict.json"
    content = read_json(path, dict)
    need(content, ("splits",), path)
    names = content["splits"]
    if not isinstance(names, list) or not all(_is_name(name) for name in names):
        raise UserError(f"splits in {path} must be a list of names, not {described(names)}")
    known = {name: SPLIT_NAMES[name.lower()] for name in names if name.lower() in SPLIT_NAMES}
    if not known:
        warning = only_split(names)
        return _Files(
            {file: None for name in names for file in _arrow(root / name)}, warnings=[warning]
        )
    others = [name for name in names if name not in known]
    warning = f"the splits {', '.join(others)} are none of train, val, test, and are left out"
    return _Files(
        {file: split for name, split in known.items() for file in _arrow(root / name)},
        [file for name in others for file in _arrow(root / name)],
        [warning] if others else [],
    )


def _is_name(value: Any) -> TypeGuard[str]:
    """Whether a value names a file or folder that lies beside the one that names it."""
    return isinstance(value, str) and value.isprintable() and Path(value).name == value


def _arrow(folder: Path) -> Iterator[Path]:
    """The Arrow files of a folder that `save_to_disk` wrote."""
    path = folder / "state.json"
    content = read_json(path, dict)
    need(content, ("_data_files",), path)
    if not isinstance(content["_data_files"], list):
        raise UserError(f"_data_files in {path} must be a list")
    for entry in content["_data_files"]:
        name = entry.get("filename") if isinstance(entry, dict) else None
        if not _is_name(name):
            raise UserError(f"_data_files in {path} holds {described(entry)}; save the set anew")
        yield folder / name


def _pairs(files: _Files, root: Path, dataset: HfDataset) -> Iterator[RawPair]:
    for path, split in files.splits.items():
        where = str(path.relative_to(root))
        make = partial(_pair, dataset=dataset, split=split)
        records = arrow_records(path, [dataset.image, dataset.caption], where)
        for number, record in enumerate(records):
            yield pair_of(record, "hf_dataset", partial(make, name=f"{where}#{number}"))


def _pair(record: Record, dataset: HfDataset, split: str | None, name: str) -> RawPair:
    return RawPair(
        id=name,
        read_image=_image(record, dataset),
        captions=record.captions(dataset.caption),
        group=name,
        source="hf_dataset",
        split=split,
    )


def _image(record: Record, dataset: HfDataset) -> Callable[[], bytes]:
    """A function that returns the bytes of an image column's value."""

    def read() -> bytes:
        value = record.get(dataset.image)
        data = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(data, bytes):
            return data
        named = isinstance(value, str) or (isinstance(value, dict) and value.get("path"))
        found = "a path instead of the image itself" if named else described(value)
        raise BadImage("missing_image", f"{dataset.image} in {record.where} is {found}")

    return read
