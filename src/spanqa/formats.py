"""Formats: SQuAD files of every kind as flat rows, before anything in them is believed.

A reader yields a `Row` for each question and a `Problem` for each place where the structure is
wrong, so that loading can stop at the first and checking can list them all.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from spanqa.errors import DataError
from spanqa.rows import Problem, Row, kind_of, malformed

# Names of datasets hold no colon and no bracket; only what follows a split's name may.
_HUB = re.compile(r"(?P<name>[^:\[\]]+)(:(?P<config>[^:\[\]]+))?:(?P<split>[^:\[\]]+(\[.*)?)")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}(\.0+)?")
_COLUMNS = "id, title, context, question, answers"


def read_rows(source: str) -> Iterator[Row | Problem]:
    """Rows of a file, or of a dataset written as `NAME:SPLIT` or `NAME:CONFIG:SPLIT`.

    Raises:
        DataError: there is no such file or dataset, or its kind is not known.
    """
    path = Path(source).expanduser()
    reader = _READERS.get(path.suffix.lower())
    if path.is_dir():
        raise DataError(
            f"{source}: is a folder; name a file in it, or a split of it as in {source}:train"
        )
    if path.exists():
        if reader is None:
            raise DataError(f"{source}: give a file that ends in {', '.join(_READERS)}")
        try:
            return reader(path.read_bytes())
        except OSError as error:
            raise DataError(f"{source}: cannot be read ({error.strerror})") from error
    if reader is not None:
        raise DataError(f"{source}: no such file")
    if match := _HUB.fullmatch(source):
        return _hub_rows(source, **match.groupdict())
    raise DataError(
        f"{source}: no such file; if it is a dataset, name its split, "
        f"as in {source}:train or {source}:train[:1000]"
    )


def _decoded(content: bytes) -> str | Problem:
    """Text of a UTF-8 file, a byte order mark left out."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        return malformed(f"byte 0x{byte:02x} is not UTF-8; save the file as UTF-8", f"line {line}")


def _parsed(text: str, place: str = "") -> Any:
    """The JSON value in `text`, or a `Problem` that says why there is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if not text.strip():
            return malformed("is empty", place)
        reason = error.msg.removesuffix(" at")
        spot = f"column {error.colno}" if place else f"line {error.lineno} column {error.colno}"
        cut = reason.startswith("Unterminated") or error.pos >= len(text.rstrip())
        hint = "; is it cut off?" if cut else ""
        if error.msg == "Extra data" and not place:
            hint = "; if each line is a question, name the file .jsonl"
        return malformed(f"is not valid JSON: {reason} at {spot}{hint}", place)
    except RecursionError:
        return malformed("is not SQuAD data: its JSON is nested too deeply", place)
    except ValueError:  # Python's limit on the digits of a whole number
        return malformed("is not SQuAD data: a number has thousands of digits", place)


def _json_rows(content: bytes) -> Iterator[Row | Problem]:
    """SQuAD 1.1 or 2.0, or a list of flat rows, bare or under `data`."""
    text = _decoded(content)
    value = text if isinstance(text, Problem) else _parsed(text)
    if isinstance(value, Problem):
        yield value
        return
    items, name = (value.get("data"), "data") if isinstance(value, dict) else (value, "")
    if not isinstance(items, list):
        yield malformed("is not in SQuAD format: it has no list of articles under 'data'")
        return
    for number, item in enumerate(items):
        place = f"{name}[{number}]"
        if isinstance(item, dict) and "paragraphs" not in item and "context" in item:
            yield Row(item, place)
        else:
            yield from _article_rows(item, place)


def _article_rows(article: object, place: str) -> Iterator[Row | Problem]:
    for paragraph, where in _members(article, "paragraphs", place):
        if isinstance(paragraph, Problem):
            yield paragraph
            continue
        shared = {"title": article.get("title")} if isinstance(article, dict) else {}
        if isinstance(paragraph, dict) and "context" in paragraph:
            shared["context"] = paragraph["context"]
        for question, there in _members(paragraph, "qas", where):
            if isinstance(question, Problem):
                yield question
            elif isinstance(question, dict):
                yield Row({**question, **shared}, there)
            else:
                yield malformed(f"a question must be an object, not {kind_of(question)}", there)


def _members(holder: object, key: str, place: str) -> Iterator[tuple[Any, str]]:
    """Members of the list `holder[key]` with their places, or the one problem with it."""
    if not isinstance(holder, dict):
        yield malformed(f"an object with '{key}' belongs here, not {kind_of(holder)}", place), place
    elif key not in holder:
        yield malformed(f"has no '{key}'", place), place
    elif not isinstance(holder[key], list):
        yield malformed(f"'{key}' must be a list, not {kind_of(holder[key])}", place), place
    else:
        for number, member in enumerate(holder[key]):
            yield member, f"{place}.{key}[{number}]"


def _jsonl_rows(content: bytes) -> Iterator[Row | Problem]:
    text = _decoded(content)
    if isinstance(text, Problem):
        yield text
        return
    # Not splitlines(): it also cuts at U+2028 and the like, which JSON strings may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        value = _parsed(line, place)
        if isinstance(value, Problem):
            yield value
        elif isinstance(value, dict):
            yield Row(value, place)
        else:
            yield malformed(f"a line must be an object, not {kind_of(value)}", place)


def _csv_rows(content: bytes) -> Iterator[Row | Problem]:
    text = _decoded(content)
    if isinstance(text, Problem):
        yield text
        return
    limit = csv.field_size_limit(2**31 - 1)  # contexts may be longer than the module's default
    try:
        # newline="" leaves line ends inside quoted contexts as they are, so offsets hold.
        rows = list(_csv_records(csv.DictReader(io.StringIO(text, newline=""), strict=True)))
    finally:
        csv.field_size_limit(limit)
    yield from rows


def _csv_records(reader: csv.DictReader[str]) -> Iterator[Row | Problem]:
    try:
        header = reader.fieldnames or ()
        if missing := [name for name in ("context", "question") if header and name not in header]:
            yield malformed(f"has no column '{missing[0]}'; the columns are {_COLUMNS}")
            return
        for fields in reader:
            place = f"line {reader.line_num}"
            if None in fields or None in fields.values():
                yield malformed(f"has not the {len(header)} fields of the header", place)
                continue
            record = _csv_record(fields, place)
            yield record if isinstance(record, Problem) else Row(record, place)
    except csv.Error as error:
        yield malformed(f"is not valid CSV: {error}", f"line {reader.reader.line_num}")


def _csv_record(fields: dict[str, str], place: str) -> dict[str, Any] | Problem:
    """A row of texts with `answers` and `is_impossible` as JSON would have them."""
    record: dict[str, Any] = dict(fields)
    flag = fields.get("is_impossible", "").strip().lower()
    record["is_impossible"] = {"": None, "true": True, "1": True, "false": False, "0": False}.get(
        flag, flag
    )
    if "answers" in fields:
        text = fields["answers"]
        record["answers"] = _parsed(text, place) if text.strip() else None
        if isinstance(record["answers"], Problem):
            return malformed(f"column 'answers' {record['answers'].message}", place)
    elif "answer_text" in fields:
        start: str | int = fields.get("answer_start", "").strip()
        if isinstance(start, str) and _WHOLE_NUMBER.fullmatch(start):
            start = int(start.partition(".")[0])  # pandas writes 12.0 where a column has gaps
        nothing = not fields["answer_text"] and start == ""
        record["answers"] = (
            [] if nothing else [{"text": fields["answer_text"], "answer_start": start}]
        )
    return record


def _parquet_rows(content: bytes) -> Iterator[Row | Problem]:
    import pyarrow
    import pyarrow.parquet

    if not content.endswith(b"PAR1"):
        yield malformed("is not a Parquet file, or is cut off")
        return
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    except (pyarrow.ArrowException, OSError) as error:
        yield malformed(f"cannot be read as Parquet: {_first_line(error)}")
        return
    yield from _numbered(table.to_pylist())


def _hub_rows(source: str, name: str, config: str | None, split: str) -> Iterator[Row | Problem]:
    import datasets

    try:
        dataset = datasets.load_dataset(str(Path(name).expanduser()), config, split=split)
    except Exception as error:  # network, hub, builders and parsers raise types of their own
        raise DataError(
            f"{source}: neither a file nor a dataset that can be loaded: {_first_line(error)}"
        ) from error
    batches = dataset.with_format("arrow").iter(batch_size=10_000)
    return _numbered(record for batch in batches for record in batch.to_pylist())


def _numbered(records: Iterable[dict[str, Any]]) -> Iterator[Row | Problem]:
    for number, record in enumerate(records):
        yield Row(record, f"row {number}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


_READERS: dict[str, Callable[[bytes], Iterator[Row | Problem]]] = {
    ".json": _json_rows,
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}
