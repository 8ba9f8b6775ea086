"""Parquet and Arrow files, read in batches of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structxlip.data.readers.files import readable
from structxlip.data.readers.records import Record

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 64  # rows that are in memory at once


def names_and_rows(path: Path) -> tuple[list[str], int]:
    """The names of the columns of a Parquet or Arrow file, and the number of its rows."""
    import pyarrow.parquet as pq

    with readable(path):
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                return file.schema_arrow.names, file.metadata.num_rows
        table = _memory_mapped(path)
        return table.column_names, table.num_rows


def arrow_records(path: Path, columns: Sequence[str], where: str) -> Iterator[Record]:
    """The rows of a Parquet or Arrow file as records, with the named columns.

    ``where`` names the file. Rows are counted from 0. Raises ``UserError`` for a file that is
    damaged.
    """
    number = 0
    for batch in _batches(path, list(columns)):
        cells = [_values(column) for column in batch.columns]
        for row in zip(*cells, strict=True):
            yield Record(dict(zip(batch.schema.names, row, strict=True)), f"{where}, row {number}")
            number += 1


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with readable(path):
        if path.suffix == ".parquet":
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                batches = file.iter_batches(BATCH_ROWS, columns=columns)
                yield from map(_validated, batches)
        else:
            table = _memory_mapped(path).select(columns)
            yield from map(_validated, table.to_batches(max_chunksize=BATCH_ROWS))


def _validated(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch whose offsets lie within its data: those of a damaged file may not, and crash.

    Texts that are not UTF-8 pass, since each is a matter of its own row.
    """
    import pyarrow as pa

    for column in batch.columns:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            if "UTF8" not in str(error):
                raise
    return batch


def _memory_mapped(path: Path) -> pa.Table:
    """An Arrow file as a table whose data stay on disk."""
    import pyarrow as pa

    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def _values(column: pa.Array) -> list[Any]:
    """The values of a column. Where a cell cannot be read, its error stands for it."""
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError):
        return [_value(cell) for cell in column]
    return values


def _value(cell: pa.Scalar) -> Any:
    import pyarrow as pa

    try:
        return cell.as_py()
    except UnicodeDecodeError as error:
        if isinstance(cell, (pa.ListScalar, pa.LargeListScalar)):
            return [_value(item) for item in cell.values]
        if isinstance(cell, pa.StructScalar):
            return error
        # Bytes that are not UTF-8 become surrogates. A caption that holds one is quarantined.
        return cell.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")
    except (ValueError, OverflowError) as error:  # such as a date out of range
        return error
