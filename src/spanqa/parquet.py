"""Parquet files and Arrow tables as rows, a bounded part of them unpacked at a time.

A Parquet file is compressed twice over, so a small one may hold more than any memory does: pages
are compressed, and a text that many rows repeat is stored once. What a file says of its size is
checked before it is read, texts stay in their dictionaries until their rows are known to be small,
and a row group is unpacked in batches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spanqa.limits import MAX_ROW
from spanqa.lines import Unreadable
from spanqa.rows import COLUMNS, Problem, Row, malformed, printable

MAX_GROUP = 2 * 2**30
"""Bytes of the columns of one row group, unpacked; SQuAD 2.0 has 120 MB as one group."""
VALUES = 2**20
"""Questions, and answers, that a file of any size may hold;"""
BYTES_PER_VALUE = 8
"""beyond that it must have so many bytes for each of them. SQuAD 2.0 has 126 for a question."""
_BATCH = 256
_MAGIC = b"PAR1"


def parquet_rows(path: Path) -> Iterator[Row | Problem]:
    """Rows of a Parquet file, of the columns that are known.

    Raises:
        Unreadable: it is damaged, or would take too much memory.
        OSError: it cannot be read.
    """
    import pyarrow
    from pyarrow import parquet

    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - len(_MAGIC)))
        if file.read() != _MAGIC:
            raise Unreadable(malformed("is not a Parquet file, or is cut off"))
        try:
            metadata = parquet.read_metadata(file)
            leaves = _leaves(metadata)
            require_small(metadata, leaves, size)
            reader = parquet.ParquetFile(
                file,
                metadata=metadata,
                read_dictionary=texts_of(metadata, leaves),
                pre_buffer=False,
            )
            names = [name for name in reader.schema_arrow.names if name in COLUMNS]
            yield from rows_of(reader.iter_batches(_BATCH, columns=names))
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
            raise Unreadable(
                malformed(f"cannot be read as Parquet: {first_line(error)}")
            ) from error


def _leaves(metadata: Any) -> dict[int, str]:
    """Number -> path of the columns, those inside others too, that belong to a question."""
    found = leaves_of(metadata, COLUMNS)
    for name in ("context", "question"):
        if name not in found.values():
            columns = ", ".join(COLUMNS[:5])
            raise Unreadable(malformed(f"has no column '{name}'; the columns are {columns}"))
    return found


def leaves_of(metadata: Any, names: Collection[str]) -> dict[int, str]:
    """Number -> path of the columns of these names, and of those inside them."""
    paths = {i: metadata.schema.column(i).path for i in range(metadata.num_columns)}
    return {i: path for i, path in paths.items() if path.partition(".")[0] in names}


def texts_of(metadata: Any, leaves: Mapping[int, str]) -> list[str]:
    """Paths of the columns that hold texts: what is to stay in its dictionary."""
    kinds = {i: metadata.schema.column(i).physical_type for i in leaves}
    return [path for i, path in leaves.items() if kinds[i] == "BYTE_ARRAY"]


def require_small(
    metadata: Any,
    leaves: Iterable[int],
    size: int,
    bytes_per_value: int = BYTES_PER_VALUE,
    what: str = "questions or answers",
) -> None:
    """Refuse what a small file cannot hold honestly, and what would be unpacked at once.

    Args:
        metadata: of the file.
        leaves: numbers of the columns that are read.
        size: bytes of the file.
        bytes_per_value: that it must have for each row and value, where there are many.
        what: they are called.

    Raises:
        Unreadable: it says so of itself.
    """
    groups = [metadata.row_group(g) for g in range(metadata.num_row_groups)]
    most = max(VALUES, size // bytes_per_value)
    counts = [sum(group.column(i).num_values for group in groups) for i in leaves]
    found = max(metadata.num_rows, *counts)
    if found > most:
        raise Unreadable(
            malformed(
                f"holds {found:,} {what} in {size:,} bytes; the limit of a file of this size is "
                f"{most:,}"
            )
        )
    for number, group in enumerate(groups):
        unpacked = sum(group.column(i).total_uncompressed_size for i in leaves)
        if unpacked > MAX_GROUP:
            raise Unreadable(
                malformed(
                    f"row group {number} has {unpacked:,} bytes when unpacked; the limit is "
                    f"{MAX_GROUP:,}; write the file with smaller row groups"
                )
            )


def rows_of(batches: Iterable[Any]) -> Iterator[Row | Problem]:
    """Numbered rows of Arrow's record batches or tables; columns that are not known are left out.

    Raises:
        Unreadable: a row is too long.
    """
    number = 0
    for batch in batches:
        known = batch.select([name for name in batch.schema.names if name in COLUMNS])
        for record in _records(known, number):
            yield Row(record, f"row {number}")
            number += 1


def _records(batch: Any, number: int) -> Iterator[dict[str, Any]]:
    """Rows as dictionaries; only as many at once as have no more bytes than one row may have."""
    for part, fits in parts_of(batch, MAX_ROW):
        if not fits:
            limit = f"has more than {MAX_ROW:,} bytes, the limit of a row"
            raise Unreadable(malformed(limit, f"row {number}"))
        yield from _unpacked(part, number)
        number += part.num_rows


def parts_of(batch: Any, most: int) -> Iterator[tuple[Any, bool]]:
    """A batch in parts of at most `most` bytes unpacked; False with a row that has more."""
    if sum(size_of(column) for column in batch.columns) <= most:
        yield batch, True
    elif batch.num_rows == 1:
        yield batch, False
    else:
        half = batch.num_rows // 2
        yield from parts_of(batch.slice(0, half), most)
        yield from parts_of(batch.slice(half), most)


def _unpacked(batch: Any, number: int) -> list[dict[str, Any]]:
    try:
        records: list[dict[str, Any]] = batch.to_pylist()
        return records
    except (ValueError, OverflowError) as error:  # no UTF-8, or a date that Python has none for
        rows = f"rows {number} to {number + batch.num_rows - 1}"
        raise Unreadable(malformed(f"cannot be read: {first_line(error)}", rows)) from error


def size_of(column: Any) -> int:
    """Bytes of a column's values once each row has its own."""
    import pyarrow
    from pyarrow import compute

    if isinstance(column, pyarrow.ChunkedArray):
        return sum(size_of(chunk) for chunk in column.chunks)
    kind = column.type
    if pyarrow.types.is_dictionary(kind) and not pyarrow.types.is_primitive(kind.value_type):
        lengths = compute.binary_length(column.dictionary).take(column.indices)
        return compute.sum(lengths).as_py() or 0
    if pyarrow.types.is_struct(kind):
        return sum(size_of(field) for field in column.flatten())
    if pyarrow.types.is_map(kind):
        begin, end = column.offsets[0].as_py(), column.offsets[-1].as_py()
        return sum(size_of(each.slice(begin, end - begin)) for each in (column.keys, column.items))
    if pyarrow.types.is_nested(kind):  # lists
        return size_of(column.flatten())
    return int(column.nbytes)


def first_line(error: Exception) -> str:
    """What an exception of another library says, in one line."""
    return printable((str(error).strip() or type(error).__name__).splitlines()[0])
