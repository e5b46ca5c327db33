"""Rows of shards: every one in its place, with the reason where it cannot be asked."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanqa.asked import Asked, Rejected, rows_of
from spanqa.errors import DataError
from spanqa.shards import Columns, Limits, corpus_of

LIMITS = Limits(question=20, text=100)
PLAIN = Columns()
GOOD = {"id": "q", "question": "Who?", "context": "Ada did."}


def rows(
    path: Path, size: int = 1000, columns: Columns = PLAIN, limits: Limits = LIMITS
) -> list[Asked | Rejected]:
    shards = corpus_of(str(path), columns, limits, size).shards
    return [row for shard in shards for row in rows_of(shard, columns, limits)]


def lines(path: Path, *values: Any) -> Path:
    content = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in values]
    path.write_bytes(b"\n".join(content))
    return path


def test_rows_have_numbers_ids_and_what_is_kept(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {**GOOD, "lang": "en", "n": [1]},
        b"   ",
        {**GOOD, "id": 7},
        {**GOOD, "id": None, "lang": {"x": 1}},
    )
    found = rows(path, columns=Columns(keep=("lang",)))
    assert found == [
        Asked(1, "q", "Who?", "Ada did.", {"lang": "en"}),
        Asked(3, "7", "Who?", "Ada did.", {"lang": None}),
        Asked(4, "a.jsonl:4", "Who?", "Ada did.", {"lang": {"x": 1}}),
    ]


def test_columns_have_the_names_that_are_given(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"uid": "u", "q": "Who?", "text": "Ada."}, {"q": "Who?"})
    columns = Columns(question="q", context="text", id="uid")
    assert rows(path, columns=columns) == [
        Asked(1, "u", "Who?", "Ada.", {}),
        Rejected(2, "", "has no 'uid'"),
    ]


@pytest.mark.parametrize(
    ("line", "id", "reason"),
    [
        (b'{"id": "q"', "", "the line is not JSON: Expecting ',' delimiter at column 11"),
        (b'{"id": NaN}', "", "the line is not JSON that can be read: it holds NaN"),
        (
            b'{"n": 1e999}',
            "",
            "the line is not JSON that can be read: it holds the number 1e999, which is too large",
        ),
        (b'{"id": "\xff"}', "", "byte 0xff of the line is not UTF-8"),
        (b"[" * 100_000, "", None),
        (b'{"n": ' + b"1" * 5000 + b"}", "", None),
        (b"[1]", "", "a line must be an object, not a list"),
        ({**GOOD, "id": True}, "", "'id' must be a text, not true"),
        ({"id": "q", "context": "x"}, "q", "has no 'question'"),
        ({**GOOD, "question": None}, "q", "'question' must be a text, not null"),
        ({**GOOD, "context": 3}, "q", "'context' must be a text, not the number 3"),
        ({**GOOD, "question": " "}, "q", "'question' is empty"),
        ({**GOOD, "context": ""}, "q", "'context' is empty"),
        ({**GOOD, "question": "w" * 21}, "q", "'question' has 21 characters, more than 20"),
        ({**GOOD, "context": "w" * 101}, "q", "'context' has 101 characters, more than 100"),
        ({**GOOD, "context": "a\ud800"}, "q", "'context' has half a surrogate pair at character 1"),
        ({**GOOD, "id": "\udfff"}, "\\udfff", "'id' has half a surrogate pair at character 0"),
    ],
)
def test_a_bad_row_stays_alone(tmp_path: Path, line: Any, id: str, reason: str | None) -> None:
    found = rows(lines(tmp_path / "a.jsonl", GOOD, line, GOOD))
    first, bad, last = found
    assert isinstance(first, Asked) and isinstance(last, Asked) and last.row == 3
    assert isinstance(bad, Rejected) and (bad.row, bad.id) == (2, id)
    assert bad.reason == reason or (reason is None and bad.reason.startswith("the line is "))


def test_a_line_that_is_too_long(tmp_path: Path) -> None:
    limit = LIMITS.line
    path = lines(tmp_path / "a.jsonl", GOOD, {**GOOD, "x": "w" * limit}, GOOD)
    found = rows(path)
    assert found[1] == Rejected(2, "", f"the row has more than {limit:,} bytes")
    assert [row.row for row in found] == [1, 2, 3]


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), GOOD)
    assert [type(row) for row in rows(path, 1)] == [Asked, Asked]


PIECES = st.sampled_from(
    [b"\n", b"\r\n", b" ", b'{"question": "Who?", "context": "Ada."}', b"{", "é\u2028".encode()]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(PIECES, max_size=12), st.integers(1, 5))
def test_where_shards_end_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], size: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    path.write_bytes(b"".join(pieces))
    assert rows(path, size) == rows(path)


@pytest.mark.parametrize("size", [1, 2, 100])
def test_compressed_lines_are_the_same(tmp_path: Path, size: int) -> None:
    path = lines(tmp_path / "a.jsonl", GOOD, GOOD, b"{", GOOD)
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert rows(packed, size) == rows(path)


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", GOOD, GOOD)
    shard = corpus_of(str(path), PLAIN, LIMITS, 10).shards[0]
    lines(path, GOOD, {**GOOD, "context": "Bob did."})
    with pytest.raises(DataError, match=r"a\.jsonl: was changed while it was read"):
        list(rows_of(shard, PLAIN, LIMITS))


@pytest.mark.parametrize("size", [1, 3, 5, 100])
@pytest.mark.parametrize("group", [2, 70, 1000])
def test_parquet_rows(tmp_path: Path, size: int, group: int) -> None:
    count = 7 if size < 5 else 150
    columns = {
        "id": pyarrow.array([None if n == 2 else n for n in range(count)], pyarrow.int32()),
        "question": pyarrow.array([None if n == 1 else f"Who is {n}?" for n in range(count)]),
        "context": [f"Ada is {n}." for n in range(count)],
        "beside": list(range(count)),
    }
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=group)
    found = rows(path, size, Columns(keep=("beside",)))
    assert [row.row for row in found] == list(range(1, count + 1))
    assert found[1] == Rejected(2, "1", "'question' must be a text, not null")
    assert found[2] == Asked(3, "a.parquet:3", "Who is 2?", "Ada is 2.", {"beside": 2})
    assert found[-1] == Asked(
        count, str(count - 1), f"Who is {count - 1}?", f"Ada is {count - 1}.", {"beside": count - 1}
    )


def test_a_parquet_text_that_is_no_text(tmp_path: Path) -> None:
    texts = pyarrow.array([b"Ada.", b"\xff\xfe", b"Bob."]).cast(pyarrow.binary())
    columns = {"question": ["Who?"] * 3, "context": texts.view(pyarrow.string())}
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    found = rows(path)
    assert [type(row) for row in found] == [Asked, Rejected, Asked]
    assert found[1] == Rejected(2, "", "a text of the row is not UTF-8")


def test_a_parquet_file_that_got_shorter_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {"question": ["Who?"] * 3, "context": ["Ada."] * 3}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    shard = corpus_of(str(path), PLAIN, LIMITS, 10).shards[0]
    with pytest.raises(DataError, match="was changed"):
        list(rows_of(replace(shard, rows=4), PLAIN, LIMITS))
