"""A folder that one process works on, and all others stay off.

The lock is the operating system's (`flock`, or what Windows has), so it ends with its process,
however that ends: nothing has to be cleaned up after a kill. Between machines that share a folder
it holds where the file system passes locks on, as NFS does unless it is mounted with `nolock` or
`local_lock`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from spanqa.errors import DataError, WriteError
from spanqa.records import UNFINISHED, dump, from_json, read_json, write_atomic
from spanqa.writing import writing

LOCK = ".lock"
HOLDER = ".lock.json"
"""Who holds it, as long as it does; Windows lets nobody read a locked file, so it has its own."""

TRACES = (LOCK, HOLDER, HOLDER + UNFINISHED)
"""What a process that was killed leaves of it."""


@dataclass(frozen=True)
class Holder:
    """The process that works on a folder."""

    pid: int
    host: str


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes off a folder, which is made, while the block runs.

    Raises:
        WriteError: another process works on it, or the folder cannot be written.
    """
    lock = FileLock(folder / LOCK)
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
    except Timeout as error:
        raise WriteError(
            f"{folder}: {_holder(folder)} is working on it; wait until that has ended, or name "
            "another folder"
        ) from error
    try:
        write_atomic(folder / HOLDER, dump(asdict(Holder(os.getpid(), socket.gethostname()))))
        yield
    finally:
        with suppress(OSError):
            (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    try:
        holder = from_json(Holder, read_json(folder / HOLDER), HOLDER)
    except DataError:  # it has the lock, and has not written its name yet
        return "another process"
    return f"process {holder.pid} on {holder.host}"
