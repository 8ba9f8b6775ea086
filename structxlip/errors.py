"""The exception for mistakes that the user can correct, and foreign errors told as such."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


class UserError(Exception):
    """A mistake in parameters, data or set-up. The user sees one sentence, not a traceback.

    Args:
        message: one sentence that says what is wrong and what to do.
        exit_code: exit code of the command line: 2 for parameters and arguments, else 1.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


# The exit code of a command that may succeed when it runs again: Ray's own processes died.
PASSING = 75
RAY_DIED = {
    *("ActorDiedError", "LocalRayletDiedError", "NodeDiedError", "RaySystemError"),
    *("RpcError", "WorkerCrashedError"),
}

# How the libraries that hide the error number of the system say that nothing more can be written:
# safetensors and Arrow, SQLite, and `tempfile` where every folder that it may use is full.
FULL = ("no space left on device", "disk quota exceeded", "disk is full", "no usable temporary dir")
READ_ONLY = ("read-only file system", "readonly database", "unable to open database file")

# The packages that `pip install structxlip` leaves out, and the extra that brings each.
EXTRAS = dict.fromkeys(("matplotlib", "optuna", "peft", "ray"), "train") | dict.fromkeys(
    ("dvc", "prefect", "psutil"), "pipeline"
)


def find_user_error(error: BaseException) -> UserError | None:
    """The ``UserError`` in an error that other programs have wrapped, such as Ray.

    A full disk, a folder that is read-only and a file without permission are mistakes of the
    set-up, whoever noticed them, and so is a package of an extra that is absent. Returns None where
    there is nothing that a user can correct.
    """
    chain = list(_chain(error))
    found = [link for link in chain if isinstance(link, UserError)]
    told = (_absent_package(link) or _refused_write(link) for link in chain)
    return found[0] if found else next(filter(None, told), None)


def _absent_package(error: BaseException) -> UserError | None:
    """A package that is not installed as a sentence, where an extra brings it."""
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or name not in EXTRAS:
        return None
    return UserError(f"this needs {name}; run `pip install 'structxlip[{EXTRAS[name]}]'`")


def ray_died(error: BaseException) -> bool:
    """Whether an error says that processes of Ray ended, which is no fault of the work."""
    return any(
        type(link).__name__ in RAY_DIED and type(link).__module__.startswith("ray")
        for link in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, then all errors that it was raised from, or that it carries from Ray's workers."""
    seen: set[int] = set()
    queue: list[object] = [error]
    while queue:
        current = queue.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        queue += [current.__cause__, current.__context__, getattr(current, "cause", None)]
        queue += list(getattr(current, "worker_failures", {}).values())


def _refused_write(error: BaseException) -> UserError | None:
    """An error of the system as a sentence, where it is about a disk, a folder or a permission."""
    number, text = getattr(error, "errno", None), str(error).lower()
    name = getattr(error, "filename", None)
    place = Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or any(words in text for words in FULL):
        return UserError(
            f"the disk is full: {_fullest(place)} takes no more; free some space there, then run "
            f"the same command again"
        )
    if number == errno.EFBIG or "file too large" in text:
        return UserError(
            f"{place or 'a file'} may not grow further: there is a limit on the size of files; "
            f"raise it (`ulimit -f unlimited`), or use another file system"
        )
    if number == errno.EROFS or any(words in text for words in READ_ONLY):
        return UserError(
            f"{place or Path.cwd()} cannot be written, it is read-only; run this in a folder that "
            f"can be written"
        )
    if isinstance(error, PermissionError) and place:
        return UserError(
            f"the permissions of {place} do not let this user read or write it; change them, or "
            f"run this in another folder"
        )
    return None


def _fullest(place: Path | None) -> Path:
    """The folder that takes no more: that of a file, or the fuller one of this folder and those for
    temporary files."""
    if place is not None:
        return place.absolute().parent
    folders = [Path.cwd(), Path(os.environ.get("TMPDIR", "."))]
    with suppress(OSError):  # no folder for temporary files can be written
        folders.append(Path(tempfile.gettempdir()))
    return min(filter(Path.is_dir, folders), key=lambda folder: shutil.disk_usage(folder).free)
