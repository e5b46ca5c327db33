"""Examples: one question over one text, read from SQuAD-format data."""

from __future__ import annotations

from dataclasses import dataclass


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
    """Unit of splits and of resampling: the title, or a hash of the paragraph where articles are not known."""
    labelled: bool = True
    """False where the file had no `answers` for it, as in a test set."""
