"""What every threshold on a null score would give: best thresholds, precision and recall.

As the official SQuAD 2.0 script finds them, in O(n log n). Sums run from left to right in the
script's own order: Python's `sum` rounds differently from 3.12 on, and the published figures come
from before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spanqa.errors import DataError
from spanqa.matching import QuestionScore
from spanqa.predictions import check_missing


@dataclass(frozen=True)
class BestThresholds:
    """What the best threshold would give. Fitted on the very questions it is measured on."""

    exact: float
    """Percent, with no answer given where the null score exceeds `exact_threshold`."""
    exact_threshold: float
    f1: float
    """Percent, with no answer given where the null score exceeds `f1_threshold`."""
    f1_threshold: float


@dataclass(frozen=True)
class AveragePrecision:
    """Areas under the precision-recall curves of answering, by rising null score; percent."""

    exact: float
    f1: float
    oracle: float
    """As if every answerable question that is answered were answered rightly."""


def left_to_right_sum(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Left-to-right sum in double precision, on every Python version."""
    return float(np.add.accumulate(np.asarray(values, dtype=np.float64))[-1])


def best_thresholds(
    scores: Sequence[QuestionScore], na_probs: Mapping[str, float], *, strict: bool = False
) -> BestThresholds:
    """Best exact match and F1 over all thresholds on the null score; O(n log n).

    As in the script: beginning with no answer anywhere, questions are answered by rising
    `na_probs` (equal ones in the mapping's order) and the first best point is taken. The script
    allows a point between questions of equal score and calls the starting point 0; `strict`
    allows only what a threshold can bring about, so that `evaluate` at the threshold gives the
    figure, for any kind of null score.

    Args:
        scores: Raw scores, as `question_scores` gives them.
        na_probs: Question id -> null score: probability or log-odds.
        strict: See above.

    Raises:
        DataError: There are no scores, or one has no null score.
    """
    if not scores:
        raise DataError("There is no scored question to fit a threshold on.")
    check_missing({score.id for score in scores}, na_probs, "null score")
    ordered, na = _by_null_score(scores, na_probs)
    allowed = _group_ends(na) if strict else np.arange(len(na))
    first = 0.0
    if strict and na[0] <= 0.0:  # 0 would let these questions through
        first = math.nextafter(float(na[0]), -math.inf)

    def sweep(gains: list[float]) -> tuple[float, float]:
        start = float(sum(not score.has_answer for score in ordered))
        points = np.add.accumulate(np.array([start, *gains]))[np.append(0, allowed + 1)]
        best = int(points.argmax())
        threshold = na_probs[ordered[allowed[best - 1]].id] if best else first
        return 100.0 * float(points[best]) / len(ordered), threshold

    losses = [-float(score.answered) for score in ordered]
    exact = [s.exact if s.has_answer else loss for s, loss in zip(ordered, losses, strict=True)]
    f1 = [s.f1 if s.has_answer else loss for s, loss in zip(ordered, losses, strict=True)]
    return BestThresholds(*sweep(exact), *sweep(f1))


def _by_null_score(
    scores: Sequence[QuestionScore], na_probs: Mapping[str, float]
) -> tuple[list[QuestionScore], NDArray[np.float64]]:
    """Scores by rising null score, and those null scores; ties stay in the mapping's order."""
    by_id = {score.id: score for score in scores}
    known = [(by_id[id_], value) for id_, value in na_probs.items() if id_ in by_id]
    na = np.array([value for _, value in known], dtype=np.float64)
    order = np.argsort(na, kind="stable")
    return [known[i][0] for i in order], na[order]


def _group_ends(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index of the last of each run of equal values."""
    return np.flatnonzero(np.append(values[1:] != values[:-1], True))


def average_precisions(
    scores: Sequence[QuestionScore], na_probs: Mapping[str, float]
) -> AveragePrecision:
    """Areas under the precision-recall curves; every score needs a null score."""
    ordered, na = _by_null_score(scores, na_probs)
    ends = _group_ends(na)
    answerable = sum(score.has_answer for score in scores)

    def average(right: list[float]) -> float:
        true_positives = np.add.accumulate(np.array(right))[ends]
        precision = true_positives / (ends + 1)
        recall = true_positives / answerable
        return 100.0 * left_to_right_sum(precision * np.diff(recall, prepend=0.0))

    return AveragePrecision(
        exact=average([score.exact if score.has_answer else 0.0 for score in ordered]),
        f1=average([score.f1 if score.has_answer else 0.0 for score in ordered]),
        oracle=average([float(score.has_answer) for score in ordered]),
    )
