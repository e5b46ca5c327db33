"""Examples: one question over one text, made from a row, and what is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from spanqa.alignment import answer_fault, nearest
from spanqa.errors import DataError
from spanqa.rows import Problem, Row, answers_of, kind_of, malformed, printable, text_of


@dataclass(frozen=True, slots=True)
class Reference:
    """One annotator's answer."""

    text: str
    start: int
    """Character offset in the context."""

    @property
    def end(self) -> int:
        """Character offset behind the last character (half-open)."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Example:
    """One question over one text."""

    id: str
    question: str
    context: str
    answers: tuple[Reference, ...] = ()
    """Empty = the text does not answer the question."""
    title: str = ""
    article: str = ""
    """Unit of splits and of resampling.

    The title, or a hash of the paragraph where articles are not known.
    """
    labelled: bool = True
    """False where the file had no `answers` for it, as in a test set."""


def example_of(
    row: Row, number: int, known: dict[str, str]
) -> tuple[Example | None, tuple[Problem, ...]]:
    """The example in a row, or None and the first reason why there is none.

    Args:
        row: the question as its file has it.
        number: its number in the file.
        known: texts of the rows before; one that is there is used again, so that a text is kept
            once however many rows repeat it. Those of this row are added.
    """
    record, place = row.record, row.place

    def text(key: str) -> str:
        found = text_of(record, key)
        return known.setdefault(found, found)

    given = record.get("id")
    id = f"question-{number}" if given is None or given == "" else str(given)
    if isinstance(given, bool) or not isinstance(given, str | int | None):
        return None, (malformed(f"'id' must be a text, not {kind_of(given)}", place),)
    try:
        title = "" if record.get("title") is None else text("title")
        impossible = record.get("is_impossible")
        if not isinstance(impossible, bool | None):
            raise DataError(f"'is_impossible' must be true or false, not {kind_of(impossible)}")
        given = record.get("answers")
        pairs = () if given is None else answers_of(given)
        answers = tuple(Reference(known.setdefault(each, each), start) for each, start in pairs)
        context = text("context")
        example = Example(
            id=id,
            question=text("question"),
            context=context,
            answers=answers,
            title=title,
            article=article_of(title, context),
            labelled=given is not None or impossible is True,
        )
    except DataError as error:
        return None, (malformed(str(error), place, printable(id)),)
    return example, problems_of(example, impossible, place)


def article_of(title: str, context: str) -> str:
    """The title, or a hash of the context where the title tells no article apart."""
    if title and title != "_unknown_title":
        return title
    return hashlib.sha256(context.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _text_faults(example: Example) -> Iterator[tuple[str, str]]:
    named = {name: getattr(example, name) for name in ("id", "title", "question", "context")}
    named |= {f"answers[{n}]": answer.text for n, answer in enumerate(example.answers)}
    for name, text in named.items():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            code = f"U+{ord(text[error.start]):04X}"
            yield (
                "lone-surrogate",
                f"'{name}' has half a surrogate pair ({code}) at character {error.start}, "
                "which no encoding can write; replace it",
            )
    if not example.context.strip():
        yield "empty-context", "the context is empty"
    if not example.question.strip():
        yield "empty-question", "the question is empty"


def problems_of(
    example: Example, impossible: bool | None = None, place: str = ""
) -> tuple[Problem, ...]:
    """What is wrong with one example; `impossible` is its `is_impossible`, `place` where it is."""
    id = printable(example.id)
    found = [Problem(kind, id, message, place) for kind, message in _text_faults(example)]
    if example.labelled and impossible is not None and impossible == bool(example.answers):
        state = "has answers" if impossible else "has no answer"
        message = f"{state}, but 'is_impossible' is {str(impossible).lower()}"
        found.append(Problem("contradiction", id, message, place))
    if not impossible:  # the answers of an impossible question do not count
        faults = (
            answer_fault(answer.text, answer.start, example.context) for answer in example.answers
        )
        found += [Problem(kind, id, message, place) for kind, message in filter(None, faults)]
    return tuple(found)


def realigned(example: Example) -> Example | None:
    """The example with every answer where its text stands; None where one stands nowhere."""
    moved = [nearest(answer.text, answer.start, example.context) for answer in example.answers]
    answers = tuple(Reference(*place) for place in moved if place is not None)
    return replace(example, answers=answers) if len(answers) == len(moved) else None
