"""Predictions and null scores on disk, and whether they fit the questions.

Both are JSON objects keyed by question id, as the official SQuAD scripts read them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from spanqa.data import Example
from spanqa.errors import DataError
from spanqa.limits import read_whole
from spanqa.records import parse
from spanqa.rows import shown


def read_predictions(path: str | Path) -> dict[str, str]:
    """Read a predictions file: a JSON object of question id -> answer text.

    Raises:
        DataError: The file cannot be read, or holds something else.
    """
    content = _read_object(path, "question ids and answer texts")
    for id_, value in content.items():
        if not isinstance(value, str):
            raise DataError(
                f"{path}: the prediction of question {shown(id_)} is {_kind(value)}; give the "
                'answer as text, "" for no answer.'
            )
    return content


def read_na_probs(path: str | Path) -> dict[str, float]:
    """Read a file of null scores: a JSON object of question id -> number.

    Raises:
        DataError: The file cannot be read, or holds something else.
    """
    content = _read_object(path, "question ids and numbers")
    for id_, value in content.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        # Larger whole numbers have no exact double, and NaN cannot be put in order.
        if not number or value != value or (isinstance(value, int) and abs(value) > 2**53):
            raise DataError(
                f"{path}: the probability of no answer for question {shown(id_)} is "
                f"{'not a usable number' if number else _kind(value)}; give a number from 0 to 1."
            )
    return content


def _read_object(path: str | Path, expected: str) -> dict[str, Any]:
    try:
        text = read_whole(Path(path)).decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as such."
        ) from error
    if not text.strip():
        raise DataError(f"{path} is empty; it should hold a JSON object of {expected}.")
    content = parse(text, str(path))
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {_kind(content)}; expected an object of {expected}.")
    return content


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", type(None): "null"}
    return names.get(type(value), "true or false" if isinstance(value, bool) else "a number")


def named(ids: Collection[str]) -> str:
    """'3 questions ('a', 'b', ...)', the first few by name."""
    first = ", ".join(shown(id_) for id_ in list(ids)[:3])
    return f"{len(ids)} question{'s' * (len(ids) != 1)} ({first}{', ...' * (len(ids) > 3)})"


def check_labelled(examples: Sequence[Example]) -> None:
    """Raise DataError where there is no question, or one without reference answers."""
    if not examples:
        raise DataError("There is no question to score.")
    unlabelled = [example.id for example in examples if not example.labelled]
    if unlabelled:
        raise DataError(
            f"There are no reference answers for {named(unlabelled)}; score against a file that "
            "gives them."
        )


def check_missing(ids: Collection[str], given: Mapping[str, object], what: str) -> None:
    """Raise DataError where an id has nothing in `given`."""
    missing = [id_ for id_ in sorted(ids) if id_ not in given]
    if missing:
        raise DataError(f"There is no {what} for {named(missing)}; every question needs one.")


def check_foreign(ids: Collection[str], given: Mapping[str, object], what: str) -> None:
    """Raise DataError where `given` has something for an id that is not in `ids`."""
    foreign = [id_ for id_ in given if id_ not in ids]
    if foreign:
        raise DataError(
            f"There is a {what} for {named(foreign)} that the data does not have; use the file "
            "that belongs to this data."
        )


def check_probabilities(na_probs: Mapping[str, float]) -> None:
    """Raise DataError where a value is outside 0 to 1."""
    outside = [id_ for id_, value in na_probs.items() if not 0.0 <= value <= 1.0]
    if outside:
        raise DataError(
            f"The probability of no answer lies outside 0 to 1 for {named(outside)}; these look "
            "like scores before the sigmoid: convert them to probabilities."
        )
