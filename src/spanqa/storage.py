"""Storage: files and folders on this machine, or at any URL that fsspec knows.

A file appears whole or not at all: it is written under a name of its own and then renamed.
"""

from __future__ import annotations

import io
import lzma
import os
import posixpath
import re
import shutil
import uuid
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from spanqa.errors import DataError, SpanQAError
from spanqa.rows import in_words

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz"}
"""By suffix: what is decompressed while it is read."""
_UNFINISHED = ".unfinished"
_PART = re.compile(rf"\.(?:([0-9a-f]{{8}})-)?[0-9a-f]{{32}}{re.escape(_UNFINISHED)}$")
_BUFFER = 2**20


@dataclass(frozen=True)
class Place:
    """A file or a folder: its URL, absolute, so that it says the same in every process."""

    url: str
    start: str = ""
    """Of which process's start it is, if that matters: part of the names of unfinished files."""

    @classmethod
    def of(cls, name: str) -> Place:
        """The place that a path or a URL names.

        Raises:
            DataError: there is no such kind of URL, or it needs a package that is not installed.
        """
        try:
            system, path = url_to_fs(os.path.expanduser(name))
        except Exception as error:  # storages raise what they like, for want of a package or a key
            reason = error if isinstance(error, ValueError | ImportError) else in_words(error)
            raise DataError(f"{name}: cannot be opened ({reason})") from error
        return cls(system.unstrip_protocol(path))

    def __truediv__(self, name: str) -> Place:
        return Place(f"{self.url.rstrip('/')}/{name}", self.start)

    def started(self) -> Place:
        """The same place for one process and those that it starts: with a `start` of its own."""
        return Place(self.url, uuid.uuid4().hex[:8])

    @property
    def local(self) -> Path | None:
        """Its path, if it is on this machine."""
        system, path = self._system()
        return Path(path) if isinstance(system, LocalFileSystem) else None

    @property
    def is_unfinished(self) -> bool:
        """Whether it is what `writing` has not finished."""
        return _PART.search(self.name) is not None

    def __str__(self) -> str:
        return self.url.removeprefix("file://")

    @property
    def name(self) -> str:
        """What stands behind the last slash."""
        return posixpath.basename(self.url.rstrip("/"))

    @property
    def compression(self) -> str | None:
        """What its suffix says of compression."""
        return COMPRESSIONS.get(posixpath.splitext(self.name)[1].lower())

    @property
    def suffix(self) -> str:
        """Its suffix in lower case, without that of a compression."""
        stem, last = posixpath.splitext(self.name.lower())
        return posixpath.splitext(stem)[1] if last in COMPRESSIONS else last

    def exists(self) -> bool:
        """Whether there is a file or a folder."""
        system, path = self._system()
        with _named(self):
            return bool(system.exists(path))

    def files(self) -> list[Place]:
        """The files that it stands for, in order: itself, those in the folder, or of the pattern.

        Raises:
            DataError: the storage cannot be read.
        """
        system, path = self._system()
        with _named(self):
            # What was written in the meantime, perhaps by another machine.
            system.invalidate_cache()
            if system.isfile(path):
                return [self]
            if system.isdir(path):
                found = system.find(path)
            else:
                found = system.glob(path) if any(sign in path for sign in "*?[") else []
                found = [each for each in found if system.isfile(each)]
        return [Place(system.unstrip_protocol(each)) for each in sorted(found)]

    def make_folder(self) -> None:
        """Make the folder, where the storage has such a thing."""
        system, path = self._system()
        with _named(self):
            system.makedirs(path, exist_ok=True)

    def remove_folder(self) -> None:
        """Remove the folder and all in it, if there is one, and nobody writes into it."""
        system, path = self._system()
        with _named(self, "removed"):
            if isinstance(system, LocalFileSystem):
                shutil.rmtree(path, ignore_errors=True)
            elif system.exists(path):
                with suppress(FileNotFoundError):
                    system.rm(path, recursive=True)

    def remove(self) -> None:
        """Remove the file, if there is one."""
        system, path = self._system()
        with _named(self, "removed"), suppress(FileNotFoundError):
            system.rm_file(path)

    def remove_unfinished(self, *, everybodys: bool = False) -> None:
        """Remove what processes that were killed left half-written in this folder.

        Args:
            everybodys: those of other starts, too; nobody else may be writing there then.
        """
        system, path = self._system()
        with _named(self, "removed"):
            for each in system.find(path) if system.isdir(path) else []:
                found = _PART.search(each)
                if found and (everybodys or (found[1] or "") == self.start):
                    with suppress(FileNotFoundError):  # finished, or removed by its writer
                        system.rm_file(each)

    @contextmanager
    def reading(self) -> Iterator[IO[bytes]]:
        """The bytes of a file, decompressed; seeking is slow where it is compressed.

        Raises:
            DataError: it cannot be read, or what is read is damaged.
        """
        with ExitStack() as stack:
            with _named(self):
                opened = fsspec.open(self.url, "rb", compression=self.compression)
                file = stack.enter_context(opened)
            # fsspec's own files read line by line in Python.
            yield stack.enter_context(io.BufferedReader(_Raw(self, file), _BUFFER))

    def read(self) -> bytes:
        """All bytes of a small file.

        Raises:
            DataError: it cannot be read.
        """
        with self.reading() as file:
            return file.read()

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """A file that takes this place when the block ends, and leaves nothing where it fails.

        Raises:
            DataError: it cannot be written.
        """
        system, path = self._system()
        mark = f"{self.start}-" if self.start else ""
        beside = f"{path}.{mark}{uuid.uuid4().hex}{_UNFINISHED}"
        here = isinstance(system, LocalFileSystem)
        try:
            with _named(self, "written"):
                file = system.open(beside, "wb")
            with closing(_Raw(self, file, "written")) as raw:
                yield cast(IO[bytes], raw)
                with _named(self, "written"):
                    if here:
                        file.flush()
                        os.fsync(file.fileno())
            with _named(self, "written"):
                if here:
                    os.replace(beside, path)
                else:
                    system.mv(beside, path)
        except BaseException:
            with suppress(Exception):  # what stopped it is said
                system.rm_file(beside)
            raise

    def write(self, content: bytes) -> None:
        """Write a small file.

        Raises:
            DataError: it cannot be written.
        """
        with self.writing() as file:
            file.write(content)

    def _system(self) -> tuple[Any, str]:
        with _named(self):
            system, path = url_to_fs(self.url)
        return system, path


class _Raw(io.RawIOBase):
    """A file of a storage, whose errors name the place; those of its user are left as they are."""

    def __init__(self, place: Place, file: Any, verb: str = "read") -> None:
        self.place, self.file, self.verb = place, file, verb

    def readable(self) -> bool:
        return self.verb == "read"

    def writable(self) -> bool:
        return self.verb == "written"

    def seekable(self) -> bool:
        return bool(self.file.seekable())

    def readinto(self, buffer: Any, /) -> int:
        with _named(self.place):
            data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any, /) -> int:
        with _named(self.place, self.verb):
            return int(self.file.write(data))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with _named(self.place):
            return int(self.file.seek(offset, whence))

    def tell(self) -> int:
        with _named(self.place):
            return int(self.file.tell())

    def close(self) -> None:
        if self.writable() and not self.closed:
            try:
                with _named(self.place, self.verb):
                    self.file.close()
            finally:
                super().close()


@contextmanager
def _named(place: Place, verb: str = "read") -> Iterator[None]:
    """Errors of a storage, whatever its package calls them, name the place."""
    try:
        yield
    except SpanQAError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{place}: no such file") from error
    except EOFError as error:
        raise DataError(f"{place}: is cut off") from error
    except (zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{place}: is damaged ({error})") from error
    except Exception as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or in_words(error)
        raise DataError(f"{place}: cannot be {verb}: {reason}") from error
