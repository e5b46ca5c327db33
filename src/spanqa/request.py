"""What clients send and get: JSON read strictly, checked against the limits.

{"question": "Who?" | ["Who?", ...],
 "context": "a text" | ["a text", ...] | {"id": "a text", ...},
 "top_k": 1}
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from spanqa.answer import Answer
from spanqa.batcher import Answers, Job
from spanqa.settings import ServerSettings

MAX_ID_LENGTH = 200
"""Characters of a text's id, which every answer repeats."""
_KEYS = ("question", "context", "top_k")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Refusal(Exception):
    """A request that is answered with an error: its status and one sentence."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None):
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})


def read_job(body: bytes, limits: ServerSettings) -> Job:
    """The job in a request's body.

    Raises:
        Refusal: 400 if it is not JSON, 422 if it is not what is asked for or beyond a limit.
    """
    values = _parse(body)
    if not isinstance(values, dict):
        raise Refusal(422, f"the body must be an object, got {_kind(values)}")
    for key in values:
        if key not in _KEYS:
            known = ", ".join(_KEYS)
            raise Refusal(422, f"unknown key {_show(key)}; a request has {known}")
    for key in _KEYS[:2]:
        if key not in values:
            raise Refusal(422, f"{key} is missing")
    questions = _questions(values["question"], limits)
    texts = _texts(values["context"], limits)
    job = Job(questions, texts, _top_k(values.get("top_k", 1), limits))
    if job.characters > limits.max_reading:
        raise Refusal(
            422,
            f"the texts, counted once for every question, have {job.characters:,} characters; "
            f"the limit is {limits.max_reading:,} (max_reading)",
        )
    return job


def _parse(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise Refusal(400, f"the body is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise Refusal(400, "the body is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from error
    except ValueError as error:  # a number of thousands of digits
        raise Refusal(400, "the body holds a number that is too long") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise Refusal(400, f"the key {_show(key)} occurs twice")
        values[key] = value
    return values


def _no_constant(name: str) -> NoReturn:
    raise Refusal(400, f"the body is not JSON: it holds {name}")


def _questions(value: Any, limits: ServerSettings) -> tuple[str, ...]:
    if isinstance(value, dict):
        raise Refusal(422, "question must be text or a list of texts, got an object")
    several = value if isinstance(value, list) else [value]
    _count("question", len(several), limits.max_questions, "max_questions")
    return tuple(
        _text(each, name, limits.max_question_length, "max_question_length")
        for name, each in _named("question", value, several)
    )


def _texts(value: Any, limits: ServerSettings) -> dict[str, str]:
    if isinstance(value, dict):
        for id in value:
            if len(id) > MAX_ID_LENGTH:
                raise Refusal(422, f"the id {_show(id)} has more than {MAX_ID_LENGTH} characters")
            _require_unicode(id, f"the id {_show(id)}")
        texts = value
    elif isinstance(value, list):
        texts = {str(n): text for n, text in enumerate(value)}
    else:
        texts = {"": value}
    _count("context", len(texts), limits.max_texts, "max_texts")
    pairs = zip(texts, _named("context", value, list(texts.values())), strict=True)
    return {
        id: _text(each, name, limits.max_text_length, "max_text_length")
        for id, (name, each) in pairs
    }


def _named(key: str, value: Any, several: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Each value with what to call it in an error: `context`, `context[3]`, `context['id']`."""
    if isinstance(value, dict):
        for id, each in value.items():
            yield f"{key}[{_show(id)}]", each
    elif isinstance(value, list):
        for n, each in enumerate(several):
            yield f"{key}[{n}]", each
    else:
        yield key, value


def _count(key: str, count: int, limit: int, name: str) -> None:
    if not count:
        raise Refusal(422, f"{key} is empty")
    if count > limit:
        raise Refusal(422, f"{key} holds {count:,}; the limit is {limit:,} ({name})")


def _text(value: Any, what: str, limit: int, name: str) -> str:
    if not isinstance(value, str):
        raise Refusal(422, f"{what} must be text, got {_kind(value)}")
    if len(value) > limit:
        raise Refusal(422, f"{what} has {len(value):,} characters; the limit is {limit:,} ({name})")
    if not value.strip():
        raise Refusal(422, f"{what} is empty")
    _require_unicode(value, what)
    return value


def _require_unicode(text: str, what: str) -> None:
    if "\0" in text:
        raise Refusal(422, f"{what} holds a null character (U+0000), which no text has")
    if not text.isascii() and _SURROGATE.search(text):
        raise Refusal(422, f"{what} holds a lone surrogate, which is not valid Unicode")


def _top_k(value: Any, limits: ServerSettings) -> int:
    # To JSON Schema 3.0 is an integer, and NaN and infinities were refused before.
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0
    if not whole or not 1 <= value <= limits.max_top_k:
        got = _show(value) if isinstance(value, int | float) else _kind(value)
        raise Refusal(
            422, f"top_k must be a whole number from 1 to {limits.max_top_k} (max_top_k), got {got}"
        )
    return int(value)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "null" if value is None else kinds.get(type(value), "a number")


def _show(value: Any) -> str:
    """A short form that any encoding can write."""
    return reprlib.repr(value).encode("ascii", "backslashreplace").decode()


def results_of(job: Job, found: Answers) -> dict[str, Any]:
    """The body of the response to a job."""
    return {
        "results": [
            {"question": question, "answers": [_plain(answer) for answer in answers]}
            for question, answers in zip(job.questions, found, strict=True)
        ]
    }


def _plain(answer: Answer) -> dict[str, Any]:
    return {
        "text": answer.text,
        "start": answer.start,
        "end": answer.end,
        "probability": answer.probability,
        "null_probability": answer.null_probability,
        "document": answer.document,
        "window": list(answer.window),
    }
