"""Reliability figures against scikit-learn, and against sums written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from spanqa.reliability import (
    auroc,
    calibration_error,
    reliability,
    risk_coverage,
)

chances = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])
outcomes = st.lists(st.tuples(chances, st.booleans()), min_size=1, max_size=6)
many = st.lists(st.tuples(chances, st.booleans()), min_size=2, max_size=40)


@given(many)
def test_auroc_is_that_of_scikit_learn(pairs: list[tuple[float, bool]]) -> None:
    scores, positive = zip(*pairs, strict=True)
    if len(set(positive)) == 1:
        assert auroc(scores, positive) is None
    else:
        assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


@given(outcomes)
def test_the_risk_is_the_mean_over_all_orders_of_equal_chances(
    pairs: list[tuple[float, bool]],
) -> None:
    chance, right = zip(*pairs, strict=True)
    orders = [
        order
        for order in itertools.permutations(range(len(pairs)))
        if all(chance[a] >= chance[b] for a, b in itertools.pairwise(order))
    ]
    coverage, risk = risk_coverage(chance, right)
    assert coverage.tolist() == pytest.approx([k / len(pairs) for k in range(1, len(pairs) + 1)])
    for k, found in enumerate(risk, start=1):
        wrong = [sum(not right[i] for i in order[:k]) / k for order in orders]
        assert found == pytest.approx(math.fsum(wrong) / len(orders))


def test_calibration_error_by_hand() -> None:
    chance = [0.9, 0.8, 0.3, 0.2]
    right = [True, False, False, True]
    # Two bins of two: 0.25 against 0.5, and 0.85 against 0.5.
    assert calibration_error(chance, right, bins=2) == pytest.approx((0.25 + 0.35) / 2)
    assert calibration_error(chance, right, bins=1) == pytest.approx(0.05)


def test_calibrated_outcomes_have_a_small_error_and_shifted_ones_their_shift() -> None:
    random = np.random.default_rng(0)
    chance = random.uniform(0.2, 0.8, 40_000)
    right = random.uniform(size=40_000) < chance
    assert calibration_error(chance, right) < 0.01
    assert calibration_error(chance + 0.15, right) == pytest.approx(0.15, abs=0.01)


@given(many)
def test_brier_and_the_excess_area(pairs: list[tuple[float, bool]]) -> None:
    chance, right = zip(*pairs, strict=True)
    found = reliability(chance, right, [True] * len(pairs), chance, right)
    assert found.brier == pytest.approx(brier_score_loss(right, chance, pos_label=True))
    assert found.precision == pytest.approx(sum(right) / len(pairs))
    assert -1e-12 <= found.excess_aurc <= found.aurc + 1e-12


def test_a_perfect_order_has_no_excess_and_nothing_answered_no_precision() -> None:
    found = reliability([0.9, 0.8, 0.1], [1, 1, 0], [False] * 3, [-1, -2, 3], [1, 1, 0])
    assert (found.excess_aurc, found.answerability_auroc) == (0.0, 1.0)
    assert (found.answered, found.precision, found.questions) == (0.0, None, 3)
