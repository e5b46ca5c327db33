"""Rows: one question as a file has it, its fields taken out with a sentence where one is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spanqa.errors import DataError

COLUMNS = ("id", "title", "context", "question", "answers", "is_impossible")
"""Keys of a row that mean something; others are passed over."""


@dataclass(frozen=True, slots=True)
class Row:
    """One question as the file has it: SQuAD's keys, any values."""

    record: Mapping[str, Any]
    place: str
    """Where it stands, such as `line 3` or `data[0].paragraphs[2].qas[1]`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a file or with one of its questions."""

    kind: str
    """One of `spanqa.check.KINDS`."""
    id: str
    """Question id; empty where the problem lies outside a question."""
    message: str
    place: str = ""
    """Where in the file; empty for the whole file."""

    @property
    def sentence(self) -> str:
        """The message with the question id and the place before it."""
        place = f" ({self.place})" if self.place and self.id else self.place
        subject = f"question '{self.id}'{place}" if self.id else place
        return f"{subject}: {self.message}" if subject else self.message


def malformed(message: str, place: str = "", id: str = "") -> Problem:
    """A problem of structure or type: the row, or the file, cannot be understood."""
    return Problem("malformed", id, message, place)


def text_of(record: Mapping[str, Any], key: str) -> str:
    """The text under `key`; DataError where there is none."""
    if key not in record:
        raise DataError(f"has no '{key}'")
    if not isinstance(record[key], str):
        raise DataError(f"'{key}' must be a text, not {kind_of(record[key])}")
    return str(record[key])


def answers_of(answers: object) -> Iterator[tuple[str, int]]:
    """Text and start of each answer; DataError where one has none.

    Answers are listed one by one (SQuAD), column by column (hub), or a single one is not listed.
    """
    if isinstance(answers, dict) and isinstance(answers.get("text"), list):
        texts, starts = answers["text"], answers.get("answer_start")
        if not isinstance(starts, list) or len(starts) != len(texts):
            raise DataError("'answers' must have as many 'answer_start' as 'text'")
        answers = [
            {"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)
        ]
    elif isinstance(answers, dict):
        answers = [answers]
    if not isinstance(answers, list):
        raise DataError(f"'answers' must be a list, not {kind_of(answers)}")
    for answer in answers:
        if not isinstance(answer, dict):
            raise DataError(f"an answer must have 'text' and 'answer_start', not {kind_of(answer)}")
        text = text_of(answer, "text")
        if "answer_start" not in answer:
            raise DataError("an answer has no 'answer_start'")
        start = answer["answer_start"]
        if isinstance(start, bool) or not isinstance(start, int):
            raise DataError(f"'answer_start' must be a whole number, not {kind_of(start)}")
        yield text, start


def kind_of(value: object) -> str:
    """A JSON value's type in words, with the value where it is short."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"the text {shown(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return "so large a number" if abs(value) >= 1e15 else f"the number {value!r}"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return f"a {type(value).__name__}"  # Parquet has more kinds of values than JSON


def encodable(text: str) -> bool:
    """Whether UTF-8 can write a text: it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_words(error: Exception) -> str:
    """Type and text of an error that nobody here has foreseen, in one line."""
    return printable(f"{type(error).__name__}: {' '.join(str(error).split())}", 300)


def shown(text: str) -> str:
    """A text as messages quote it: escaped, and cut where it is long."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def printable(name: str, longest: int = 200) -> str:
    """A name or id as messages show it: on one line, unprintable characters escaped, cut."""
    cut = name if len(name) <= longest else name[: longest - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in cut
    )
