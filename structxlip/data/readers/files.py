"""Functions that sources share: read their files, or say what is wrong with them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from errno import ENOENT
from pathlib import Path
from typing import Any

from structxlip.data.pairs import described, is_missing
from structxlip.data.quarantine import BadImage
from structxlip.data.readers.lfs import POINTER, is_pointer, pointer_text
from structxlip.data.readers.text_files import read_text
from structxlip.errors import UserError

MAX_NAMES = 8  # names of files that a message lists


def existing(root: Path, name: str) -> Path:
    """The path ``root / name``, or that of the same file packed as ``name.gz``.

    Raises ``UserError``, which lists the content of ``root``, when it does not exist.
    """
    path = root / name
    if not path.exists() and (packed := root / f"{name}.gz").exists():
        return packed
    if not path.exists():
        inside = f"; {root} holds: {contents(root)}" if root.is_dir() else ""
        raise UserError(f"{path} does not exist{inside}")
    return path


def contents(root: Path) -> str:
    """The first ``MAX_NAMES`` names in a folder, as one text for a message."""
    return ", ".join(sorted(path.name for path in root.glob("*"))[:MAX_NAMES]) or "nothing"


def files_below(root: Path, *patterns: str) -> list[Path]:
    """The files in a folder whose names match a pattern, at any depth, as ``shown_files``."""
    return shown_files(root, (path for pattern in patterns for path in root.rglob(pattern)))


def shown_files(root: Path, paths: Iterable[Path]) -> list[Path]:
    """The files among paths below a folder, in order.

    Hidden files and folders, and those such as ``__MACOSX``, are passed over.
    """
    return sorted(path for path in {*paths} if path.is_file() and _is_shown(path.relative_to(root)))


def _is_shown(path: Path) -> bool:
    return not any(part.startswith((".", "__")) for part in path.parts)


def reader(
    folder: Path,
    name: Any,
    *,
    roots: Iterable[str | Path] = (),
    what: str = "image",
    place: str = "",
) -> Callable[[], bytes]:
    """A function that reads the bytes of the file ``name`` in ``folder``.

    It raises ``OSError`` for a file that cannot be read, and ``BadImage`` for

    - a value that is no name: `missing_image`;
    - a name or a link that leads out of the folder: `outside_folder`. A link may lead into one of
      ``roots``, and from a snapshot of the Hub's cache into its `blobs`;
    - a pointer of Git LFS in the place of the file: `lfs_pointer`.

    Args:
        folder: of the file.
        name: relative to ``folder``, as it was found.
        roots: folders where links may lead.
        what: is read, for the reasons: `image` or `edges`.
        place: where the name was found, such as ``"image in t.jsonl, line 3"``, for messages.
    """

    def read() -> bytes:
        within = f" ({place})" if place else ""
        if is_missing(name) or not isinstance(name, str):
            raise BadImage(f"missing_{what}", f"the name of the file is {described(name)}{within}")
        inside = os.path.normpath(name)
        if os.path.isabs(name) or inside.split(os.sep)[0] == os.pardir:
            raise BadImage("outside_folder", f"{name} leads out of {folder}{within}")
        try:
            data = _followed(folder, inside, roots).read_bytes()
        except FileNotFoundError:
            link = folder / inside
            to = f"a link to {os.readlink(link)}" if link.is_symlink() else "a file"
            raise FileNotFoundError(ENOENT, f"{name} is {to} that does not exist{within}") from None
        except BadImage:
            raise
        except ValueError as error:  # a zero byte, or letters that no file name can have
            raise BadImage(f"missing_{what}", f"{name!r} names no file ({error})") from None
        if data.startswith(POINTER):
            raise BadImage("lfs_pointer", pointer_text(name))
        return data

    return read


def _followed(folder: Path, name: str, roots: Iterable[str | Path]) -> Path:
    """The file that a name in a folder leads to; ``BadImage`` where links lead out."""
    path, home = (folder / name).resolve(), folder.resolve()
    allowed = (home, *_hub_blobs(folder), *(Path(root).resolve() for root in roots))
    if not any(path.is_relative_to(root) for root in allowed):
        raise BadImage(
            "outside_folder",
            f"{name} is a link to {path}, outside of {folder}; where that is right, name a folder "
            f"above it under `roots` in the entry of the dataset",
        )
    return path


def _hub_blobs(folder: Path) -> Iterator[Path]:
    """The folder `blobs` of the Hub's cache that a folder is in: `snapshots/REVISION/…`."""
    for path in (home := folder.resolve(), *home.parents):
        if path.parent.name == "snapshots":
            yield (path.parent.parent / "blobs").resolve()


def refuse_pointer(path: Path) -> None:
    """Raise ``UserError`` for a pointer of Git LFS in the place of a file."""
    if is_pointer(path):
        raise UserError(pointer_text(path))


def read_json(path: Path, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    """The content of a JSON file, a ``dict`` or a ``list`` as ``kind`` says.

    Raises ``UserError`` for a file that cannot be read or that holds something else.
    """
    try:
        content = json.loads(read_text(path), object_pairs_hook=_without_twins)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON that can be read ({error})") from None
    if not isinstance(content, kind):
        wanted = "a mapping" if kind is dict else "a list"
        raise UserError(f"{path} must hold {wanted}, not {_shortened(content)}")
    return content


def _without_twins(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping of JSON; ``ValueError`` for a key that comes twice, whose first value is lost."""
    found = dict(items)
    if len(found) < len(items):
        twice = next(name for name, count in Counter(n for n, _ in items).items() if count > 1)
        raise ValueError(f"the key {twice!r} comes twice in one mapping")
    return found


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the errors of Arrow and Parquet for a file that they cannot read into ``UserError``."""
    import pyarrow as pa

    try:
        refuse_pointer(path)
        yield
    except (OSError, pa.ArrowException, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read ({reason}); get or write the file anew") from None


def need(record: Mapping[str, Any], names: Iterable[str], where: Path | str) -> None:
    """Raise ``UserError`` when a record lacks one of ``names``. ``where`` says where it is from."""
    if missing := [name for name in names if name not in record]:
        found = ", ".join(map(str, record)) or "nothing"
        raise UserError(f"{where} needs {', '.join(missing)}, found: {found}")


def _shortened(value: Any) -> str:
    """A value for a message, in less than 61 characters."""
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
