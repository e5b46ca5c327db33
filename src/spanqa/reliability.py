"""How far probabilities can be trusted, measured on answered questions; NumPy and SciPy only.

Every question ends in an outcome, an answer or "no answer", with a probability, and the outcome is
right where it matches a reference exactly ("no answer": where there is none).

Guo et al. 2017 (calibration error); Brier 1950; Geifman and El-Yaniv 2017 (risk and coverage).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
BINS = 15
"""Bins of the calibration error, as Guo et al. took; each holds as many questions."""


@dataclass(frozen=True)
class Reliability:
    """Figures of one set of questions; rates run from 0 to 1."""

    questions: int
    calibration_error: float
    """Mean distance of probability and share of right outcomes, over `BINS` bins of equal size."""
    brier: float
    """Mean squared distance of a probability from 1 (right) or 0 (wrong)."""
    answerability_auroc: float | None
    """Chance that an answerable question has lower null log-odds than an unanswerable one; None
    where there is but one sort."""
    aurc: float
    """Area under the risk-coverage curve: share of wrong outcomes, averaged over all coverages."""
    excess_aurc: float
    """The same, above that of an order with every wrong outcome last."""
    answered: float
    """Share of the questions that were given an answer."""
    precision: float | None
    """Share of right ones among those; None where there are none."""


def reliability(
    probabilities: ArrayLike,
    right: ArrayLike,
    answered: ArrayLike,
    null_odds: ArrayLike,
    answerable: ArrayLike,
) -> Reliability:
    """All figures; every argument has one value a question, in the same order.

    Args:
        probabilities: of the outcome.
        right: whether it matches a reference.
        answered: whether it is an answer.
        null_odds: log-odds of "no answer" against the best span.
        answerable: whether there is a reference.
    """
    chance, good = _floats(probabilities), _floats(right)
    given = np.asarray(answered, bool)
    curve = risk_coverage(chance, good)[1]
    ideal = risk_coverage(good, good)[1]
    return Reliability(
        questions=len(good),
        calibration_error=calibration_error(chance, good),
        brier=float(np.mean((chance - good) ** 2)),
        answerability_auroc=auroc(-_floats(null_odds), answerable),
        aurc=float(curve.mean()),
        excess_aurc=float(curve.mean() - ideal.mean()),
        answered=float(given.mean()),
        precision=float(good[given].mean()) if given.any() else None,
    )


def calibration_error(probabilities: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error over bins of equal size, in the order of the probabilities.

    Bins of equal width, the older way, leave most of them nearly empty where a model is sure.
    """
    chance, good = _floats(probabilities), _floats(right)
    order = np.argsort(chance, kind="stable")
    parts = [part for part in np.array_split(order, bins) if part.size]
    gaps = [abs(float(chance[part].mean() - good[part].mean())) * part.size for part in parts]
    return sum(gaps) / len(good)


def auroc(scores: ArrayLike, positive: ArrayLike) -> float | None:
    """Chance that a positive scores higher than a negative, ties counting half."""
    is_positive = np.asarray(positive, bool)
    hits, misses = int(is_positive.sum()), int((~is_positive).sum())
    if not hits or not misses:
        return None
    ranks = rankdata(_floats(scores))
    return float((ranks[is_positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def risk_coverage(probabilities: ArrayLike, right: ArrayLike) -> tuple[Floats, Floats]:
    """(Q,) coverages 1/Q ... 1 and the share of wrong outcomes among the surest of each.

    Questions of one probability have no order among themselves: each counts with their mean.
    """
    chance, wrong = _floats(probabilities), 1.0 - _floats(right)
    order = np.argsort(-chance, kind="stable")
    _, place = np.unique(-chance[order], return_inverse=True)
    mean = np.bincount(place, wrong[order]) / np.bincount(place)
    kept = np.arange(1, len(order) + 1)
    return kept / len(order), np.cumsum(mean[place]) / kept


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, np.float64)
