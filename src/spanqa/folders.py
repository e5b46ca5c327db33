"""Folders on disk: written whole or not at all, and sealed with the SHA-256 of each file.

A sealed folder holds `checksums.json`, file name -> SHA-256 (hex), written last. So a folder that
was half-written has none, and one that was damaged later is found out before it is used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from spanqa.errors import DataError, ModelError
from spanqa.records import dump, from_json, read_json, write_atomic
from spanqa.rows import shown
from spanqa.writing import writing

SEAL = "checksums.json"
_LONGEST = 255
"""Bytes of a name, as file systems have it."""


def write_folder(folder: Path, write: Callable[[str], Any]) -> None:
    """Write a folder that appears whole or not at all, in place of an older one.

    Raises:
        WriteError: it cannot be written; an older one is still there.
    """
    fresh, old = (folder.with_name(folder.name + end) for end in (".new", ".old"))
    shutil.rmtree(fresh, ignore_errors=True)
    with writing(folder, fresh):
        write(str(fresh))
        if old.exists() and not folder.exists():  # killed between the two renames below
            os.replace(old, folder)
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)


def write_sealed(folder: Path, write: Callable[[str], Any]) -> None:
    """Write a folder that appears whole and sealed, or not at all, in place of an older one.

    Raises:
        WriteError: it cannot be written; an older one is still there.
    """

    def write_and_seal(fresh: str) -> None:
        write(fresh)
        seal(Path(fresh))

    write_folder(folder, write_and_seal)


def seal(folder: Path) -> None:
    """Write `checksums.json` over all files that lie in the folder now; folders in it are not."""
    unseal(folder)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    _write(folder, {path.name: sha256(path) for path in files})


def unseal(folder: Path) -> None:
    """Remove the seal, before something else is written into the folder."""
    (folder / SEAL).unlink(missing_ok=True)


def is_sealed(folder: Path) -> bool:
    """Whether the folder was written to its end, and sealed."""
    return (folder / SEAL).is_file()


def verify(folder: Path) -> None:
    """Refuse a sealed folder that is not as it was written; one without a seal passes.

    Raises:
        ModelError: a file is missing, or has another SHA-256; the message names it.
    """
    problem = damage(folder)
    if problem:
        raise ModelError(
            f"{problem}; copy it again from where it is whole, or remove {SEAL} if the change is "
            "yours"
        )


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder; None where it is as it was written, or has no seal."""
    if not is_sealed(folder):
        return None
    try:
        return fault(folder, _read(folder), SEAL)
    except DataError as error:
        return str(error)


def fault(folder: Path, expected: Mapping[str, str], source: str) -> str | None:
    """The first file that is missing or changed, and what is wrong with it.

    Args:
        folder: where the files lie.
        expected: SHA-256 (hex) by name.
        source: the file that says so.
    """
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{path}: is missing"
        if sha256(path) != digest:
            return f"{path}: is damaged or was changed: its SHA-256 is not the one in {source}"
    return None


def require_inside(names: Iterable[str], where: Path) -> None:
    """Refuse names that are none of files in the folder, whose sums would tell of files elsewhere.

    Args:
        names: as a file says.
        where: that file.

    Raises:
        DataError: names the first such.
    """
    for name in names:
        plain = name not in ("", "..") and name.isprintable() and Path(name).name == name
        if not plain or len(name.encode()) > _LONGEST:
            raise DataError(f"{where} is damaged: {shown(name)} is no name of a file in its folder")


def replace_file(path: Path, content: bytes) -> None:
    """Replace one file, also in a sealed folder, which is whole at every moment.

    Killed in between, it is a folder whose seal says nothing of that one file.
    """
    sums = _read(path.parent) if is_sealed(path.parent) else {}
    if sums.pop(path.name, None) is None:
        write_atomic(path, content)
        return
    _write(path.parent, sums)
    write_atomic(path, content)
    _write(path.parent, sums | {path.name: sha256(path)})


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(folder: Path) -> dict[str, str]:
    path = folder / SEAL
    sums = from_json(dict[str, str], read_json(path), str(path))
    require_inside(sums, path)
    return sums


def _write(folder: Path, sums: Mapping[str, str]) -> None:
    write_atomic(folder / SEAL, dump(dict(sums), indent=1))
