"""Scores of a question's windows -> exact n-best answers with character offsets; NumPy only.

Within a window a span's evidence is its score against "no answer in this window". A head's scores
are known only up to a constant per window, and this difference is what does not depend on it:

    odds(i, j) = start[i] + end[j] + (i == j) * unit - null

Windows that see the same span give it the best of their odds. The question is then one choice
between "no answer" (odds 0) and every span of the whole text of at most `max_answer_length` tokens:

    P(i, j) = exp(odds(i, j) / t) / (1 + sum over all spans of exp(odds / t))

with the temperature t fitted on a calibration split. All spans are scored at once, so the n-best
is exact, holds no span twice, and its probabilities are normalised over everything that could have
been returned. The null log-odds are 0 - max odds: above the null threshold the answer is "".

Axes: N tokens of the whole text, K = `max_answer_length` lengths of a span.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spanqa.windows import TokenizedText, Windows

Floats = NDArray[np.float32]
Tokens = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WindowScores:
    """`SpanScores` of one window, cut to its C context tokens."""

    begin: int
    """Token of the whole text at which the window's context begins."""
    start: Floats
    """(C,)"""
    end: Floats
    """(C,)"""
    unit: float
    null: float


@dataclass(frozen=True, slots=True)
class Span:
    """A candidate answer; `context[start:end] == text`."""

    text: str
    start: int
    end: int
    odds: float
    """Log-odds against "no answer", temperature 1."""
    probability: float
    window: tuple[int, int]
    """Character offsets of the window whose odds these are: what was read with the question."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the scores say of one question."""

    id: str
    spans: tuple[Span, ...]
    """Best first; empty where the text has no token to start at."""
    null_odds: float
    """Score of "no answer" minus that of the best span, temperature 1; inf without any span."""
    null_probability: float


def best_spans(start: Floats, end: Floats, unit: Floats) -> tuple[Floats, Tokens, Tokens]:
    """The highest-scoring span (i, j), i <= j, of each window by itself, of any length; O(L).

    What is left of an answer without its question's other windows, word edges and n-best: for the
    scores of a head that is used alone.

    Args:
        start: (B, L) as in `SpanScores`; -inf or a large negative number outside the context.
        end: (B, L), the same.
        unit: (B,), added where i = j.

    Returns:
        score (B,), first token (B,), last token (B,).
    """
    rows = np.arange(len(start)) * start.shape[-1]
    before = np.maximum.accumulate(start, axis=-1)  # (B, L): over i <= j
    best = start + unit[:, None]  # (B, L): by last token
    np.maximum(best[:, 1:], before[:, :-1], out=best[:, 1:])
    best += end
    last = best.argmax(-1)
    cell = rows + last
    longer = before.take(cell - 1)  # meaningless, and not asked, where the last token is 0
    single = (last == 0) | (start.take(cell) + unit >= longer)
    first = np.where(single, last, (start == longer[:, None]).argmax(-1))
    return best.take(cell), first, last


def span_odds(text: TokenizedText, windows: Sequence[WindowScores], longest: int) -> Floats:
    """(N, K) log-odds of the spans of tokens i .. i + k; -inf where none may be."""
    tokens = len(text.ids)
    if not tokens:
        return np.empty((0, 1), np.float32)
    longest = min(longest, tokens)
    odds = np.full((tokens, longest), -np.inf, np.float32)
    for window in windows:
        size = len(window.start)
        if not size:
            continue
        padded = np.full(size + longest - 1, -np.inf, np.float32)
        padded[:size] = window.end
        band = window.start[:, None] + np.lib.stride_tricks.sliding_window_view(padded, longest)
        band[:, 0] += window.unit
        band -= window.null
        seen = odds[window.begin : window.begin + size]
        np.maximum(seen, band, out=seen)
    may_start, may_end = text.edges()
    odds[~may_start] = -np.inf
    ends = np.zeros(tokens + longest - 1, bool)
    ends[:tokens] = may_end
    odds[~np.lib.stride_tricks.sliding_window_view(ends, longest)[:tokens]] = -np.inf
    return odds


def log_partition(odds: Floats, temperature: float = 1.0) -> float:
    """Log of 1 + sum of exp(odds / temperature), the normaliser of one question."""
    scaled = odds.ravel().astype(np.float64) / temperature
    top = max(0.0, float(scaled.max(initial=0.0)))
    return top + float(np.log(np.exp(-top) + np.exp(scaled - top).sum()))


def decode(
    id: str,
    context: str,
    text: TokenizedText,
    windows: Sequence[WindowScores],
    *,
    max_answer_length: int = 30,
    n_best: int = 20,
    temperature: float = 1.0,
) -> Prediction:
    """The exact n best spans of one question over all its windows.

    Args:
        id: question id, passed through.
        context: the whole text.
        text: its tokens.
        windows: scores of its windows, in any order.
        max_answer_length: tokens in the longest answer.
        n_best: number of spans wanted.
        temperature: divides the log-odds before they become probabilities; keeps the order.
    """
    odds = span_odds(text, windows, max_answer_length)
    log_z = log_partition(odds, temperature)
    flat = odds.ravel()
    cells = np.flatnonzero(np.isfinite(flat))
    if n_best < len(cells):  # a tie at the edge is settled below, not by the partition
        cells = cells[flat[cells] >= np.partition(flat[cells], -n_best)[-n_best]]
    top = cells[np.argsort(-flat[cells], kind="stable")][:n_best]
    spans = []
    for cell in top.tolist():
        first, more = divmod(cell, odds.shape[1])
        start, end = int(text.starts[first]), int(text.ends[first + more])
        score = float(flat[cell])
        chance = math.exp(score / temperature - log_z)
        seen = _window(text, windows, first, first + more)
        spans.append(Span(context[start:end], start, end, score, chance, seen))
    null_odds = -spans[0].odds if spans else math.inf
    return Prediction(id, tuple(spans), null_odds, math.exp(-log_z))


def _window(
    text: TokenizedText, windows: Sequence[WindowScores], first: int, last: int
) -> tuple[int, int]:
    """Character offsets of the window that gives the span of tokens first .. last its odds."""

    def odds(window: WindowScores) -> float:
        i, j = first - window.begin, last - window.begin
        unit = window.unit if i == j else 0.0
        return float(window.start[i] + window.end[j] + unit - window.null)

    seeing = [w for w in windows if w.begin <= first and last < w.begin + len(w.start)]
    best = max(seeing, key=odds) if len(seeing) > 1 else seeing[0]
    return int(text.starts[best.begin]), int(text.ends[best.begin + len(best.start) - 1])


def decode_all(
    windows: Windows,
    scores: Sequence[WindowScores],
    *,
    max_answer_length: int = 30,
    n_best: int = 20,
    temperature: float = 1.0,
    first_window_only: bool = False,
) -> list[Prediction]:
    """Decode every example of `windows` from the scores of its windows, in order.

    `first_window_only` reads what a system sees that cuts long texts off; for comparison only.
    """
    predictions = []
    for e, example in enumerate(windows.examples):
        begin = windows.first[e]
        end = begin + 1 if first_window_only else windows.first[e + 1]
        predictions.append(
            decode(
                example.id,
                example.context,
                windows.texts[e],
                scores[begin:end],
                max_answer_length=max_answer_length,
                n_best=n_best,
                temperature=temperature,
            )
        )
    return predictions
