"""The log of decisions about champions: Parquet files below ``reports/<dataset>/decisions``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from structxlip.incremental.artifacts import REPORTS

COLUMNS = {
    "at": "string",
    "version": "string",
    "arm": "string",
    "verdict": "string",
    "champion": "string",
    "recall": "float64",
    "champion_recall": "float64",
    "gain": "float64",
    "gain_low": "float64",
    "gain_high": "float64",
    "gate_images": "int64",
    "images_needed": "int64",
    "reported_recall": "float64",
    "package": "string",
    "commit": "string",
    "params": "string",
    "pairs": "string",
    "run_id": "string",
    "reason": "string",
}


def append_decision(dataset: str, **values: Any) -> Path:
    """Append a decision, with the time; the keys are those of ``COLUMNS``. Returns its file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    if unknown := set(values) - set(COLUMNS):
        raise ValueError(f"no columns of a decision: {', '.join(sorted(unknown))}")
    folder = REPORTS / dataset / "decisions"
    name = f"{at.replace(':', '').replace('+0000', '')}-{values['version']}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{name}"
    pq.write_table(pa.Table.from_pylist([values | {"at": at}], schema), unfinished)
    return unfinished.replace(folder / name)


def read_decisions(dataset: str) -> list[dict[str, Any]]:
    """All decisions about a dataset, the oldest first."""
    import pyarrow.parquet as pq

    files = (REPORTS / dataset / "decisions").glob("[0-9]*.parquet")
    rows = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
    return sorted(rows, key=lambda row: str(row["at"]))
