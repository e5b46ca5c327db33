"""Records on disk: dataclasses as JSON, written whole or not at all, read with checked types."""

from __future__ import annotations

import json
import os
import reprlib
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from spanqa.errors import DataError
from spanqa.writing import writing

UNFINISHED = ".tmp"
"""End of the name of a file that `write_atomic` has not finished."""
T = TypeVar("T")


def write_atomic(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that a reader sees the old file or the new one, never a part.

    Raises:
        WriteError: it cannot be written; an old one is still there.
    """
    beside = path.with_name(path.name + UNFINISHED)
    with writing(path, beside):
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)


def dump(value: Any, indent: int | None = None) -> bytes:
    """JSON with a newline at its end; readable, and valid UTF-8 whatever the text."""
    try:
        return (json.dumps(value, ensure_ascii=False, indent=indent) + "\n").encode()
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8 form, but it has an escape
        return (json.dumps(value, indent=indent) + "\n").encode()


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; a DataError names it where that fails."""
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is damaged: not UTF-8 text at byte {error.start}") from error


def read_json(path: Path) -> Any:
    """The parsed content of a JSON file; a DataError names it where that fails."""
    return parse(read_text(path), str(path))


def parse(text: str, where: str) -> Any:
    """Parsed JSON; a DataError starts with `where` if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is damaged: not valid JSON ({error})") from error


def from_json(kind: type[T], value: Any, where: str) -> T:
    """Turn parsed JSON into `kind`: a dataclass of numbers, text, tuples, dicts and dataclasses.

    Unknown keys are ignored, so a newer version's files can be read.

    Raises:
        DataError: a key is missing or a value has the wrong type; the message starts with `where`.
    """
    made: Any = value
    if is_dataclass(kind):
        made = kind(**_arguments(kind, _expect(dict, value, where), where))
    elif NoneType in get_args(kind):  # X | None
        made = None if value is None else from_json(get_args(kind)[0], value, where)
    elif get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        items = enumerate(_expect(list, value, where))
        made = tuple(from_json(inner, item, f"{where}, [{i}]") for i, item in items)
    elif get_origin(kind) is dict:
        inner = get_args(kind)[1]
        pairs = _expect(dict, value, where).items()
        made = {key: from_json(inner, item, f"{where}, {key!r}") for key, item in pairs}
    elif kind is float:
        made = _float(_expect((int, float), value, where), where)
    elif kind is not Any:
        made = _expect(kind, value, where)
    return made  # type: ignore[no-any-return]


def _arguments(kind: Any, value: dict[str, Any], where: str) -> dict[str, Any]:
    hints = get_type_hints(kind)
    made = {}
    for spec in fields(kind):
        if spec.name in value:
            made[spec.name] = from_json(
                hints[spec.name], value[spec.name], f"{where}, {spec.name!r}"
            )
        elif spec.default is MISSING and spec.default_factory is MISSING:
            raise DataError(f"{where} is damaged: {spec.name!r} is missing")
    return made


def _float(value: int | float, where: str) -> float:
    try:
        return float(value)
    except OverflowError as error:  # JSON's integers have no largest one
        raise DataError(
            f"{where} is damaged: so large a number is none that can be used"
        ) from error


def _expect(kind: Any, value: Any, where: str) -> Any:
    # bool is an int to Python, and no number in a record is one.
    if not isinstance(value, kind) or isinstance(value, bool):
        names = {dict: "an object", list: "a list", str: "text", int: "a whole number"}
        raise DataError(
            f"{where} is damaged: {names.get(kind, 'a number')} is needed, "
            f"found {reprlib.repr(value):.60}"
        )
    return value
