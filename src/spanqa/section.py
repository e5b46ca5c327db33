"""What the parts of a recipe share: values checked by type and range when a part is made.

The same checks and sentences serve Python, YAML and the command line.
"""

from __future__ import annotations

import difflib
import math
import reprlib
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from spanqa.errors import RecipeError
from spanqa.rows import encodable, printable


@dataclass(frozen=True)
class Section:
    """Base of a recipe's dataclasses: converts values to the fields' types, then calls `check`."""

    prefix: ClassVar[str] = ""
    """What precedes a field's name in its key, such as `training.`."""

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            value = _convert(self.prefix + name, getattr(self, name), hint)
            object.__setattr__(self, name, value)  # 6 and 6.0 are one recipe, a list is a tuple
        self.check()

    def check(self) -> None:
        """Raise RecipeError for a value out of range."""

    def require(self, name: str, holds: bool, demand: str) -> None:
        """Raise RecipeError unless `holds`: `training.epochs must be more than 0, got -1`."""
        if not holds:
            got = _show(getattr(self, name))
            raise RecipeError(f"{self.prefix}{name} must be {demand}, got {got}")

    def at_least(self, least: int, *names: str) -> None:
        """Require a lower bound of fields that may be None."""
        for name in names:
            value = getattr(self, name)
            self.require(name, value is None or value >= least, f"at least {least}")

    def positive(self, *names: str) -> None:
        """Require more than 0 of fields that may be None."""
        for name in names:
            value = getattr(self, name)
            self.require(name, value is None or value > 0, "more than 0")

    def named(self, *names: str) -> None:
        """Require some text of fields that may be None."""
        for name in names:
            value = getattr(self, name)
            self.require(name, value is None or bool(value.strip()), "a name or a path")


T = TypeVar("T", bound=Section)


def keys_of(section: type[Section]) -> list[str]:
    """All keys of a recipe, such as `heads` and `training.epochs`."""
    keys: list[str] = []
    for name, hint in _hints(section).items():
        keys += [name] if not _is_section(hint) else [f"{name}.{key}" for key in keys_of(hint)]
    return keys


def unknown_key(key: str, section: type[Section]) -> RecipeError:
    """The error for a key that is none of `keys_of(section)`, with the nearest that is."""
    parts = list(_hints(section))
    keys = keys_of(section)
    # A key at the wrong level, as `learning_rate` without its section, first.
    key = printable(key)
    near = [known for known in keys if known.rpartition(".")[2] == key.rpartition(".")[2]]
    near = near or difflib.get_close_matches(key, keys if "." in key else parts + keys, n=1)
    hint = f"did you mean {near[0]}?" if near else f"a recipe's parts are {', '.join(parts)}"
    return RecipeError(f"unknown key {key}; {hint}")


def build(section: type[T], values: object) -> T:
    """The dataclass of nested `values`; a key left out keeps its default.

    Raises:
        RecipeError: A key is unknown, or a value has the wrong type or is out of range.
    """
    _refuse_unknown(values, section, "", section)
    assert isinstance(values, Mapping)
    hints = _hints(section)
    return section(
        **{
            name: hints[name](**value) if _is_section(hints[name]) else value
            for name, value in values.items()
        }
    )


def _refuse_unknown(
    values: object, section: type[Section], prefix: str, top: type[Section]
) -> None:
    if not isinstance(values, Mapping):
        what = prefix.rstrip(".") or "a recipe"
        raise RecipeError(f"{what} must be keys with values, got {_show(values)}")
    hints = _hints(section)
    for name, value in values.items():
        if name not in hints:
            raise unknown_key(f"{prefix}{name}", top)
        if _is_section(hints[name]):
            _refuse_unknown(value, hints[name], f"{name}.", top)


def _is_section(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Section)


def _hints(section: type[Section]) -> dict[str, Any]:
    hints = get_type_hints(section)
    return {item.name: hints[item.name] for item in fields(section)}


def _convert(key: str, value: Any, hint: Any) -> Any:
    """`value` as the type `hint` of a field; RecipeError says what the key takes, and got."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):  # X | None
        return None if value is None else _convert(key, value, arguments[0])
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(key, item, arguments[0]) for item in value)
    if origin is Literal and isinstance(value, str) and value in arguments:
        return value
    if hint in (int, float):
        number = _number(value, hint)
        if number is not None:
            return number
    elif origin is None and isinstance(value, hint):
        if isinstance(value, str) and not encodable(value):
            raise RecipeError(f"{key} must be text that UTF-8 can write, got {_show(value)}")
        return value
    raise RecipeError(f"{key} must be {_expected(hint)}, got {_show(value)}")


def _number(value: object, kind: type[int] | type[float]) -> float | None:
    """None where it is not one. Text is read because YAML 1.1 takes 2e-5 for a string."""
    if isinstance(value, bool) or not isinstance(value, str | int | kind):
        return None
    try:
        number = kind(value)
        return number if math.isfinite(number) else None
    except (ValueError, OverflowError):  # no number, or a whole one that no float holds
        return None


def _expected(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if get_origin(hint) is tuple:
        return "a list"
    words = {int: "a whole number", float: "a number", str: "text"}
    return words.get(hint) or f"a {hint.__name__}"


def _show(value: object) -> str:
    if value is None:
        return "nothing"
    return reprlib.repr(list(value) if isinstance(value, tuple) else value)
