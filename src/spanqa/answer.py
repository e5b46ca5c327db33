"""Answer: what a Reader returns, and how answers and "no answer" are put in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from spanqa.abstention import Rule
from spanqa.decoding import Prediction

LEAST = 1e-300
"""A probability of "no answer" that is too small for a float counts as this."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `context[start:end] == text`."""

    text: str
    """"" = the text does not answer the question."""
    start: int
    """Character offset in the text; 0 for no answer."""
    end: int
    """Character offset behind the answer; 0 for no answer."""
    probability: float
    """Over all spans of the text, or of all texts asked together, and "no answer", at the
    checkpoint's temperature."""
    null_probability: float
    """That of "no answer"."""
    document: str = ""
    """Id of the text; "" for no answer, and where there was but one without an id."""
    window: tuple[int, int] = (0, 0)
    """Character offsets of the part of the text that was read when the answer was found."""


def rank(predictions: Sequence[tuple[str, Prediction]], rule: Rule) -> tuple[Answer, ...]:
    """The answers of several documents to one question, best first, "no answer" at its place.

    One choice is made between "no answer" and all spans of all documents. A document's
    probabilities are exp(odds / t) over 1 + their sum, so the odds of a span against "no answer"
    are its probability over the document's null probability, and "no answer" to all of them has

        1 / (1 + sum over documents of (1 / null probability - 1))

    Args:
        predictions: document ids and what was found there.
        rule: which spans are given as answers.
    """
    nulls = [max(prediction.null_probability, LEAST) for _, prediction in predictions]
    null = nulls[0] if len(nulls) == 1 else 1.0 / (1.0 + sum(1.0 / each - 1.0 for each in nulls))
    found = [
        (document, span._replace(probability=span.probability * (null / own)))
        for (document, prediction), own in zip(predictions, nulls, strict=True)
        for span in prediction.spans
    ]
    found.sort(key=lambda item: -item[1].odds)
    given = sum(1 for _ in takewhile(lambda item: rule.gives(item[1]), found))
    spans = [
        Answer(s.text, s.start, s.end, s.probability, null, document, s.window)
        for document, s in found
    ]
    return (*spans[:given], Answer("", 0, 0, null, null), *spans[given:])
