"""Folders that appear whole or not at all, and seals that tell what was damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spanqa.errors import ModelError, WriteError
from spanqa.folders import (
    SEAL,
    damage,
    is_sealed,
    replace_file,
    seal,
    sha256,
    verify,
    write_folder,
    write_sealed,
)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    write_sealed(folder, lambda path: _write(Path(path), "one"))
    return folder


def _write(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "file").write_text(text)
    (folder / "other").write_text("")


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    for text in ("one", "two"):
        write_folder(folder, lambda path, text=text: _write(Path(path), text))  # type: ignore[misc]
        assert (folder / "file").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_the_older_folder_stays_where_the_new_one_fails(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    write_folder(folder, lambda path: _write(Path(path), "one"))

    def fail(path: str) -> None:
        _write(Path(path), "two")
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError, match=r"best: cannot be written: No space left on device$"):
        write_folder(folder, fail)
    assert (folder / "file").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


@contextmanager
def killed_after(renames: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ends the block at the next rename after so many, or at its end."""
    replace, done = os.replace, iter(range(renames))

    def until_killed(source: Path, target: Path) -> None:
        if next(done, None) is None:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", until_killed)
        yield
        raise KeyboardInterrupt


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_killed_while_a_folder_is_replaced(
    renames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "best"
    write_folder(folder, lambda path: _write(Path(path), "one"))
    with killed_after(renames, monkeypatch):
        write_folder(folder, lambda path: _write(Path(path), "two"))
    assert folder.exists() == (renames != 1)

    def failing(path: str) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError):
        write_folder(folder, failing)
    write_folder(folder, lambda path: _write(Path(path), "three"))
    assert (folder / "file").read_text() == "three"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_seal_tells_what_was_changed(sealed: Path) -> None:
    assert is_sealed(sealed) and damage(sealed) is None
    (sealed / "file").write_text("two")
    with pytest.raises(ModelError) as caught:
        verify(sealed)
    assert str(caught.value) == (
        f"{sealed / 'file'}: is damaged or was changed: its SHA-256 is not the one in {SEAL}; copy "
        f"it again from where it is whole, or remove {SEAL} if the change is yours"
    )
    (sealed / "file").unlink()
    assert damage(sealed) == f"{sealed / 'file'}: is missing"


def test_a_damaged_seal_is_damage(sealed: Path) -> None:
    (sealed / SEAL).write_text('{"file": 3}')
    assert damage(sealed) == f"{sealed / SEAL}, 'file' is damaged: text is needed, found 3"
    (sealed / SEAL).write_text('{"file"')
    assert (damage(sealed) or "").startswith(f"{sealed / SEAL} is damaged: not valid JSON")


def test_files_beside_and_folders_within_are_not_sealed(sealed: Path) -> None:
    (sealed / "README.md").write_text("mine")
    (sealed / "exports").mkdir()
    assert damage(sealed) is None
    seal(sealed)
    shutil.rmtree(sealed / "exports")
    assert damage(sealed) is None


def test_no_seal_no_complaint(tmp_path: Path) -> None:
    _write(tmp_path / "model", "one")
    for folder in (tmp_path / "model", tmp_path / "nowhere"):
        verify(folder)
        assert damage(folder) is None


@pytest.mark.parametrize("renames", range(4))
def test_a_file_of_a_sealed_folder_is_replaced(
    renames: int, sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever it is killed, the folder is whole, with the old file or the new one."""
    with killed_after(renames, monkeypatch):
        replace_file(sealed / "file", b"two")
    verify(sealed)
    assert (sealed / "file").read_text() == ("one" if renames < 2 else "two")
    replace_file(sealed / "file", b"three")
    verify(sealed)
    assert (sealed / "file").read_text() == "three"


def test_a_file_is_replaced_without_a_seal(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_hash_is_that_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "file") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
