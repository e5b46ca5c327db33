"""Storage: files and folders on this machine, or at any URL that fsspec knows.

A file appears whole or not at all: it is written under a name of its own and then renamed.
"""

from __future__ import annotations

import io
import lzma
import os
import posixpath
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from spanqa.errors import DataError

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz"}
"""By suffix: what is decompressed while it is read."""
_UNFINISHED = ".unfinished"
_BUFFER = 2**20


@dataclass(frozen=True)
class Place:
    """A file or a folder: its URL, absolute, so that it says the same in every process."""

    url: str

    @classmethod
    def of(cls, name: str) -> Place:
        """The place that a path or a URL names.

        Raises:
            DataError: there is no such kind of URL, or it needs a package that is not installed.
        """
        try:
            system, path = url_to_fs(os.path.expanduser(name))
        except (ValueError, ImportError) as error:
            raise DataError(f"{name}: cannot be opened ({error})") from error
        return cls(system.unstrip_protocol(path))

    def __truediv__(self, name: str) -> Place:
        return Place(f"{self.url.rstrip('/')}/{name}")

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
        """Remove the folder and all in it, if there is one."""
        system, path = self._system()
        with _named(self, "removed"):
            if system.exists(path):
                system.rm(path, recursive=True)

    def remove_unfinished(self) -> None:
        """Remove what processes left behind that were killed while they wrote into this folder."""
        system, path = self._system()
        with _named(self):
            for each in system.find(path) if system.isdir(path) else []:
                if each.endswith(_UNFINISHED):
                    system.rm_file(each)

    @contextmanager
    def reading(self) -> Iterator[IO[bytes]]:
        """The bytes of a file, decompressed; seeking is slow where it is compressed.

        Raises:
            DataError: it cannot be read, or what is read is damaged.
        """
        opened = fsspec.open(self.url, "rb", compression=self.compression)
        # fsspec's own files read line by line in Python.
        with (
            _named(self),
            opened as file,
            io.BufferedReader(cast(io.RawIOBase, file), _BUFFER) as buffered,
        ):
            yield buffered

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
        beside = f"{path}.{uuid.uuid4().hex}{_UNFINISHED}"
        with _named(self, "written"):
            try:
                with system.open(beside, "wb") as file:
                    yield file
                    if isinstance(system, LocalFileSystem):
                        file.flush()
                        os.fsync(file.fileno())
                if isinstance(system, LocalFileSystem):
                    os.replace(beside, path)
                else:
                    system.mv(beside, path)
            except BaseException:
                if system.exists(beside):
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
        system, path = url_to_fs(self.url)
        return system, path


@contextmanager
def _named(place: Place, verb: str = "read") -> Iterator[None]:
    """Errors of a storage name the place."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{place}: no such file") from error
    except EOFError as error:
        raise DataError(f"{place}: is cut off") from error
    except (zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{place}: is damaged ({error})") from error
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise DataError(f"{place}: cannot be {verb}: {reason}") from error
