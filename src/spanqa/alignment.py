"""Alignment: whether an answer's text stands at its offset, and where it stands if not.

Offsets are characters; an answer is its text and the offset of its first character.
"""

from __future__ import annotations

import re

from spanqa.rows import printable, shown


def answer_fault(text: str, start: int, context: str) -> tuple[str, str] | None:
    """Kind and description of what is wrong with an answer; None where nothing is."""
    if not text:
        return "empty-answer", "an answer is an empty text; an unanswerable question has no answers"
    where = printable(str(start), 40)
    if start < 0 or start + len(text) > len(context):
        return (
            "outside",
            f"answer {shown(text)} at answer_start {where} is outside the context "
            f"of {len(context)} characters",
        )
    there = context[start : start + len(text)]
    if there != text:
        return (
            "misaligned",
            f"answer {shown(text)} is not at answer_start {where}, where {shown(there)} stands",
        )
    return None


def nearest(text: str, start: int, context: str) -> tuple[str, int] | None:
    """The answer moved to where its text stands nearest to `start`, as the context spells it.

    Case is put aside only where the text stands nowhere as it is; None where it stands nowhere.
    """
    if not text:
        return None
    for flags in (re.NOFLAG, re.IGNORECASE):
        # The look-ahead finds occurrences that overlap, too.
        found = re.finditer(f"(?=({re.escape(text)}))", context, flags)
        places = [(match[1], match.start()) for match in found]
        if places:
            return min(places, key=lambda place: abs(place[1] - start))
    return None
