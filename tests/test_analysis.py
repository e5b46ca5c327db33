from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import make_comparison
from hypothesis import given, settings
from hypothesis import strategies as st

from spanqa.analysis import Excerpt, analyse, excerpt, separated
from spanqa.breakdown import answer_length, question_word, wilson
from spanqa.narrative import narrate
from spanqa.run import Comparison, EpochPoint, LossPoint
from spanqa.significance import mcnemar, paired_bootstrap
from spanqa.summary import spread


def exact_of(comparison: Comparison, head: str, seed: int | None = None) -> np.ndarray[Any, Any]:
    """Mean over the seeds of each question's exact match, without the code under test."""
    rows = [
        [float(run.predictions[q.id] in (q.answers or ("",))) for q in comparison.questions]
        for run in comparison.runs
        if run.head == head and seed in (None, run.seed)
    ]
    means: np.ndarray[Any, Any] = np.mean(rows, axis=0)
    return means


def sentences(comparison: Comparison) -> str:
    analysis = analyse(comparison)
    return "\n".join(s for part in narrate(comparison, analysis) for s in part.sentences)


def test_heads_are_summed_up_over_their_seeds() -> None:
    comparison = make_comparison()
    head = analyse(comparison).heads[1]
    values = [run.metrics["exact"] for run in comparison.runs if run.head == "crf"]
    assert (head.head, head.seeds) == ("crf", (1, 2))
    assert head.exact is not None
    assert head.exact.mean == pytest.approx(np.mean(values))
    assert head.exact.mean == pytest.approx(100 * exact_of(comparison, "crf").mean())
    assert head.exact.sd == pytest.approx(np.std(values, ddof=1))
    assert (head.exact.low, head.exact.high) == (min(values), max(values))


def test_pairs_follow_from_the_questions() -> None:
    comparison = make_comparison()
    pairs = analyse(comparison).pairs
    assert [(p.head, p.against) for p in pairs] == [
        ("crf", "softmax"),
        ("span-crf", "softmax"),
        ("span-crf", "crf"),
    ]
    a, b = exact_of(comparison, "span-crf"), exact_of(comparison, "softmax")
    groups = [q.article for q in comparison.questions]
    assert pairs[1].exact == paired_bootstrap(100 * a, 100 * b, groups)
    assert pairs[1].exact.difference == pytest.approx(100 * (a.mean() - b.mean()))
    a, b = exact_of(comparison, "span-crf", 1), exact_of(comparison, "softmax", 1)
    common = pairs[1].common
    assert common is not None
    assert common.seed == 1
    assert common.mcnemar == mcnemar(a, b)


def test_flips_are_questions_that_differ_with_both_answers() -> None:
    comparison = make_comparison(questions=200)
    common = analyse(comparison).pairs[0].common
    assert common is not None
    assert len(common.flips) == 20
    asked = {q.id: q for q in comparison.questions}
    assert sum(flip.gained for flip in common.flips) == 10
    assert len({flip.article for flip in common.flips}) > 5
    for flip in common.flips:
        right, wrong = flip.answer, flip.other_answer
        if not flip.gained:
            right, wrong = wrong, right
        assert right in (asked[flip.id].answers or ("",))
        assert wrong.startswith("wrong")
        shown = flip.excerpt
        assert shown.hit in (flip.gold or (flip.answer, flip.other_answer))


def test_heads_without_a_common_seed_have_no_flips() -> None:
    comparison = make_comparison(("softmax", "crf"))
    odd = tuple(run for run in comparison.runs if (run.head == "crf") == (run.seed == 1))
    analysis = analyse(replace(comparison, runs=odd))
    assert analysis.pairs[0].common is None
    assert analysis.missing == (("softmax", 1), ("crf", 2))


def test_breakdowns_cover_every_question_once() -> None:
    comparison = make_comparison()
    for breakdown in analyse(comparison).breakdowns:
        assert sum(cell.questions for cell in breakdown.cells) == 60
        for k, head in enumerate(("softmax", "crf", "span-crf")):
            total = sum(cell.questions * cell.heads[k].exact for cell in breakdown.cells) / 60
            assert total == pytest.approx(100 * exact_of(comparison, head).mean())


def test_breakdown_cell_against_direct_computation() -> None:
    comparison = make_comparison(questions=400, articles=40)
    words = analyse(comparison).breakdowns[0]
    cell = next(cell for cell in words.cells if cell.label == "how many")
    chosen = np.array([q.question.startswith("How many") for q in comparison.questions])
    crf = exact_of(comparison, "crf")[chosen]
    others = (
        exact_of(comparison, "softmax")[chosen] + exact_of(comparison, "span-crf")[chosen]
    ) / 2
    lead = cell.heads[1].lead
    assert cell.questions == chosen.sum()
    assert cell.heads[1].exact == pytest.approx(100 * crf.mean())
    assert lead is not None
    assert lead.difference == pytest.approx(100 * (crf.mean() - others.mean()))


def test_small_cells_are_not_tested() -> None:
    analysis = analyse(make_comparison(questions=60))
    cells = [cell for breakdown in analysis.breakdowns for cell in breakdown.cells]
    assert all(x.lead is None for cell in cells if cell.questions < 30 for x in cell.heads)


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("Who wrote it?", "who"),
        ("Whose idea was it?", "who"),
        ("In what year did it end?", "what"),
        ("What's new?", "what"),
        ("How long is it?", "how"),
        ("About how many came?", "how many"),
        ("How much did it cost, and when?", "how many"),
        ("Name the river.", "other"),
        ("Somewhere over there?", "other"),
        ("", "other"),
        ("東京はどこですか", "other"),
    ],
)
def test_question_words(question: str, word: str) -> None:
    assert question_word(question) == word


@pytest.mark.parametrize(
    ("words", "label"),
    [
        (1, "1 word"),
        (2, "2 words"),
        (3, "3-4 words"),
        (4, "3-4 words"),
        (5, "5-8 words"),
        (8, "5-8 words"),
        (9, "9 or more words"),
        (30, "9 or more words"),
    ],
)
def test_answer_lengths(words: int, label: str) -> None:
    assert answer_length(["w " * words, "w " * (words + 7)]) == label
    assert answer_length([]) == "no answer"


@given(st.integers(0, 300), st.integers(1, 300))
@settings(deadline=None)
def test_wilson_equals_scipy(right: int, count: int) -> None:
    from scipy.stats import binomtest

    right = min(right, count)
    found = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson(right / count, count) == pytest.approx((found.low, found.high), abs=1e-6)


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(float("nan")))))
@settings(deadline=None)
def test_spread_takes_finite_values_only(values: list[float | None]) -> None:
    finite = [value for value in values if value is not None and np.isfinite(value)]
    found = spread(values)
    assert (found is None) == (not finite)
    if found is not None:
        assert found.mean == pytest.approx(np.mean(finite))
        assert (found.sd is None) == (len(finite) == 1)
        assert found.low == min(finite)
        assert found.high == max(finite)


@given(st.text(alphabet="ab .é🙂", max_size=400), st.integers(0, 400), st.integers(0, 30))
@settings(deadline=None)
def test_excerpt_is_a_piece_of_the_context(context: str, start: int, length: int) -> None:
    wanted = context[start : start + length]
    found = excerpt(context, ["", "not in there", wanted])
    piece = Excerpt(found.before.removeprefix("… "), found.hit, found.after.removesuffix(" …"))
    assert piece.before + piece.hit + piece.after in context
    assert found.hit == wanted


def test_learning_and_stability_from_the_curves() -> None:
    plain = make_comparison(("crf",), (1,))
    exacts = (40.0, 58.0, 55.0, 60.0)
    losses = (2.0, 1.0, 3.5, float("nan"), 0.5)
    run = replace(
        plain.runs[0],
        epochs=tuple(
            EpochPoint(k + 1.0, k, 3.0 - k, exact, 0.0, None, None)
            for k, exact in enumerate(exacts)
        ),
        losses=tuple(
            LossPoint(k, k / 4, loss, norm, 0.0)
            for k, (loss, norm) in enumerate(zip(losses, (1.0, 1.0, 8.0, 2.0, 2.0), strict=True))
        ),
        best_epoch=4.0,
    )
    head = analyse(replace(plain, runs=(run,))).heads[0]
    assert head.learning.epochs_to_near_best == spread([2.0])  # 58 is above 0.95 x 60, 40 is not
    assert head.learning.last_gain == spread([5.0])
    assert (head.learning.first_loss, head.learning.last_loss) == (spread([3.0]), spread([0.0]))
    assert head.stability.largest_rise == 2.5
    assert head.stability.grad_ratio == 4.0
    assert (head.stability.falls, head.stability.steps_between_epochs) == (1, 3)
    assert head.stability.not_finite == 1


def test_clear_difference_is_called_one() -> None:
    comparison = make_comparison(
        ("softmax", "crf"), questions=300, articles=30, skill={"softmax": 0.3, "crf": 0.9}
    )
    assert separated(analyse(comparison).pairs[0].exact)
    text = sentences(comparison)
    assert "crf has the highest exact match" in text
    assert "excludes 0 (p < 0.001)" in text
    assert "crf is ahead of the mean of the others on:" in text
    assert "softmax is behind the mean of the others on:" in text


def test_equal_heads_are_not_told_apart() -> None:
    comparison = make_comparison(("softmax", "crf"))
    same = tuple(replace(comparison.runs[0], head=r.head, seed=r.seed) for r in comparison.runs)
    text = sentences(replace(comparison, runs=same))
    assert "softmax and crf share the highest exact match" in text
    assert "cannot be told apart from chance" in text
    assert "excludes 0 (" not in text


def test_too_few_articles_are_not_trusted() -> None:
    comparison = make_comparison(articles=4, skill={"softmax": 0.1, "span-crf": 0.95})
    text = sentences(comparison)
    assert "no interval can be trusted" in text
    assert "excludes 0 (p" not in text
    assert not separated(analyse(comparison).pairs[1].exact)


def test_leaky_gap_is_taken_apart() -> None:
    comparison = make_comparison(("crf",), (1,))
    run = comparison.runs[0]
    given_away = run.metrics["NoAns_total"] * (100 - run.metrics["NoAns_exact"]) / 60
    text = sentences(comparison)
    assert f"({run.leaky_exact - run.metrics['exact']:+.2f} points)" in text
    assert f"{given_away:+.2f} from counting every unanswerable question as right" in text


def test_worse_than_silence_is_said() -> None:
    text = sentences(make_comparison(unanswerable=40, skill={"crf": 0.2}))
    assert "66.67 % of the questions have no answer" in text
    assert "No better than never answering:" in text


def test_stored_figures_that_do_not_follow_from_the_answers_are_named() -> None:
    comparison = make_comparison()
    wrong = replace(comparison.runs[0], metrics={**comparison.runs[0].metrics, "exact": 99.0})
    analysis = analyse(replace(comparison, runs=(wrong, *comparison.runs[1:])))
    assert analysis.mismatched == (("softmax", 1),)
    assert analyse(comparison).mismatched == ()
