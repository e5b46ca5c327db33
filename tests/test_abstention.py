"""When answers are withheld: the threshold, and the promise of `min_precision`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from spanqa.abstention import (
    ALWAYS,
    AT_ZERO,
    DELTA,
    LEVELS,
    NEVER,
    Level,
    Rule,
    count_levels,
    rule_for,
)
from spanqa.decoding import Prediction, Span
from spanqa.errors import RecipeError


def prediction(odds: float, probability: float = 0.5) -> Prediction:
    span = Span("a", 0, 1, odds, probability, (0, 1))
    return Prediction("q", (span,), -odds, 1 - probability)


def test_the_answer_is_withheld_above_the_threshold_alone() -> None:
    given = [Rule(threshold).text(prediction(-1.5)) for threshold in (0.0, 1.4, 1.5, 9.0)]
    assert given == ["", "", "a", "a"]


def test_the_answer_is_withheld_below_the_probability_alone() -> None:
    texts = [Rule(9.0, least).text(prediction(0.0, 0.7)) for least in (0.0, 0.7, 0.71)]
    assert texts == ["a", "a", ""]


def test_named_rules() -> None:
    none = Prediction("q", (), math.inf, 1.0)
    for rule in (ALWAYS, AT_ZERO, NEVER):
        assert rule.text(none) == ""
    assert [rule.text(prediction(-8.0, 1e-9)) for rule in (ALWAYS, AT_ZERO, NEVER)] == ["a", "", ""]
    assert [rule.text(prediction(8.0, 1.0)) for rule in (ALWAYS, AT_ZERO, NEVER)] == ["a", "a", ""]


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_bound_is_clopper_and_pearsons(right: int, wrong: int) -> None:
    level = Level(0.5, right + wrong, right)
    if right + wrong == 0:
        assert level.precision == 0.0
        return
    test = binomtest(right, right + wrong, alternative="greater")
    interval = test.proportion_ci(confidence_level=1 - DELTA / len(LEVELS), method="exact")
    assert level.precision == pytest.approx(interval.low)


def test_levels_are_counted_from_each_probability_up() -> None:
    counts = {
        level.probability: level for level in count_levels([0.5, 0.5, 0.04, 0.995], [1, 0, 1, 1])
    }
    assert tuple(counts) == LEVELS
    assert (counts[0.05].given, counts[0.05].right) == (3, 2)
    assert (counts[0.5].given, counts[0.5].right) == (3, 2)
    assert (counts[0.55].given, counts[0.55].right) == (1, 1)
    assert (counts[0.99].given, counts[0.99].right) == (1, 1)


def test_a_higher_precision_answers_less() -> None:
    random = np.random.default_rng(1)
    chance = random.uniform(size=4000)
    levels = count_levels(chance, random.uniform(size=4000) < chance)
    least = [rule_for(wanted / 20, levels).min_probability for wanted in range(1, 20)]
    assert least == sorted(least)
    assert least[0] == LEVELS[0] < least[-1]
    assert rule_for(0.999, levels) == NEVER


def test_the_promise_is_kept() -> None:
    """Over many draws of calibration questions, precision is missed in at most DELTA of them.

    Answers are right as often as a probability says that is squared, so that probabilities promise
    too much, and the true precision at each level is known.
    """
    random = np.random.default_rng(2)
    wanted, missed, answered, draws = 0.7, 0, 0, 400
    true = {level: (1 - level**3) / 3 / (1 - level) for level in LEVELS}  # mean of p^2 above it
    for _ in range(draws):
        chance = random.uniform(size=500)
        rule = rule_for(wanted, count_levels(chance, random.uniform(size=500) < chance**2))
        answered += rule != NEVER
        missed += rule != NEVER and true[rule.min_probability] < wanted
    assert answered > 0.5 * draws
    assert missed <= DELTA * draws


@pytest.mark.parametrize("wanted", [0.0, 1.0, -1.0, 80.0, math.nan])
def test_a_precision_out_of_range_is_refused(wanted: float) -> None:
    with pytest.raises(RecipeError, match="min_precision must be between 0 and 1"):
        rule_for(wanted, ())


def test_without_counts_nothing_is_supported() -> None:
    assert rule_for(0.5, ()) == NEVER
