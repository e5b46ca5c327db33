"""How figures are put into words and cells."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from spanqa.significance import PairedBootstrap
from spanqa.summary import Spread

DASH = "\N{EN DASH}"
"""Stands for a figure that there is none of."""


def signed(value: float, decimals: int = 2) -> str:
    """`+1.20`; what rounds to nothing is `+0.00`, never `-0.00`."""
    return f"{round(value, decimals) + 0.0:+.{decimals}f}"


def interval(difference: PairedBootstrap) -> str:
    """`+0.12 to +3.40`, or `DASH` without an interval."""
    if not (isfinite(difference.low) and isfinite(difference.high)):
        return DASH
    return f"{signed(difference.low)} to {signed(difference.high)}"


def p_value(p: float) -> str:
    """`0.012`, `< 0.001`, or `DASH` without a test."""
    if not isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_text(p: float) -> str:
    """`p = 0.012` or `p < 0.001`."""
    return f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"


def plain(value: Spread) -> str:
    """A mean without needless decimals."""
    return f"{value.mean:.2f}".rstrip("0").rstrip(".")


def ratio(value: Spread | None, base: Spread | None) -> float | None:
    """Mean over mean; None where either is missing or the base is 0."""
    return value.mean / base.mean if value and base and base.mean else None


def count(number: int, noun: str) -> str:
    """`1 article`, `1,204 articles`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def join(parts: Iterable[str]) -> str:
    """`a, b and c`; needs at least one."""
    *most, last = list(parts)
    return f"{', '.join(most)} and {last}" if most else last
