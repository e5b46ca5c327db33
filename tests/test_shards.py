"""Shards: how an input is cut, and how little of it is held."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any, cast

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanqa.errors import DataError
from spanqa.shards import Columns, Corpus, Limits, corpus_of, lines_of

LIMITS = Limits(question=100, text=1_000)


def corpus(source: Path | str, rows: int = 3, **columns: Any) -> Corpus:
    return corpus_of(str(source), Columns(**columns), LIMITS, rows)


def jsonl(path: Path, lines: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f'{{"n": {n}}}\n' for n in range(lines)))
    return path


def table(path: Path, rows: int, **more: Any) -> Path:
    columns = {"question": ["Who?"] * rows, "context": ["Ada."] * rows, **more}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=4)
    return path


def test_lines_are_cut_every_so_many(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", 7)
    found = corpus(path)
    assert found.kind == "jsonl"
    assert [(s.number, s.first, s.rows) for s in found.shards] == [(0, 1, 3), (1, 4, 3), (2, 7, 1)]
    content = path.read_bytes()
    starts = [content[shard.offset :].split(b"\n")[0] for shard in found.shards]
    assert starts == [b'{"n": 0}', b'{"n": 3}', b'{"n": 6}']
    assert {shard.file for shard in found.shards} == {"a.jsonl"}


def test_files_of_a_folder_follow_in_order_and_no_shard_spans_two(tmp_path: Path) -> None:
    jsonl(tmp_path / "in" / "b.ndjson", 4)
    jsonl(tmp_path / "in" / "a.jsonl", 2)
    (tmp_path / "in" / "_SUCCESS").write_text("")
    for source in (tmp_path / "in", f"{tmp_path}/in/*son*", f"{tmp_path}/i*/*"):
        found = corpus(source)
        assert [s.rows for s in found.shards] == [2, 3, 1]
        assert [Path(s.file).name for s in found.shards] == ["a.jsonl", "b.ndjson", "b.ndjson"]


def test_an_input_is_known_by_its_content_not_its_place(tmp_path: Path) -> None:
    first = corpus(jsonl(tmp_path / "one" / "a.jsonl", 5)).sha256
    second = jsonl(tmp_path / "two" / "a.jsonl", 5)
    assert corpus(second).sha256 == first
    assert corpus(second, rows=2).sha256 != first
    second.write_bytes(second.read_bytes().replace(b"4", b"9"))
    assert corpus(second).sha256 != first


def test_parquet_is_cut_by_rows(tmp_path: Path) -> None:
    found = corpus(table(tmp_path / "a.parquet", 10), rows=4)
    assert found.kind == "parquet"
    assert [(s.first, s.rows) for s in found.shards] == [(1, 4), (5, 4), (9, 2)]
    assert len({shard.sha256 for shard in found.shards}) == 3


def test_an_empty_file_has_no_shard(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    assert corpus(tmp_path / "a.jsonl").shards == ()


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        ({"question": "query"}, "query"),
        ({"context": "text"}, "text"),
        ({"id": "uid"}, "uid"),
        ({"keep": ("n", "lang")}, "lang"),
    ],
)
def test_parquet_must_have_the_columns(
    tmp_path: Path, columns: dict[str, Any], missing: str
) -> None:
    path = table(tmp_path / "a.parquet", 3, n=[1, 2, 3])
    with pytest.raises(DataError) as caught:
        corpus(path, **columns)
    assert str(caught.value) == (
        f"{path}: has no column '{missing}'; its columns are question, context, n"
    )


def test_what_cannot_be_an_input(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"there is no file there that ends in \.jsonl"):
        corpus(tmp_path)
    with pytest.raises(DataError, match=r"none\.jsonl: there is no file there"):
        corpus(tmp_path / "none.jsonl")
    jsonl(tmp_path / "a.jsonl", 1)
    table(tmp_path / "b.parquet", 1)
    with pytest.raises(DataError, match="holds Parquet and JSONL files"):
        corpus(tmp_path)
    (tmp_path / "b.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match=r"b\.parquet: cannot be read as Parquet"):
        corpus(tmp_path / "b.parquet")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 12))
def test_lines_are_all_there_and_none_is_too_long(content: bytes, longest: int) -> None:
    content = content.replace(b"\x01", b"\n")
    seen = bytearray()
    found = list(lines_of(io.BytesIO(content), longest, seen.extend))
    assert bytes(seen) == content
    expected = [line for line in io.BytesIO(content)]
    assert found == [line if len(line) <= longest else None for line in expected]


class Endless(io.RawIOBase):
    """A line of a gigabyte, of which nobody should hold much."""

    def __init__(self) -> None:
        self.left, self.most = 2**30, 0

    def readline(self, size: int | None = -1, /) -> bytes:
        assert size is not None and 0 < size <= 2**20 + 1
        given = min(size, self.left)
        self.left -= given
        return b"x" * given


def test_a_gigabyte_line_is_passed_over() -> None:
    file = Endless()
    assert list(lines_of(cast("IO[bytes]", file), 1000, lambda data: None)) == [None]
    assert file.left == 0
