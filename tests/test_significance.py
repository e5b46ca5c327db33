"""Significance against enumeration and against SciPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from spanqa.errors import DataError, RecipeError
from spanqa.significance import PairedBootstrap, flips, mcnemar, paired_bootstrap


def enumerated(differences: list[list[float]]) -> npt.NDArray[np.float64]:
    """The difference in every equally likely resample of the groups."""
    resamples = itertools.product(differences, repeat=len(differences))
    return np.array([np.mean(list(itertools.chain(*resample))) for resample in resamples])


def compared(differences: list[list[float]], samples: int, confidence: float) -> PairedBootstrap:
    flat = list(itertools.chain(*differences))
    groups = [i for i, group in enumerate(differences) for _ in group]
    zeros = np.zeros(len(flat))
    return paired_bootstrap(flat, zeros, groups, samples=samples, confidence=confidence)


@pytest.mark.parametrize(
    "differences",
    [
        [[1.0], [0.0, 0.0, 1.0], [-1.0, 1.0]],
        [[0.5, 0.25], [1.0, 1.0, 1.0, 0.0], [0.75]],
        [[1.0], [1.0], [-1.0], [0.0]],
    ],
)
def test_bootstrap_by_group_converges_on_all_resamples_enumerated(
    differences: list[list[float]],
) -> None:
    every = enumerated(differences)
    observed = np.mean(list(itertools.chain(*differences)))
    exact_p = np.mean(np.abs(every - observed) >= abs(observed) - 1e-12)
    result = compared(differences, samples=40_000, confidence=0.8)
    assert result.difference == pytest.approx(observed)
    assert result.p_value == pytest.approx(exact_p, abs=0.012)
    # On a distribution of few points a quantile may fall on either side of a step.
    for end, level in ((result.low, 0.1), (result.high, 0.9)):
        around = np.quantile(every, [level - 0.01, level + 0.01], method="inverted_cdf")
        assert around[0] - 1e-12 <= end <= around[1] + 1e-12


def test_one_question_per_group_agrees_with_scipy() -> None:
    rng = np.random.default_rng(7)
    a = rng.integers(0, 2, 300).astype(float)
    b = np.where(rng.random(300) < 0.2, 1 - a, a)
    result = paired_bootstrap(a, b, range(300), samples=20_000, seed=3)
    other = scipy.stats.bootstrap(
        (a, b),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        random_state=np.random.default_rng(4),
    )
    step = 1 / 300  # the difference moves in steps of one question
    assert result.low == pytest.approx(other.confidence_interval.low, abs=1.5 * step)
    assert result.high == pytest.approx(other.confidence_interval.high, abs=1.5 * step)
    shifted = np.abs(other.bootstrap_distribution - result.difference)
    expected = np.mean(shifted >= abs(result.difference) - 1e-12)
    assert result.p_value == pytest.approx(expected, abs=0.02)


def test_many_small_groups_agree_with_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    difference = rng.normal(0.08, 1.0, 800)
    result = paired_bootstrap(difference, np.zeros(800), range(800), samples=4_000)
    assert result.p_value == pytest.approx(scipy.stats.ttest_1samp(difference, 0).pvalue, abs=0.03)


def test_groups_and_not_questions_are_resampled() -> None:
    # Copies of one question in a group bring no information.
    a, b = np.array([1.0, 0, 1, 1, 0, 1]), np.array([0.0, 0, 1, 0, 1, 1])
    once = paired_bootstrap(a, b, "uvwxyz", samples=500)
    copied = paired_bootstrap(
        np.repeat(a, 50), np.repeat(b, 50), list(np.repeat(list("uvwxyz"), 50)), samples=500
    )
    assert copied.groups == once.groups == 6
    assert (copied.low, copied.high, copied.p_value) == pytest.approx(
        (once.low, once.high, once.p_value)
    )


def test_no_difference_at_all_is_not_significant() -> None:
    scores = [0.1, 0.7, 0.3, 1.0]
    result = paired_bootstrap(scores, scores, "aabb", samples=99)
    assert (result.difference, result.low, result.high, result.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_a_constant_difference_is_as_significant_as_the_samples_allow() -> None:
    result = paired_bootstrap([1, 1, 1, 1], [0, 0, 0, 0], "abcd", samples=999)
    assert (result.difference, result.low, result.high) == (1.0, 1.0, 1.0)
    assert result.p_value == 1 / 1000


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from("pqrs"), st.booleans(), st.booleans()), min_size=2),
    st.integers(0, 5),
)
def test_swapping_the_systems_mirrors_the_result(
    rows: list[tuple[str, bool, bool]], seed: int
) -> None:
    rows = [("t", True, False), *rows]
    groups, a, b = zip(*rows, strict=True)
    if len(set(groups)) < 2:
        groups = ("u", *groups[1:])
    there = paired_bootstrap(a, b, groups, samples=200, seed=seed)
    back = paired_bootstrap(b, a, groups, samples=200, seed=seed)
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-there.difference, -there.high, -there.low)
    )
    assert back.p_value == there.p_value
    assert there == paired_bootstrap(a, b, groups, samples=200, seed=seed)


def test_chunks_do_not_change_the_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    a, b, groups = rng.random(40), rng.random(40), list(range(40))
    whole = paired_bootstrap(a, b, groups, samples=64)
    monkeypatch.setattr("spanqa.significance._CHUNK", 400)
    assert paired_bootstrap(a, b, groups, samples=64) == whole


@pytest.mark.parametrize(
    ("a", "b", "groups", "settings", "error", "sentence"),
    [
        ([1, 0], [1], "xy", {}, DataError, "same questions"),
        ([[1, 0]], [[1, 0]], "xy", {}, DataError, "same questions"),
        ([1, 0], [1, 0], "x", {}, DataError, "2 scores but 1 groups"),
        ([1, 0], [1, 0], "xx", {}, DataError, "at least two groups"),
        ([], [], "", {}, DataError, "at least two groups"),
        ([1, 0], [1, 0], "xy", {"samples": 0}, RecipeError, "samples must be at least 1"),
        ([1, 0], [1, 0], "xy", {"confidence": 95}, RecipeError, "between 0 and 1, got 95"),
    ],
)
def test_bootstrap_refuses_with_a_sentence(
    a: list[float],
    b: list[float],
    groups: str,
    settings: dict[str, float],
    error: type[Exception],
    sentence: str,
) -> None:
    with pytest.raises(error, match=sentence):
        paired_bootstrap(a, b, groups, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 0), (1, 0), (6, 16), (10, 10), (59, 86), (2400, 2150), (0, 1100)]
)
def test_mcnemar_agrees_with_scipys_binomial_test(only_a: int, only_b: int) -> None:
    a = [1] * only_a + [0] * only_b + [1, 1, 0]
    b = [0] * only_a + [1] * only_b + [1, 1, 0]
    result = mcnemar(a, b)
    assert (result.only_a, result.only_b, result.both, result.neither) == (only_a, only_b, 2, 1)
    expected = 1.0
    if only_a + only_b:
        expected = scipy.stats.binomtest(only_a, only_a + only_b, 0.5).pvalue
    assert result.p_value == pytest.approx(expected, rel=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=10))
def test_mcnemar_is_the_share_of_coin_tosses_as_lopsided(rows: list[tuple[bool, bool]]) -> None:
    result = mcnemar([row[0] for row in rows], [row[1] for row in rows])
    tosses = result.only_a + result.only_b
    lopsided = abs(result.only_a - result.only_b)
    outcomes = itertools.product((1, -1), repeat=tosses)
    hits = sum(abs(sum(outcome)) >= lopsided for outcome in outcomes)
    assert math.isclose(result.p_value, hits / 2**tosses)
    assert result.both + result.neither + tosses == len(rows)


def test_flips_name_the_questions_in_order() -> None:
    result = flips(["q3", "q1", "q2", "q0"], [1, 0, 1, 1], [0, 1, 1, 0])
    assert result.gained == ("q3", "q0")
    assert result.lost == ("q1",)


def test_counting_refuses_partial_scores_and_unequal_lengths() -> None:
    with pytest.raises(DataError, match="expected 1 or 0"):
        mcnemar([1, 0.5], [1, 0])
    with pytest.raises(DataError, match="same questions"):
        mcnemar([1, 0], [1, 0, 1])
    with pytest.raises(DataError, match="2 scores but 1 ids"):
        flips(["q"], [1, 0], [1, 0])
