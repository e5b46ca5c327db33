"""What the heads and the decoder must give, by enumeration: slow, short, and none of their code.

Axes: N context tokens of one window, T = 3 tags (O, B, I), P tag paths.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from spanqa.decoding import WindowScores
from spanqa.heads import SpanScores
from spanqa.windows import TokenizedText

O, B, I = range(3)  # noqa: E741 - the tags' own names


def tag_paths(length: int) -> Tensor:
    """(P, N): every sequence of tags; the first is all O."""
    paths = list(itertools.product((O, B, I), repeat=length))
    return torch.tensor(paths, dtype=torch.int64)


def span_path(length: int, first: int, last: int) -> list[int]:
    """The tags of a text whose only span is `first` .. `last`."""
    inside = [B] + [I] * (last - first)
    return [O] * first + inside + [O] * (length - last - 1)


def spans(length: int) -> list[tuple[int, int]]:
    """Every (first, last) with first <= last."""
    return list(itertools.combinations_with_replacement(range(length), 2))


def span_paths(length: int) -> Tensor:
    """(1 + spans, N): the path that is all O, then each path with one span, as in `spans`."""
    paths = [[O] * length, *(span_path(length, *span) for span in spans(length))]
    return torch.tensor(paths, dtype=torch.int64)


def path_scores(emissions: Tensor, transitions: Tensor, paths: Tensor) -> Tensor:
    """(P,) sum of emissions and transitions from a virtual O to a virtual O, less that of all O.

    Args:
        emissions: (N, T) of the context.
        transitions: (T, T), from row to column.
        paths: (P, N).
    """

    def total(tags: Tensor) -> Tensor:
        closed = pad(tags, (1, 1), value=O)
        at_tokens = emissions[torch.arange(len(emissions)), tags].sum(-1)
        return at_tokens + transitions[closed[:, :-1], closed[:, 1:]].sum(-1)

    return total(paths) - total(torch.full_like(paths[:1], O))


def chain_log_z(emissions: Tensor, transitions: Tensor) -> Tensor:
    """Scalar: log of the sum over all tag paths."""
    return path_scores(emissions, transitions, tag_paths(len(emissions))).logsumexp(0)


def single_span_log_z(emissions: Tensor, transitions: Tensor) -> Tensor:
    """Scalar: log of the sum over the paths with one span or none."""
    return path_scores(emissions, transitions, span_paths(len(emissions))).logsumexp(0)


@dataclass(frozen=True)
class Window:
    """What a head sees of one window."""

    logits: Tensor
    """(L, outputs)"""
    begin: int
    """Position of the first context token."""
    length: int
    """Context tokens."""
    transitions: Tensor
    """(T, T); not read by the heads that have no chain."""

    @property
    def context(self) -> Tensor:
        """(N, outputs)"""
        return self.logits[self.begin : self.begin + self.length]


def score(head: str, window: Window, first: int, last: int) -> Tensor:
    """Scalar: the unnormalised score of the span at positions first .. last, (0, 0) = no answer."""
    if head in ("softmax", "joint"):  # "no answer" is [CLS] to [CLS]
        return window.logits[first, 0] + window.logits[last, 1]
    if last == 0:
        return torch.zeros((), dtype=window.logits.dtype)
    tags = span_path(window.length, first - window.begin, last - window.begin)
    return path_scores(window.context, window.transitions, torch.tensor([tags]))[0]


def log_z(head: str, window: Window) -> Tensor:
    """Scalar: log of the head's own sum."""
    if head == "crf":
        return chain_log_z(window.context, window.transitions)
    if head == "span-crf":
        return single_span_log_z(window.context, window.transitions)
    tokens = range(window.begin, window.begin + window.length)
    if head == "softmax":
        choices = list(itertools.product([0, *tokens], repeat=2))
    else:
        choices = [(0, 0), *itertools.combinations_with_replacement(tokens, 2)]
    return torch.stack([score(head, window, *choice) for choice in choices]).logsumexp(0)


def loss(head: str, window: Window, first: int, last: int) -> Tensor:
    """Scalar: what one window adds to the loss."""
    if head != "softmax":
        return log_z(head, window) - score(head, window, first, last)
    allowed = torch.zeros(len(window.logits), 1, dtype=torch.bool)
    allowed[0] = allowed[window.begin : window.begin + window.length] = True
    masked = window.logits.masked_fill(~allowed, -torch.inf).T  # (2, L)
    return cross_entropy(masked, torch.tensor([first, last]))


def all_spans(scores: SpanScores, row: int) -> dict[tuple[int, int], float]:
    """Score of every span of one window, as `SpanScores` defines it."""
    start, end = scores.start[row].tolist(), scores.end[row].tolist()
    unit = float(scores.unit[row])
    return {(i, j): start[i] + end[j] + (i == j) * unit for i, j in spans(len(start))}


def question_odds(
    text: TokenizedText, windows: Sequence[WindowScores], longest: int
) -> dict[tuple[int, int], float]:
    """Best log-odds over the windows of every answer, by its characters [start, end).

    Of the token spans that have the same characters the widest one stands for them, where tokens
    without characters do not count.
    """
    starts, ends = text.starts.tolist(), text.ends.tolist()
    visible = [token for token in range(len(starts)) if ends[token] > starts[token]]
    widest: dict[tuple[int, int], tuple[int, int]] = {}
    for i, j in itertools.combinations_with_replacement(visible, 2):
        characters = starts[i], ends[j]
        if characters not in widest or j - i > widest[characters][1] - widest[characters][0]:
            widest[characters] = i, j
    best: dict[tuple[int, int], float] = {}
    for window in windows:
        for characters, (i, j) in widest.items():
            first, last = i - window.begin, j - window.begin
            if first >= 0 and last < len(window.start) and j - i < longest:
                odds = float(window.start[first]) + float(window.end[last]) - window.null
                odds += window.unit * (i == j)
                best[characters] = max(odds, best.get(characters, -math.inf))
    return best


def question_probabilities(
    odds: dict[tuple[int, int], float], temperature: float
) -> tuple[dict[tuple[int, int], float], float]:
    """Probability of every answer, and of no answer, whose log-odds are 0."""
    total = math.fsum([1.0, *(math.exp(value / temperature) for value in odds.values())])
    return {span: math.exp(value / temperature) / total for span, value in odds.items()}, 1 / total
