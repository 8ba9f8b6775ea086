"""Who is the champion: aliases in MLflow's registry, moved together and by one at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from structxlip.errors import UserError

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"


def version_of(client: Any, name: str, alias: str) -> str | None:
    """The version of a registered model that has an alias; None where none has."""
    found = client.search_registered_models(f"name = '{name}'")
    version = found[0].aliases.get(alias) if found else None
    return None if version is None else str(version)


def promote(client: Any, name: str, version: str, expected: str | None) -> bool:
    """Make a version the champion, and the champion until now ``previous``.

    Returns False, and changes nothing, when another than ``expected`` is the champion by now. One
    process of a machine at a time compares and sets. A kill in between leaves the old champion.
    """
    with _one_at_a_time(name):
        if version_of(client, name, CHAMPION) != expected:
            return False
        if expected not in (None, version):
            client.set_registered_model_alias(name, PREVIOUS, expected)
        client.set_registered_model_alias(name, CHAMPION, version)
        return True


def roll_back(client: Any, name: str) -> tuple[str, str]:
    """Let champion and previous change places.

    Returns the new champion and the old one. Raises ``UserError`` where there is no previous one.
    """
    with _one_at_a_time(name):
        champion, previous = (version_of(client, name, alias) for alias in (CHAMPION, PREVIOUS))
        if champion is None or previous is None or champion == previous:
            raise UserError(f"{name} has no previous champion to go back to")
        client.set_registered_model_alias(name, PREVIOUS, champion)
        client.set_registered_model_alias(name, CHAMPION, previous)
        return previous, champion


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """Hold a lock that the system frees when its process ends, however it ends."""
    folder = Path(".cache/locks")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
