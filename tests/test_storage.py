"""Storage: whole files or none, on disk and at other URLs, and errors that name the place."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from spanqa.errors import DataError
from spanqa.storage import Place


@pytest.fixture(params=["path", "file://", "memory://"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    memory = fsspec.filesystem("memory")
    urls = {
        "path": str(tmp_path / "a"),
        "file://": f"file://{tmp_path}/a",
        "memory://": "memory://a",
    }
    yield Place.of(urls[request.param])
    if memory.exists("/a"):
        memory.rm("/a", recursive=True)


def test_what_is_written_is_read(folder: Place) -> None:
    folder.make_folder()
    place = folder / "x.json"
    assert not place.exists()
    place.write(b"one")
    place.write(b"another")
    assert place.exists() and place.read() == b"another"
    assert [each.name for each in folder.files()] == ["x.json"]
    assert place.files() == [place]


def test_a_file_appears_whole_or_not_at_all(folder: Place) -> None:
    folder.make_folder()
    place = folder / "x.json"
    place.write(b"old")
    with pytest.raises(KeyboardInterrupt), place.writing() as file:
        file.write(b"half of the new")
        assert place.read() == b"old"
        raise KeyboardInterrupt
    assert place.read() == b"old"
    assert [each.name for each in folder.files()] == ["x.json"]


def test_what_a_killed_process_leaves_is_removed(folder: Place) -> None:
    folder.make_folder()
    (folder / "x.json").write(b"whole")
    writing = (folder / "y.json").writing()
    writing.__enter__().write(b"part")
    assert len(folder.files()) >= 1
    (folder / f"z.{'0' * 32}.unfinished.txt").write(b"not ours")
    folder.started().remove_unfinished()
    folder.remove_unfinished(everybodys=True)
    assert [each.name for each in folder.files()] == ["x.json", f"z.{'0' * 32}.unfinished.txt"]
    with pytest.raises(DataError):
        writing.__exit__(None, None, None)


def test_a_relative_path_is_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Place.of("a/b.jsonl").url == f"file://{tmp_path}/a/b.jsonl"
    assert str(Place.of("a/b.jsonl")) == f"{tmp_path}/a/b.jsonl"


def test_patterns_and_folders_list_files_in_order(tmp_path: Path) -> None:
    for name in ("b/2.jsonl", "a/1.jsonl", "a/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [p.name for p in Place.of(str(tmp_path)).files()] == ["1.jsonl", "x.txt", "2.jsonl"]
    found = Place.of(f"{tmp_path}/*/*.jsonl").files()
    assert [p.name for p in found] == ["1.jsonl", "2.jsonl"]
    assert Place.of(f"{tmp_path}/none").files() == []


@pytest.mark.parametrize(
    ("name", "suffix", "compression"),
    [
        ("a.jsonl", ".jsonl", None),
        ("a.JSONL.GZ", ".jsonl", "gzip"),
        ("a.b.parquet", ".parquet", None),
        ("a.gz", "", "gzip"),
    ],
)
def test_suffixes(name: str, suffix: str, compression: str | None) -> None:
    place = Place(f"file:///x/{name}")
    assert (place.suffix, place.compression) == (suffix, compression)


def test_errors_name_the_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.jsonl: no such file$"):
        Place.of(str(tmp_path / "x.jsonl")).read()
    with pytest.raises(DataError, match=r"^nope://x: cannot be opened"):
        Place.of("nope://x")
    with pytest.raises(DataError, match=r"y\.json: "):
        Place.of(str(tmp_path / "none" / "y.json")).write(b"")
    content = gzip.compress(b"a line\n" * 1000)
    (tmp_path / "cut.gz").write_bytes(content[:-12])
    with pytest.raises(DataError, match=r"cut\.gz: is cut off"):
        Place.of(str(tmp_path / "cut.gz")).read()
    (tmp_path / "bad.gz").write_bytes(b"not gzip at all")
    with pytest.raises(DataError, match=r"bad\.gz: cannot be read"):
        Place.of(str(tmp_path / "bad.gz")).read()
    (tmp_path / "bad.xz").write_bytes(lzma.compress(b"a line\n" * 1000)[:40] + b"x" * 40)
    with pytest.raises(DataError, match=r"bad\.xz: is "):
        Place.of(str(tmp_path / "bad.xz")).read()


class Failing(MemoryFileSystem):  # type: ignore[misc]
    """A storage with errors of its own kind, which know nothing of files."""

    protocol = "failing"
    at = ""

    def _fail(self, at: str) -> None:
        if self.at == at:
            raise LookupError("403\nAccess denied")

    def isfile(self, path: str) -> bool:
        self._fail("list")
        return bool(super().isfile(path))

    def exists(self, path: str, **_: object) -> bool:
        self._fail("exists")
        return bool(super().exists(path))

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        self._fail(f"open {mode}")
        file = super().open(path, mode, **kwargs)
        if self.at in ("read", "write", "close"):
            setattr(file, self.at, lambda *_: self._fail(self.at))
        return file

    def mv(self, *paths: str, **_: object) -> None:
        self._fail("mv")
        super().mv(*paths)


@pytest.mark.parametrize(
    "at, verb",
    [
        ("list", "read"), ("exists", "read"), ("open rb", "read"), ("read", "read"),
        ("open wb", "written"), ("write", "written"), ("close", "written"), ("mv", "written"),
    ],
)  # fmt: skip
def test_errors_of_any_kind_name_the_url(
    at: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.register_implementation("failing", Failing, clobber=True)
    place = Place.of("failing://a/x.json")
    place.write(b"{}")
    monkeypatch.setattr(Failing, "at", at)
    calls: dict[str, Callable[[], object]] = {"list": place.files, "exists": place.exists}
    calls |= {"open rb": place.read, "read": place.read}
    with pytest.raises(DataError) as caught:
        calls.get(at, lambda: place.write(b"x"))()
    said = f"failing://a/x.json: cannot be {verb}: LookupError: 403 Access denied"
    assert str(caught.value).replace(":///", "://") == said


def test_errors_of_whoever_uses_a_file_are_their_own(tmp_path: Path) -> None:
    place = Place.of(str(tmp_path / "x"))
    with pytest.raises(LookupError, match=r"^mine$"), place.writing():
        raise LookupError("mine")
    place.write(b"x")
    with pytest.raises(LookupError, match=r"^mine$"), place.reading():
        raise LookupError("mine")
    assert [each.name for each in Place.of(str(tmp_path)).files()] == ["x"]
