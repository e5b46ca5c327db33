"""Rows of a shard, read one after the other and checked.

What is wrong with a row is a `Rejected` in its place: nothing in a row stops the reading.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn

from spanqa.errors import DataError
from spanqa.parquet import parts_of
from spanqa.rows import kind_of, printable, text_of
from spanqa.shards import Columns, Limits, Shard, lines_of, parquet_file
from spanqa.storage import Place

_BOM = b"\xef\xbb\xbf"
_PARQUET_ROWS = 64
"""Rows of a Parquet file that are held at a time, texts in their dictionary."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A row that can be answered."""

    row: int
    id: str
    question: str
    context: str
    kept: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Characters that it holds, about: what is kept counts as well."""
        return len(self.context) + _size(self.kept)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot, and why."""

    row: int
    id: str
    """"" where it is not known."""
    reason: str


def _size(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(len(key) + _size(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    return len(value) if isinstance(value, str | bytes) else 8


def rows_of(shard: Shard, columns: Columns, limits: Limits) -> Iterator[Asked | Rejected]:
    """The rows of a shard, in order; empty lines are no rows.

    Raises:
        DataError: the file cannot be read, or is not what it was when it was cut.
    """
    parquet = Place(shard.url).suffix == ".parquet"
    read = _parquet_rows(shard, columns, limits) if parquet else _jsonl_rows(shard, limits)
    for row, record in read:
        if isinstance(record, Rejected):
            yield record
            continue
        id = ""
        try:
            id = _id(record, columns.id, f"{shard.file}:{row}")
            yield _asked(record, row, id, columns, limits)
        except DataError as error:
            yield Rejected(row, printable(id), str(error))


def _id(record: Mapping[str, Any], column: str | None, otherwise: str) -> str:
    given = record.get(column or "id")
    if given is None or given == "":
        if column is not None:
            raise DataError(f"has no '{column}'")
        return otherwise
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise DataError(f"'{column or 'id'}' must be a text, not {kind_of(given)}")
    return str(given)


def _asked(record: Mapping[str, Any], row: int, id: str, columns: Columns, limits: Limits) -> Asked:
    question, context = text_of(record, columns.question), text_of(record, columns.context)
    checks = (
        ("id", id, None),
        (columns.question, question, limits.question),
        (columns.context, context, limits.text),
    )
    for name, text, longest in checks:
        if not text.strip():
            raise DataError(f"'{name}' is empty")
        if longest is not None and len(text) > longest:
            raise DataError(f"'{name}' has {len(text):,} characters, more than {longest:,}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"'{name}' has half a surrogate pair at character {error.start}"
            ) from error
    return Asked(row, id, question, context, {key: record.get(key) for key in columns.keep})


_Records = Iterator[tuple[int, Mapping[str, Any] | Rejected]]


def _jsonl_rows(shard: Shard, limits: Limits) -> _Records:
    digest = hashlib.sha256()
    with Place(shard.url).reading() as file:
        file.seek(shard.offset)
        lines = islice(lines_of(file, limits.line, digest.update), shard.rows)
        for row, line in enumerate(lines, start=shard.first):
            if line is None:
                yield row, _too_long(row, limits)
                continue
            line = line.removeprefix(_BOM) if row == 1 else line
            if line.strip():
                yield row, _parsed(row, line)
    if digest.hexdigest() != shard.sha256:
        raise DataError(f"{Place(shard.url)}: was changed while it was read; start again")


def _too_long(row: int, limits: Limits) -> Rejected:
    return Rejected(row, "", f"the row has more than {limits.line:,} bytes")


def _parsed(row: int, line: bytes) -> Mapping[str, Any] | Rejected:
    try:
        value = json.loads(
            line.rstrip().decode("utf-8"), parse_constant=_no_constant, parse_float=_finite
        )
    except UnicodeDecodeError as error:
        return Rejected(row, "", f"byte 0x{line[error.start]:02x} of the line is not UTF-8")
    except RecursionError:
        return Rejected(row, "", "the line is nested too deeply")
    except json.JSONDecodeError as error:
        reason = error.msg.removesuffix(" at")
        return Rejected(row, "", f"the line is not JSON: {reason} at column {error.colno}")
    except ValueError as error:  # NaN, or a number of thousands of digits
        return Rejected(row, "", f"the line is not JSON that can be read: {error}")
    if isinstance(value, dict):
        return value
    return Rejected(row, "", f"a line must be an object, not {kind_of(value)}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):  # it would be written as Infinity, which is no JSON
        raise ValueError(f"it holds the number {printable(text, 40)}, which is too large")
    return value


def _parquet_rows(shard: Shard, columns: Columns, limits: Limits) -> _Records:
    with parquet_file(Place(shard.url), columns) as parquet:
        groups, skip = _row_groups(parquet.metadata, shard)
        present = [name for name in parquet.schema_arrow.names if name in columns.names]
        batches = parquet.iter_batches(_PARQUET_ROWS, row_groups=groups, columns=present)
        row, left = shard.first, shard.rows
        for batch in batches:
            rows = batch.slice(min(skip, len(batch)), left)
            skip = max(0, skip - len(batch))
            left -= len(rows)
            for part, fits in parts_of(rows, limits.line):
                for i in range(len(part)):
                    yield row, _unpacked(part.slice(i, 1), row) if fits else _too_long(row, limits)
                    row += 1
            if not left:
                return
    raise DataError(f"{Place(shard.url)}: was changed while it was read; start again")


def _unpacked(batch: Any, row: int) -> Mapping[str, Any] | Rejected:
    try:
        record: dict[str, Any] = batch.to_pylist()[0]
        return record
    except UnicodeDecodeError:  # Arrow does not look into texts
        return Rejected(row, "", "a text of the row is not UTF-8")
    except (ValueError, OverflowError) as error:  # a date that Python has none for
        return Rejected(row, "", f"a value of the row cannot be read ({error})")


def _row_groups(metadata: Any, shard: Shard) -> tuple[list[int], int]:
    """The row groups that a shard lies in, and the rows to skip in the first of them."""
    groups: list[int] = []
    begin = skip = 0
    for group in range(metadata.num_row_groups):
        end = begin + metadata.row_group(group).num_rows
        if begin < shard.first - 1 + shard.rows and shard.first - 1 < end:
            skip = skip if groups else shard.first - 1 - begin
            groups.append(group)
        begin = end
    return groups, skip
