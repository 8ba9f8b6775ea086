"""A project that was moved or copied: the records of its MLflow name the files beside them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

# Where MLflow keeps the place of a file, always as an absolute path or URI.
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
WAIT_S = 30.0  # for a store that another process holds
# MLflow makes this experiment with the store. Its files lie in `mlruns/0` of the project's folder.
FIRST = "SELECT artifact_location FROM experiments WHERE experiment_id = 0"


def follow_move(database: Path) -> Path | None:
    """Let the records of a local store name files in the folder of the store.

    A copy of a project would write into the original otherwise, and a moved one into nothing.

    Args:
        database: the SQLite file of MLflow, an absolute path.

    Returns the folder that the records named; None where they name this one.
    """
    with closing(sqlite3.connect(database, timeout=WAIT_S)) as store, store:
        found = store.execute(FIRST).fetchone()
        if found is None:
            return None
        former = Path(found[0].removeprefix("file://")).parents[1]
        if former == database.parent:
            return None
        for table, column in COLUMNS:
            for scheme in ("", "file://"):
                before, after = f"{scheme}{former}/", f"{scheme}{database.parent}/"
                store.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE substr({column}, 1, ?) = ?",
                    (after, len(before) + 1, len(before), before),
                )
    return former
