"""What is said where the system refuses to write, however a library words it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from spanqa.errors import DataError, WriteError
from spanqa.writing import writing


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        Exception("No space left on device (os error 28)"),  # of tokenizers
    ],
)
def test_one_sentence(error: Exception, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(WriteError) as caught, writing(path):
        raise error
    assert str(caught.value) == f"{path}: cannot be written: No space left on device"


def test_a_cause_counts(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="Permission denied"), writing(tmp_path):
        try:
            raise PermissionError(errno.EACCES, "Permission denied", "x")
        except OSError as error:
            raise RuntimeError("it failed") from error


def test_the_file_that_the_system_names_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"^part: cannot be written: Read-only"), writing(tmp_path):
        raise OSError(errno.EROFS, "Read-only file system", "part")


def test_torch_does_not_say_why(tmp_path: Path) -> None:
    """So the system is asked again, and here it refuses nothing."""
    with pytest.raises(WriteError, match=r"torch could not write all of it$"), writing(tmp_path):
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")
    assert not list(tmp_path.parent.glob("*.probe"))
    missing = tmp_path / "nowhere" / "file"
    with pytest.raises(WriteError, match=r"No such file or directory$"), writing(missing):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")


@pytest.mark.parametrize("error", [ZeroDivisionError("oh"), RuntimeError("a bug"), DataError("no")])
def test_other_errors_stay_what_they_are(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught, writing(tmp_path):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_what_is_half_written_goes(kind: str, tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    with pytest.raises(ZeroDivisionError), writing(tmp_path, partial):
        if kind == "folder":
            partial.mkdir()
            (partial / "file").write_text("half")
        elif kind == "file":
            partial.write_text("half")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
