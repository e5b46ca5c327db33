"""Exact match by kind of question: question word, answer length, context length, windows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import numpy as np
import numpy.typing as npt

from spanqa.run import Question
from spanqa.significance import PairedBootstrap, paired_bootstrap

PerQuestion = npt.NDArray[np.float64]
"""Shape (questions,), each 0 to 1."""

MIN_QUESTIONS = 30
"""A cell with fewer questions is shown, but no difference in it is tested."""
MIN_ARTICLES = 10
"""With fewer articles to resample, a bootstrap interval is too narrow to be believed."""
CELL_SAMPLES = 2_000
"""Bootstrap samples for a cell: there are many cells, and each needs an interval only."""

_WORDS = {
    "who": "who",
    "whom": "who",
    "whose": "who",
    "what": "what",
    "when": "when",
    "where": "where",
    "which": "which",
    "why": "why",
    "how": "how",
}
QUESTION_WORDS = ("who", "what", "when", "where", "which", "how", "how many", "why", "other")
ANSWER_LENGTHS = ("1 word", "2 words", "3-4 words", "5-8 words", "9 or more words", "no answer")
WINDOW_COUNTS = ("1 window", "2 windows", "3 or more windows")


@dataclass(frozen=True)
class HeadCell:
    """One head on one kind of question; percent."""

    head: str
    exact: float
    low: float
    """Wilson's 95 % interval, which takes questions as independent."""
    high: float
    lead: PairedBootstrap | None
    """This head minus the mean of the others, points; None where it was not tested."""


@dataclass(frozen=True)
class Cell:
    """One kind of question."""

    label: str
    questions: int
    heads: tuple[HeadCell, ...]


@dataclass(frozen=True)
class Breakdown:
    """One way of sorting the questions."""

    title: str
    note: str
    cells: tuple[Cell, ...]
    """Only kinds that occur."""


def question_word(question: str) -> str:
    """The first question word anywhere in `question`, one of `QUESTION_WORDS`."""
    words = re.findall(r"[a-z]+", question.lower())
    for word, after in pairwise([*words, ""]):
        if word == "how" and after in ("many", "much"):
            return "how many"
        if word in _WORDS:
            return _WORDS[word]
    return "other"


def answer_length(answers: Sequence[str]) -> str:
    """Words in the shortest reference answer, as one of `ANSWER_LENGTHS`."""
    if not answers:
        return ANSWER_LENGTHS[-1]
    words = min(len(answer.split()) for answer in answers)
    return ANSWER_LENGTHS[int(np.searchsorted([1, 2, 4, 8], words))]


def wilson(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval (1927) of a proportion `share` out of `count` > 0."""
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def breakdowns(
    questions: Sequence[Question], exact: Mapping[str, PerQuestion]
) -> tuple[Breakdown, ...]:
    """Sort the questions in four ways; `exact` holds each head's scores in the same order."""
    context_length, length_labels = _length_bins(questions)
    kinds: list[tuple[str, str, Sequence[str], Callable[[Question], str]]] = [
        (
            "Question word",
            "The first question word anywhere in the question; how many includes how much.",
            QUESTION_WORDS,
            lambda q: question_word(q.question),
        ),
        (
            "Answer length",
            "Words in the shortest reference answer.",
            ANSWER_LENGTHS,
            lambda q: answer_length(q.answers),
        ),
        ("Context length", "Words, cut at the quartiles.", length_labels, context_length),
        (
            "Windows",
            "Windows that the context was cut into for this question.",
            WINDOW_COUNTS,
            lambda q: WINDOW_COUNTS[min(max(q.windows, 1), 3) - 1],
        ),
    ]
    groups = np.array([question.article for question in questions])
    made = []
    for title, note, labels, kind in kinds:
        found = np.array([kind(question) for question in questions])
        cells = tuple(_cell(x, found == x, exact, groups) for x in labels if np.any(found == x))
        made.append(Breakdown(title, note, cells))
    return tuple(made)


def _cell(
    label: str,
    chosen: npt.NDArray[np.bool_],
    exact: Mapping[str, PerQuestion],
    groups: npt.NDArray[np.str_],
) -> Cell:
    inside = {head: scores[chosen] for head, scores in exact.items()}
    count = int(chosen.sum())
    tested = count >= MIN_QUESTIONS and len(set(groups[chosen].tolist())) >= MIN_ARTICLES
    heads = []
    for head, scores in inside.items():
        share = float(scores.mean())
        low, high = wilson(share, count)
        others = [other for name, other in inside.items() if name != head]
        lead = _lead(scores, others, groups[chosen]) if tested and others else None
        heads.append(HeadCell(head, 100 * share, 100 * low, 100 * high, lead))
    return Cell(label, count, tuple(heads))


def _lead(
    scores: PerQuestion, others: Sequence[PerQuestion], groups: npt.NDArray[np.str_]
) -> PairedBootstrap:
    rest = np.mean(others, axis=0)
    return paired_bootstrap(100 * scores, 100 * rest, groups.tolist(), samples=CELL_SAMPLES)


def _length_bins(questions: Sequence[Question]) -> tuple[Callable[[Question], str], list[str]]:
    """A function from a question to the label of its context's length, and all labels in order."""
    words = {context: len(context.split()) for context in {q.context for q in questions}}
    lengths = [words[question.context] for question in questions]
    quartiles = np.quantile(lengths, [0.25, 0.5, 0.75], method="lower")
    # A quartile at the longest length would leave nothing above it.
    edges = sorted({int(edge) for edge in quartiles if edge < max(lengths)})
    if not edges:
        labels = [f"{lengths[0]} words"]
    else:
        middle = [f"{low + 1}-{high} words" for low, high in pairwise(edges)]
        labels = [f"up to {edges[0]} words", *middle, f"more than {edges[-1]} words"]
    return lambda q: labels[int(np.searchsorted(edges, words[q.context]))], labels
