"""Is one system better than another on the same questions, or is it chance?

Everywhere `a` is the system in question and `b` the one it is held against: differences are a - b,
and a question is gained where `a` is right and `b` is wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spanqa.errors import DataError, RecipeError

_CHUNK = 4_000_000
"""Random numbers held at a time."""


@dataclass(frozen=True)
class PairedBootstrap:
    """Difference of two systems' mean scores; in the unit of the scores."""

    difference: float
    """Mean of a - mean of b."""
    low: float
    """Lower end of the percentile interval."""
    high: float
    """Upper end of the percentile interval."""
    p_value: float
    """Two-sided, against no difference."""
    samples: int
    """Resamples drawn."""
    groups: int
    """Groups that were resampled."""
    confidence: float
    """Coverage of the interval."""
    seed: int


@dataclass(frozen=True)
class McNemar:
    """Two systems' right and wrong answers, crossed."""

    only_a: int
    """Questions that only a answers rightly."""
    only_b: int
    """Questions that only b answers rightly."""
    both: int
    neither: int
    p_value: float
    """Exact, two-sided, against both being equally often right."""


@dataclass(frozen=True)
class Flips:
    """Ids of the questions that two systems disagree on, in the given order."""

    gained: tuple[str, ...]
    """Right in a, wrong in b."""
    lost: tuple[str, ...]
    """Wrong in a, right in b."""


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    groups: Sequence[Hashable],
    *,
    samples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> PairedBootstrap:
    """Bootstrap the difference of means, resampling whole groups.

    Questions on one article are alike, so articles are drawn with replacement, not questions; the
    difference in a resample is the sum over its questions divided by their number. The interval
    is the percentile interval. The p-value is the share of resamples, shifted to a mean of no
    difference, that lie as far from it as what was observed (Davison and Hinkley 1997, section
    4.4), the observation itself counted: (1 + hits) / (1 + samples).

    Args:
        a: Per-question scores of the system in question, shape (questions,).
        b: Per-question scores of the other, shape (questions,).
        groups: Each question's group, such as its article.
        samples: Resamples.
        seed: Of the resampling; equal arguments give equal results.
        confidence: Coverage of the interval, between 0 and 1.

    Raises:
        DataError: The lengths differ, or there are fewer than two groups.
        RecipeError: `samples` or `confidence` is out of range.
    """
    first, second = _paired(a, b)
    if len(groups) != len(first):
        raise DataError(f"There are {len(first)} scores but {len(groups)} groups; give one each.")
    if samples < 1:
        raise RecipeError(f"samples must be at least 1, got {samples}.")
    if not 0.0 < confidence < 1.0:
        raise RecipeError(f"confidence must lie between 0 and 1, got {confidence}.")
    numbers: dict[Hashable, int] = {}
    member = np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.intp)
    if len(numbers) < 2:
        raise DataError("Resampling needs at least two groups (articles); there is only one.")

    sizes = np.bincount(member)  # (groups,)
    sums = np.zeros(len(sizes))  # (groups,)
    np.add.at(sums, member, first - second)
    difference = float(sums.sum() / sizes.sum())
    resampled = _resampled_ratios(sums, sizes, samples, np.random.default_rng(seed))
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    # Sums in another order differ in the last digits; a tie still counts as a hit.
    slack = 1e-9 * float(np.abs(first - second).max())
    hits = int(np.count_nonzero(np.abs(resampled - difference) >= abs(difference) - slack))
    return PairedBootstrap(
        difference=difference,
        low=float(low),
        high=float(high),
        p_value=(1 + hits) / (1 + samples),
        samples=samples,
        groups=len(numbers),
        confidence=confidence,
        seed=seed,
    )


def _resampled_ratios(
    sums: NDArray[np.float64], sizes: NDArray[np.intp], samples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Sum over size of each resample of the groups, shape (samples,)."""
    ratios = np.empty(samples)
    rows = max(1, _CHUNK // len(sums))
    for begin in range(0, samples, rows):
        shape = (min(rows, samples - begin), len(sums))
        drawn = rng.integers(len(sums), size=shape, dtype=np.int32)  # (rows, groups)
        ratios[begin : begin + rows] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return ratios


def mcnemar(a_correct: ArrayLike, b_correct: ArrayLike) -> McNemar:
    """McNemar's test of two systems' right answers, exact (McNemar 1947; binomial form).

    Args:
        a_correct: Whether each question is right in a: booleans, or 1 and 0; shape (questions,).
        b_correct: The same for b.

    Raises:
        DataError: The lengths differ, or a value is neither 0 nor 1.
    """
    first, second = _right_or_wrong(a_correct, b_correct)
    only_a = int(np.count_nonzero(first & ~second))
    only_b = int(np.count_nonzero(second & ~first))
    return McNemar(
        only_a=only_a,
        only_b=only_b,
        both=int(np.count_nonzero(first & second)),
        neither=int(np.count_nonzero(~first & ~second)),
        p_value=_fair_coin_p_value(min(only_a, only_b), only_a + only_b),
    )


def _fair_coin_p_value(fewer: int, tosses: int) -> float:
    """Two-sided p-value of the rarer side's count, in whole numbers and so without rounding."""
    term = total = 1
    for i in range(fewer):
        term = term * (tosses - i) // (i + 1)  # binomial coefficient
        total += term
    return min(1.0, 2 * total / (1 << tosses))


def flips(ids: Sequence[str], a: ArrayLike, b: ArrayLike) -> Flips:
    """Questions right in one system and wrong in the other.

    Args:
        ids: Question ids.
        a: Whether each question is right in a: booleans, or 1 and 0; shape (questions,).
        b: The same for b.

    Raises:
        DataError: The lengths differ, or a value is neither 0 nor 1.
    """
    first, second = _right_or_wrong(a, b)
    if len(ids) != len(first):
        raise DataError(f"There are {len(first)} scores but {len(ids)} ids; give one each.")
    return Flips(
        gained=tuple(itertools.compress(ids, first & ~second)),
        lost=tuple(itertools.compress(ids, second & ~first)),
    )


def _paired(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(
            "Two systems are compared on the same questions: expected two lists of equal length, "
            f"got shapes {first.shape} and {second.shape}."
        )
    return first, second


def _right_or_wrong(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first, second = _paired(a, b)
    for scores in (first, second):
        if not np.isin(scores, (0.0, 1.0)).all():
            raise DataError("Right and wrong answers are counted: expected 1 or 0 per question.")
    return first == 1.0, second == 1.0
