"""Shards: files of questions of any size, cut into numbered pieces of rows.

    JSONL     one object a line (`.jsonl`, `.ndjson`, also `.gz`, `.bz2`, `.xz`), read line by line
    Parquet   read some rows at a time

Files are taken in the order of their names and cut every so many rows, so the same input always
gives the same shards, and a shard can be read by itself. What is wrong with a row is a `Rejected`
in its place: nothing in a row stops the reading.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import IO, Any, NoReturn

from spanqa.errors import DataError
from spanqa.example import printable
from spanqa.rows import kind_of, text_of
from spanqa.storage import COMPRESSIONS, Place

KINDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
LINE_BYTES = 6
"""Bytes of a line for every character that a text may have: JSON may write it as six."""
_BOM = b"\xef\xbb\xbf"
_SKIPPED = 2**20
"""Bytes of a line that is too long that are held at a time."""
_PARQUET_ROWS = 64
"""Rows of a Parquet file that are held at a time."""


@dataclass(frozen=True)
class Columns:
    """Where things stand in a row."""

    question: str = "question"
    context: str = "context"
    id: str | None = None
    """None: `id`, and the row's file and number where it has none."""
    keep: tuple[str, ...] = ()
    """What goes into the answers as it is."""


@dataclass(frozen=True)
class Limits:
    """The longest texts that are read; longer ones are rejected."""

    question: int
    """Characters."""
    text: int
    """Characters."""

    @property
    def line(self) -> int:
        """Bytes of a line."""
        return LINE_BYTES * (self.question + self.text) + 2**20


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of one file."""

    number: int
    url: str
    file: str
    """Its name within the input, for people."""
    first: int
    """Number of its first row, from 1; in JSONL that of its line, empty ones counted."""
    rows: int
    """Rows, or lines."""
    offset: int
    """Byte at which its first line begins, decompressed; 0 for Parquet."""
    sha256: str
    """Of its lines; of the whole file and the place in it for Parquet."""


@dataclass(frozen=True)
class Corpus:
    """An input as it was found."""

    kind: str
    """`jsonl` or `parquet`."""
    files: tuple[Place, ...]
    shards: tuple[Shard, ...]

    @property
    def sha256(self) -> str:
        """Of names and content of all files, and of how they are cut."""
        digest = hashlib.sha256()
        for shard in self.shards:
            values = asdict(shard)
            del values["url"]  # the same files somewhere else are the same input
            digest.update(json.dumps(values).encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Asked:
    """A row that can be answered."""

    row: int
    id: str
    question: str
    context: str
    kept: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot, and why."""

    row: int
    id: str
    """"" where it is not known."""
    reason: str


def corpus_of(source: str, columns: Columns, limits: Limits, rows: int) -> Corpus:
    """Find the files of an input and cut them; reads all of them once.

    Args:
        source: path or URL of a file, of a folder with files, or a pattern with `*`.
        columns: those that Parquet files must have.
        limits: of the texts.
        rows: in a shard.

    Raises:
        DataError: there are no such files, they are of two kinds, cannot be read, or lack columns.
    """
    top = Place.of(source)
    files = [file for file in top.files() if _kind(file)]
    if not files:
        endings = f"{', '.join(KINDS)}, and for lines {', '.join(COMPRESSIONS)} behind it"
        raise DataError(f"{source}: there is no file there that ends in {endings}")
    kinds = {_kind(file) for file in files}
    if len(kinds) > 1:
        raise DataError(f"{source}: holds Parquet and JSONL files; give those of one kind")
    kind = str(kinds.pop())
    shards: list[Shard] = []
    for file in files:
        name = file.url.removeprefix(f"{top.url.rstrip('/')}/") if len(files) > 1 else file.name
        parquet = kind == "parquet"
        parts = _parquet_parts(file, columns, rows) if parquet else _jsonl_parts(file, limits, rows)
        for first, size, offset, sha256 in parts:
            shards.append(Shard(len(shards), file.url, name, first, size, offset, sha256))
    return Corpus(kind, tuple(files), tuple(shards))


def _kind(file: Place) -> str | None:
    kind = KINDS.get(file.suffix)
    return None if kind == "parquet" and file.compression else kind


_Part = tuple[int, int, int, str]
"""First row, rows, offset, sha256."""


def _jsonl_parts(file: Place, limits: Limits, rows: int) -> Iterator[_Part]:
    with file.reading() as content:
        first, offset = 1, 0
        while True:
            digest, size, length = hashlib.sha256(), 0, 0

            def seen(data: bytes) -> None:
                nonlocal length
                digest.update(data)  # noqa: B023 - used within its own round only
                length += len(data)

            for _ in islice(_lines(content, limits.line, seen), rows):
                size += 1
            if not size:
                return
            yield first, size, offset, digest.hexdigest()
            first, offset = first + size, offset + length


def _parquet_parts(file: Place, columns: Columns, rows: int) -> Iterator[_Part]:
    with file.reading() as content:
        whole = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
    with parquet_file(file) as parquet:
        names = parquet.schema_arrow.names
        wanted = [columns.question, columns.context, *columns.keep]
        for name in (*wanted, *([columns.id] if columns.id else [])):
            if name not in names:
                raise DataError(
                    f"{file}: has no column {name!r}; its columns are {', '.join(names)}"
                )
        total = parquet.metadata.num_rows
    for begin in range(0, total, rows):
        yield begin + 1, min(rows, total - begin), 0, f"{whole}:{begin}"


def rows_of(shard: Shard, columns: Columns, limits: Limits) -> Iterator[Asked | Rejected]:
    """The rows of a shard, in order; empty lines are no rows.

    Raises:
        DataError: the file cannot be read, or is not what it was when it was cut.
    """
    parquet = shard.url.lower().endswith(".parquet")
    read = _parquet_rows(shard, columns) if parquet else _jsonl_rows(shard, limits)
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
        lines = islice(_lines(file, limits.line, digest.update), shard.rows)
        for row, line in enumerate(lines, start=shard.first):
            if line is None:
                yield row, Rejected(row, "", f"the line has more than {limits.line:,} bytes")
                continue
            line = line.removeprefix(_BOM) if row == 1 else line
            if line.strip():
                yield row, _parsed(row, line)
    if digest.hexdigest() != shard.sha256:
        raise DataError(f"{Place(shard.url)}: was changed while it was read; start again")


def _lines(
    file: IO[bytes], longest: int, seen: Callable[[bytes], object]
) -> Iterator[bytes | None]:
    """Lines with their ends; None for one that is longer, of which no more is held than that.

    Args:
        file: at the beginning of a line.
        longest: most bytes of a line.
        seen: called with all bytes that are read.
    """
    while line := file.readline(longest + 1):
        seen(line)
        if len(line) <= longest:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(_SKIPPED)
            seen(line)
        yield None


def _parsed(row: int, line: bytes) -> Mapping[str, Any] | Rejected:
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
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


def _parquet_rows(shard: Shard, columns: Columns) -> _Records:
    with parquet_file(Place(shard.url)) as parquet:
        groups, skip = _row_groups(parquet.metadata, shard)
        names = {columns.question, columns.context, *columns.keep, columns.id or "id"}
        present = [name for name in parquet.schema_arrow.names if name in names]
        batches = parquet.iter_batches(_PARQUET_ROWS, row_groups=groups, columns=present)
        row, left = shard.first, shard.rows
        for batch in batches:
            rows = batch.slice(skip, left)
            skip = max(0, skip - len(batch))
            left -= len(rows)
            for record in rows.to_pylist():
                yield row, record
                row += 1
            if not left:
                return
    raise DataError(f"{Place(shard.url)}: was changed while it was read; start again")


def _row_groups(metadata: Any, shard: Shard) -> tuple[list[int], int]:
    """The row groups that a shard lies in, and the rows to skip in the first of them."""
    begin, groups, skip = 0, [], 0
    for group in range(metadata.num_row_groups):
        end = begin + metadata.row_group(group).num_rows
        if begin < shard.first - 1 + shard.rows and shard.first - 1 < end:
            skip = skip if groups else shard.first - 1 - begin
            groups.append(group)
        begin = end
    return groups, skip


@contextmanager
def parquet_file(file: Place) -> Iterator[Any]:
    """A Parquet file of which no more is held than what is read."""
    import pyarrow
    import pyarrow.parquet

    try:
        with file.reading() as content:
            with pyarrow.parquet.ParquetFile(
                content, pre_buffer=False, buffer_size=2**20
            ) as parquet:
                yield parquet
    except pyarrow.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{file}: cannot be read as Parquet ({reason})") from error
