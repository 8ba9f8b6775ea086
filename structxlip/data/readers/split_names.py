"""The splits of files, read off their paths as Hugging Face's `datasets` reads them.

Its rules stand in "Structure your repository" of the documentation of the Hub. The first of them
that finds a split counts for all files:

1. ``data/SPLIT-00000-of-00001.parquet``: any name of a split.
2. A folder on the path is named after a split: ``train/``, ``my-train_2/``.
3. The file is: ``train.csv``, ``my_train-0.tar``.

A file without a split then belongs to none, as with `datasets`. Two things differ. Upper case
counts as lower case. A file that names two splits, which `datasets` reads into both, belongs to the
split of its innermost folder that names one, and is refused where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath

from structxlip.data.pairs import described
from structxlip.data.readers.files import read_json
from structxlip.data.readers.records import as_name
from structxlip.data.splits import SPLIT_NAMES, SPLITS
from structxlip.errors import UserError

# What parts a name of a split from the rest of a name.
_BESIDE = "[-._ 0-9]"
_WORDS = "|".join(sorted(SPLIT_NAMES, key=len, reverse=True))
_IN_FOLDER = re.compile(rf"(?:^|(?<={_BESIDE}))({_WORDS})(?=$|{_BESIDE})", re.IGNORECASE)
_IN_FILE = re.compile(rf"(?:^|(?<={_BESIDE}))({_WORDS})(?={_BESIDE})", re.IGNORECASE)
_SHARDED = re.compile(r"data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*")


@dataclass(frozen=True)
class FileSplits:
    """The splits of files.

    Attributes:
        splits: the split of each file that is read, in their order; None where no file has one.
        left_out: the other files, which belong to no split.
        warnings: sentences for the user.
    """

    splits: Mapping[PurePath, str | None]
    left_out: Sequence[PurePath] = ()
    warnings: Sequence[str] = ()


def file_splits(paths: Iterable[PurePath]) -> FileSplits:
    """The splits of files, whose paths are relative to the folder of the dataset.

    Raises ``UserError`` for a file that names two splits, and where the files name several splits
    of which none is train, val or test.
    """
    files = list(paths)
    for rule in (_by_shard, _by_folder, _by_name):
        found = {path: name for path in files if (name := rule(path)) is not None}
        if found:
            return named_splits({path: found.get(path) for path in files})
    return FileSplits(dict.fromkeys(files))


def named_splits(names: Mapping[PurePath, str | None]) -> FileSplits:
    """The splits of files, each of which names its split or None.

    Raises ``UserError`` where they name several splits of which none is train, val or test.
    """
    known = {path: SPLIT_NAMES.get((name or "").lower()) for path, name in names.items()}
    splits = {path: split for path, split in known.items() if split}
    if not splits:
        found = {name for name in names.values() if name}
        return FileSplits(dict.fromkeys(names), warnings=[only_split(found)])
    left_out = [path for path in names if path not in splits]
    return FileSplits(splits, left_out, _left_out(left_out, len(names)))


def _left_out(files: Sequence[PurePath], of: int) -> list[str]:
    if not files:
        return []
    return [
        f"{len(files)} of {of} files belong to no split (first: {files[0]}), while others do, so "
        f"they are left out; to use them, name their folder train, val or test"
    ]


def only_split(names: Collection[str]) -> str:
    """The sentence on a dataset whose only split has an unknown name, so that it is all the data.

    Raises ``UserError`` for several splits of which none is known.
    """
    if len(names) > 1:
        raise UserError(unknown_splits(names))
    return f"the only split is named {', '.join(names)}, so it is taken as data without splits"


def unknown_splits(names: Iterable[str]) -> str:
    """The sentence that refuses splits of which none is known."""
    return (
        f"the splits are named {', '.join(sorted(names))}, and none of them is "
        f"{', '.join(SPLIT_NAMES)}; rename those that are meant"
    )


def split_lists(path: Path) -> dict[str, str]:
    """The splits of names in a JSON file of lists, such as ``{"train": ["a", "b"], "test": []}``.

    Lists that are not named after a split are passed over. Numbers count as texts.

    Raises ``UserError`` for a list that holds something else, for a name in two splits, and when no
    list is named after a split.
    """
    lists = read_json(path, dict)
    if not any(name.lower() in SPLIT_NAMES for name in lists):
        raise UserError(f"{path}: {unknown_splits(lists)}")
    splits: dict[str, str] = {}
    for list_name, values in lists.items():
        if (split := SPLIT_NAMES.get(list_name.lower())) is None:
            continue
        if not isinstance(values, list):
            raise UserError(f"{list_name} in {path} must be a list, not {described(values)}")
        for value in values:
            if (name := as_name(value)) is None:
                raise UserError(f"{list_name} in {path} holds {described(value)}; remove it")
            if splits.setdefault(name, split) != split:
                raise UserError(
                    f"{path}: {name} is listed in both {splits[name]} and {split}; "
                    f"remove it from one of the lists"
                )
    return splits


def _by_shard(path: PurePath) -> str | None:
    found = _SHARDED.fullmatch(path.as_posix())
    return found[1].lower() if found else None


@lru_cache
def split_of_folders(folder: PurePath) -> str | None:
    """The split that a folder or one above it names, or None; ``UserError`` where it names two."""
    return SPLIT_NAMES.get(_innermost(folder, _IN_FOLDER, folder.parts) or "")


def split_of_name(path: PurePath) -> str | None:
    """The split that the name of a file names, or None; a name of two splits names none."""
    words = _words(_IN_FILE, path.name)
    return SPLIT_NAMES[words[0]] if len(words) == 1 else None


def _by_folder(path: PurePath) -> str | None:
    return _innermost(path, _IN_FOLDER, path.parts[:-1])


def _by_name(path: PurePath) -> str | None:
    return _innermost(path, _IN_FILE, path.parts[-1:])


def _words(pattern: re.Pattern[str], name: str) -> list[str]:
    """The names of splits in a name, one of each split."""
    found = {SPLIT_NAMES[word.lower()]: word.lower() for word in pattern.findall(name)}
    return list(found.values())


def _innermost(path: PurePath, pattern: re.Pattern[str], parts: Sequence[str]) -> str | None:
    """The word for a split in the innermost part of a path that has just one."""
    named = [words for part in parts if (words := _words(pattern, part))]
    if not named:
        return None
    if single := [words[0] for words in named if len(words) == 1]:
        return single[-1]
    raise UserError(
        f"{path} names the splits {' and '.join(named[-1])} at once; rename it, or the folder that "
        f"it is in, after one of {', '.join(SPLITS)}"
    )
