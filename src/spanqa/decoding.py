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
from typing import NamedTuple

import numpy as np

from spanqa.collector import paused
from spanqa.windows import Floats, Ints, TokenizedText, Windows

BLOCK = 2**13
"""Tokens of a long text whose spans are scored together."""
LEAST = np.finfo(np.float32).min
"""Below every score there is, and above that of a span that may not be."""


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

    def odds(self, first: int, last: int) -> float:
        """Log-odds of a span of tokens of the whole text that lies in this window."""
        i, j = first - self.begin, last - self.begin
        unit = self.unit if i == j else 0.0
        return float(self.start[i] + self.end[j] + unit - self.null)


class Span(NamedTuple):
    """A candidate answer; `context[start:end] == text`. A tuple, as there are twenty a question."""

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


def best_spans(start: Floats, end: Floats, unit: Floats) -> tuple[Floats, Ints, Ints]:
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


def span_odds(
    text: TokenizedText,
    windows: Sequence[WindowScores],
    longest: int,
    begin: int = 0,
    end: int | None = None,
) -> Floats:
    """(N, K) log-odds of the spans of tokens i .. i + k; -inf where none may be.

    Args:
        text: all tokens.
        windows: scores of its windows, in any order.
        longest: K, tokens in the longest span.
        begin: first token at which a span starts,
        end: and behind the last; N rows in all.
    """
    tokens = len(text.ids)
    if not tokens:
        return np.empty((0, 1), np.float32)
    longest, end = min(longest, tokens), tokens if end is None else end
    seeing = [w for w in windows if w.begin < end and begin < w.begin + len(w.start)]
    bands = [_band(window, text.closed, longest, begin, end) for window in seeing]
    if len(bands) == 1 and len(bands[0]) == end - begin:  # most texts are one window
        return bands[0]
    odds = np.full((end - begin, longest), -np.inf, np.float32)
    for window, band in zip(seeing, bands, strict=True):
        first = max(0, window.begin - begin)
        seen = odds[first : first + len(band)]
        np.maximum(seen, band, out=seen)
    return odds


def _band(
    window: WindowScores, closed: tuple[Floats, Floats], longest: int, begin: int, end: int
) -> Floats:
    """(C, K) log-odds of the spans that a window sees, of those that start at begin .. end - 1."""
    first, last = max(begin, window.begin), min(end, window.begin + len(window.start))
    size = min(last + longest - 1, window.begin + len(window.start)) - first
    starts = slice(first - window.begin, last - window.begin)
    ends_at = slice(starts.start, starts.start + size)
    padded = np.empty(last - first + longest - 1, np.float32)
    padded[size:] = -np.inf
    np.add(window.end[ends_at], closed[1][first : first + size], out=padded[:size])
    # Row i is padded[i : i + K]; sliding_window_view would take longer than the sums.
    ends = np.ndarray((last - first, longest), np.float32, padded, strides=(4, 4))
    begins = window.start[starts] + closed[0][first:last]
    begins -= window.null
    band: Floats = begins[:, None] + ends
    if window.unit:
        band[:, 0] += window.unit
    return band


def log_partition(odds: Floats, temperature: float = 1.0) -> float:
    """Log of 1 + sum of exp(odds / temperature), the normaliser of one question."""
    top = float(odds.max(initial=0.0))
    shifted = odds - np.float32(top)
    if temperature != 1:
        shifted /= np.float32(temperature)
    total = float(np.exp(shifted, out=shifted).sum())
    return top / temperature + math.log(math.exp(-top / temperature) + total)


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
    first, last, odds, log_z = _best(text, windows, max_answer_length, n_best, temperature)
    scores = odds.astype(np.float64)
    starts, ends = text.starts[first].tolist(), text.ends[last].tolist()
    texts = [context[start:end] for start, end in zip(starts, ends, strict=True)]
    chances = np.exp(scores / temperature - log_z).tolist()
    seen = _windows_of(text, windows, first, last)
    spans = tuple(map(Span, texts, starts, ends, scores.tolist(), chances, seen))
    null_odds = -spans[0].odds if spans else math.inf
    return Prediction(id, spans, null_odds, math.exp(-log_z))


def _best(
    text: TokenizedText,
    windows: Sequence[WindowScores],
    longest: int,
    n_best: int,
    temperature: float,
) -> tuple[Ints, Ints, Floats, float]:
    """First and last tokens and odds of the n best spans, best first, and the log-partition.

    A long text is decoded a block of tokens at a time: its N x K odds are never held together.
    """
    if len(text.ids) <= BLOCK:
        odds = span_odds(text, windows, longest)
        return *_best_of(odds, n_best), log_partition(odds, temperature)
    parts, partitions = [], []
    for begin in range(0, len(text.ids), BLOCK):
        odds = span_odds(text, windows, longest, begin, min(begin + BLOCK, len(text.ids)))
        first, last, scores = _best_of(odds, n_best)
        parts.append((begin + first, begin + last, scores))
        partitions.append(log_partition(odds, temperature))
    first, last, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
    best = np.argsort(-scores, kind="stable")[:n_best]
    # Each is log(1 + its spans); together they are log(1 + all spans).
    top = max(partitions)
    ones = (len(partitions) - 1) * math.exp(-top)
    log_z = top + math.log(sum(math.exp(each - top) for each in partitions) - ones)
    return first[best], last[best], scores[best], log_z


def _best_of(odds: Floats, n_best: int) -> tuple[Ints, Ints, Floats]:
    """First and last tokens and odds of the n best of (N, K) spans, best first."""
    flat = odds.ravel()
    cells = _best_cells(flat, n_best)
    first = cells // odds.shape[1]
    return first, cells - first * (odds.shape[1] - 1), flat[cells]  # last: first + cell - first * K


def _best_cells(flat: Floats, n_best: int) -> Ints:
    """Where the n best finite values are, best first, the leftmost first among equals."""
    if n_best == 1 and flat.size:
        best = int(flat.argmax())
        return np.array([best] if np.isfinite(flat[best]) else [], np.int64)
    edge = LEAST
    if n_best < flat.size:  # a tie at the edge is settled below, not by the partition
        edge = max(edge, np.partition(flat, -n_best)[-n_best])
    cells = (flat >= edge).nonzero()[0]
    return cells[(-flat[cells]).argsort(kind="stable")][:n_best]


def _windows_of(
    text: TokenizedText, windows: Sequence[WindowScores], first: Ints, last: Ints
) -> list[tuple[int, int]]:
    """For each span of tokens first .. last, the characters of the window that gives its odds.

    Of equals the leftmost, and of those that begin together the longest.
    """

    def characters(window: WindowScores) -> tuple[int, int]:
        end = window.begin + len(window.start) - 1
        return int(text.starts[window.begin]), int(text.ends[end])

    if len(windows) == 1 and len(first):
        return [characters(windows[0])] * len(first)
    found = []
    for i, j in zip(first.tolist(), last.tolist(), strict=True):
        seeing = (w for w in windows if w.begin <= i and j < w.begin + len(w.start))
        found.append(characters(max(seeing, key=lambda w: (w.odds(i, j), -w.begin, len(w.start)))))
    return found


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

    def decoded(e: int) -> Prediction:
        begin = windows.first[e]
        return decode(
            windows.examples[e].id,
            windows.examples[e].context,
            windows.texts[e],
            scores[begin : begin + 1 if first_window_only else windows.first[e + 1]],
            max_answer_length=max_answer_length,
            n_best=n_best,
            temperature=temperature,
        )

    with paused():
        return [decoded(e) for e in range(len(windows.examples))]
