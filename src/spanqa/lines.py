"""Lines: a UTF-8 file as rows of text, none longer than a limit, however long the file is."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from spanqa.limits import MAX_ROW
from spanqa.rows import Problem, malformed

_BLOCK = 2**20


class Unreadable(Exception):
    """What stops the reading of a file, as a `Problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.sentence)
        self.problem = problem


class Lines(Iterator[str]):
    """Lines of a file with their ends, a byte order mark left out.

    A row may have several lines; whoever reads rows says where one ends.
    """

    def __init__(self, path: Path, *, newline: str, limit: int = MAX_ROW) -> None:
        r"""Open a file.

        Args:
            path: the file.
            newline: as `open` takes it: `\n` for these ends alone, "" for `\r` too.
            limit: most characters of a row.

        Raises:
            OSError: it cannot be read.
        """
        self.path, self.limit = path, limit
        self.number = 0
        """Of the line that was read last; the first is 1."""
        self._file = io.TextIOWrapper(path.open("rb"), encoding="utf-8-sig", newline=newline)
        self._row = 0  # characters of the present row

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()

    def __next__(self) -> str:
        """The next line.

        Raises:
            Unreadable: it is not UTF-8, or the row is too long.
        """
        try:
            line = self._file.readline(self.limit + 1 - self._row)
        except UnicodeDecodeError as error:
            raise Unreadable(_not_utf8(self.path)) from error
        if not line:
            raise StopIteration
        self.number += 1
        self._row += len(line)
        if self._row > self.limit:
            raise Unreadable(
                malformed(
                    f"has more than {self.limit:,} characters, the limit of a row",
                    f"line {self.number}",
                )
            )
        return line

    def end_row(self) -> None:
        """The next line begins another row."""
        self._row = 0


def _not_utf8(path: Path) -> Problem:
    """Where a file stops being UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with path.open("rb") as file:
        while True:
            block = file.read(_BLOCK)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                return not_utf8(error.object[error.start], line)
            if not block:  # somebody has changed it meanwhile
                return malformed("is not UTF-8; save the file as UTF-8")
            line += block.count(b"\n")


def not_utf8(byte: int, line: int) -> Problem:
    """The problem of a byte that does not belong into a UTF-8 file."""
    return malformed(f"byte 0x{byte:02x} is not UTF-8; save the file as UTF-8", f"line {line}")
