"""Shards: files of questions of any size, cut into numbered pieces of rows.

    JSONL     one object a line (`.jsonl`, `.ndjson`, also `.gz`, `.bz2`, `.xz`), read line by line
    Parquet   read some rows at a time

Files are taken in the order of their names and cut every so many rows, so the same input always
gives the same shards, and a shard can be read by itself (`spanqa.asked`).
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import IO, Any

from spanqa.errors import DataError
from spanqa.lines import Unreadable
from spanqa.parquet import leaves_of, require_small, texts_of
from spanqa.storage import COMPRESSIONS, Place

KINDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
LINE_BYTES = 6
"""Bytes of a line for every character that a text may have: JSON may write it as six."""
BYTES_PER_VALUE = 1
"""Least of a Parquet file for each row and each value in a list, beyond a million."""
_SKIPPED = 2**20
"""Bytes of a line that is too long that are held at a time."""


@dataclass(frozen=True)
class Columns:
    """Where things stand in a row."""

    question: str = "question"
    context: str = "context"
    id: str | None = None
    """None: `id`, and the row's file and number where it has none."""
    keep: tuple[str, ...] = ()
    """What goes into the answers as it is."""

    @property
    def names(self) -> set[str]:
        """All that are read."""
        return {self.question, self.context, self.id or "id", *self.keep}


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


def corpus_of(
    source: str, columns: Columns, limits: Limits, rows: int, *, without: Place | None = None
) -> Corpus:
    """Find the files of an input and cut them; reads all of them once.

    Args:
        source: path or URL of a file, of a folder with files, or a pattern with `*`.
        columns: those that Parquet files must have.
        limits: of the texts.
        rows: in a shard.
        without: folder whose files are none of the input, although a pattern finds them.

    Raises:
        DataError: there are no such files, they are of two kinds, cannot be read, or lack columns.
    """
    top = Place.of(source)
    own = f"{without.url.rstrip('/')}/" if without else None
    files = [file for file in top.files() if _kind(file) and not (own and file.url.startswith(own))]
    if not files:
        endings = f"{', '.join(KINDS)}, and for lines {', '.join(COMPRESSIONS)} behind it"
        raise DataError(f"{source}: there is no file there that ends in {endings}")
    kinds = {_kind(file) for file in files}
    if len(kinds) > 1:
        raise DataError(f"{source}: holds Parquet and JSONL files; give those of one kind")
    kind = str(kinds.pop())
    shards: list[Shard] = []
    folder = re.split(r"[*?[]", f"{top.url.rstrip('/')}/")[0].rpartition("/")[0]
    for file in files:
        name = file.name if file == top else file.url.removeprefix(f"{folder}/")
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

            for _ in islice(lines_of(content, limits.line, seen), rows):
                size += 1
            if not size:
                return
            yield first, size, offset, digest.hexdigest()
            first, offset = first + size, offset + length


def _parquet_parts(file: Place, columns: Columns, rows: int) -> Iterator[_Part]:
    with file.reading() as content:
        whole = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
    with parquet_file(file, columns) as parquet:
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


def lines_of(
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


@contextmanager
def parquet_file(file: Place, columns: Columns | None = None) -> Iterator[Any]:
    """A Parquet file of which no more is held than what is read.

    Args:
        file: where it lies.
        columns: that are read of it, texts in their dictionaries; none are if left out.

    Raises:
        DataError: it is damaged, or would take too much memory.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with file.reading() as content:
            metadata = pyarrow.parquet.read_metadata(content)
            leaves = leaves_of(metadata, columns.names) if columns else {}
            if leaves:
                size = content.seek(0, io.SEEK_END)
                require_small(metadata, leaves, size, BYTES_PER_VALUE, "rows or values of a column")
            with pyarrow.parquet.ParquetFile(
                content,
                metadata=metadata,
                read_dictionary=texts_of(metadata, leaves),
                pre_buffer=False,
                buffer_size=2**20,
            ) as parquet:
                yield parquet
    except Unreadable as error:
        raise DataError(f"{file}: {error}") from error
    except pyarrow.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{file}: cannot be read as Parquet ({reason})") from error
