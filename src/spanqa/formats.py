"""Formats: SQuAD files of every kind as flat rows, before anything in them is believed.

A reader yields a `Row` for each question and a `Problem` for each place where the structure is
wrong, so that loading can stop at the first and checking can list them all.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spanqa.errors import DataError
from spanqa.limits import MAX_ROW, read_whole
from spanqa.lines import Lines, Unreadable, not_utf8
from spanqa.parquet import first_line, parquet_rows, rows_of
from spanqa.rows import COLUMNS, Problem, Row, kind_of, malformed

# Names of datasets hold no colon and no bracket; only what follows a split's name may.
_HUB = re.compile(r"(?P<name>[^:\[\]]+)(:(?P<config>[^:\[\]]+))?:(?P<split>[^:\[\]]+(\[.*)?)")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}(\.0+)?")
_COLUMNS = ", ".join(COLUMNS[:5])
_HUB_BATCH = 256
"""Rows of a dataset that are turned into Python objects at once."""


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
        return _reading(source, reader(path))
    if reader is not None:
        raise DataError(f"{source}: no such file")
    if match := _HUB.fullmatch(source):
        return _reading(source, _hub_rows(source, **match.groupdict()))
    raise DataError(
        f"{source}: no such file; if it is a dataset, name its split, "
        f"as in {source}:train or {source}:train[:1000]"
    )


def _reading(source: str, rows: Iterator[Row | Problem]) -> Iterator[Row | Problem]:
    """The rows of a file up to the place where it cannot be read any further."""
    try:
        yield from rows
    except Unreadable as error:
        yield error.problem
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror})") from error


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


def _json_rows(path: Path) -> Iterator[Row | Problem]:
    """SQuAD 1.1 or 2.0, or a list of flat rows, bare or under `data`."""
    value = _whole(path)
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


def _whole(path: Path) -> Any:
    content = read_whole(path, advice="save one question to a line as .jsonl, which may be longer")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return not_utf8(content[error.start], content.count(b"\n", 0, error.start) + 1)
    del content
    return _parsed(text)


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


def _jsonl_rows(path: Path) -> Iterator[Row | Problem]:
    # No other line ends: JSON strings may hold U+2028 and the like.
    with Lines(path, newline="\n") as lines:
        for line in lines:
            lines.end_row()
            if not line.strip():
                continue
            place = f"line {lines.number}"
            value = _parsed(line.removesuffix("\n"), place)
            if isinstance(value, Problem):
                yield value
            elif isinstance(value, dict):
                yield Row(value, place)
            else:
                yield malformed(f"a line must be an object, not {kind_of(value)}", place)


def _csv_rows(path: Path) -> Iterator[Row | Problem]:
    # newline="" leaves line ends inside quoted contexts as they are, so offsets hold.
    with Lines(path, newline="") as lines:
        records = _csv_records(lines)
        while True:
            limit = csv.field_size_limit(MAX_ROW)  # the module's own is shorter than a context
            try:
                record = next(records, None)
            finally:
                csv.field_size_limit(limit)
            if record is None:
                return
            yield record


def _csv_records(lines: Lines) -> Iterator[Row | Problem]:
    reader = csv.DictReader(lines, strict=True)
    try:
        header = reader.fieldnames or ()
        lines.end_row()
        if missing := [name for name in ("context", "question") if header and name not in header]:
            yield malformed(f"has no column '{missing[0]}'; the columns are {_COLUMNS}")
            return
        for fields in reader:
            lines.end_row()
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


def _hub_rows(source: str, name: str, config: str | None, split: str) -> Iterator[Row | Problem]:
    import datasets

    try:
        dataset = datasets.load_dataset(str(Path(name).expanduser()), config, split=split)
    except Exception as error:  # network, hub, builders and parsers raise types of their own
        raise DataError(
            f"{source}: neither a file nor a dataset that can be loaded: {first_line(error)}"
        ) from error
    return rows_of(dataset.with_format("arrow").iter(batch_size=_HUB_BATCH))


_READERS: dict[str, Callable[[Path], Iterator[Row | Problem]]] = {
    ".json": _json_rows,
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
    ".csv": _csv_rows,
    ".parquet": parquet_rows,
}
