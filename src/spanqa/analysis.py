"""A comparison's figures: everything that the report shows, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import nan
from typing import Literal

import numpy as np

from spanqa import metrics
from spanqa.breakdown import MIN_ARTICLES, Breakdown, PerQuestion, breakdowns
from spanqa.data import Example, Reference
from spanqa.run import Comparison, Question, Run
from spanqa.significance import Flips, McNemar, PairedBootstrap, flips, mcnemar, paired_bootstrap
from spanqa.summary import HeadSummary, summarise

Scored = Mapping[tuple[str, int], metrics.Scores]
"""(head, seed) -> scores of its predictions."""

MAX_FLIPS = 20
"""Example questions shown for a pair of heads, half of them gained and half lost if possible."""
EXCERPT = 140
"""Characters of context on either side of the answer in an excerpt."""


@dataclass(frozen=True)
class Excerpt:
    """A piece of the context around the answer; the three parts follow each other."""

    before: str
    hit: str
    """The answer found in the context; empty if none was."""
    after: str


@dataclass(frozen=True)
class Flip:
    """A question that one head of a pair gets right and the other wrong."""

    id: str
    article: str
    question: str
    gold: tuple[str, ...]
    """Distinct reference answers; empty = unanswerable."""
    answer: str
    """Of the pair's `head`; "" = no answer."""
    other_answer: str
    """Of `against`."""
    gained: bool
    """Whether it is `head` that is right."""
    excerpt: Excerpt


@dataclass(frozen=True)
class CommonSeed:
    """Two heads on the first seed that both were trained with."""

    seed: int
    mcnemar: McNemar
    """`only_a` is right with `head` alone."""
    flips: tuple[Flip, ...]
    """A sample of the questions that differ."""


@dataclass(frozen=True)
class Pair:
    """A head, and one that comes before it in the recipe, on the same questions."""

    head: str
    against: str
    exact: PairedBootstrap
    """`head` minus `against`, points; per question the mean over the seeds."""
    f1: PairedBootstrap
    common: CommonSeed | None
    """None where the heads have no seed in common."""


@dataclass(frozen=True)
class Sizes:
    """What was evaluated on."""

    questions: int
    unanswerable: int
    articles: int
    contexts: int

    @property
    def silence(self) -> float:
        """Exact match of a system that never answers; percent."""
        return 100 * self.unanswerable / self.questions if self.questions else 0.0


@dataclass(frozen=True)
class Analysis:
    """Everything that the report shows besides the recipe and the logs."""

    sizes: Sizes
    heads: tuple[HeadSummary, ...]
    """In the order of the recipe; only heads with a finished run."""
    pairs: tuple[Pair, ...]
    breakdowns: tuple[Breakdown, ...]
    missing: tuple[tuple[str, int], ...]
    """Head and seed of the recipe's runs that are not finished."""
    mismatched: tuple[tuple[str, int], ...]
    """Head and seed of runs whose stored exact match does not follow from their predictions."""
    signatures: tuple[str, ...]
    """How the runs' figures came about, as `metrics.signature` puts it; distinct ones."""

    @property
    def best(self) -> HeadSummary:
        """The head with the highest exact match; the first of equals."""
        return max(self.heads, key=lambda head: head.exact.mean if head.exact else -1.0)


def tested(difference: PairedBootstrap) -> bool:
    """Whether there are enough articles for the interval to be believed."""
    return difference.groups >= MIN_ARTICLES


def separated(difference: PairedBootstrap) -> bool:
    """Whether the 95 % interval excludes 0 and can be believed."""
    return tested(difference) and (difference.low > 0 or difference.high < 0)


def by_head(comparison: Comparison) -> dict[str, tuple[Run, ...]]:
    """The finished runs of each head, in the order of the recipe."""
    heads = dict.fromkeys([*comparison.recipe.heads, *(run.head for run in comparison.runs)])
    found = {h: tuple(run for run in comparison.runs if run.head == h) for h in heads}
    return {head: runs for head, runs in found.items() if runs}


def analyse(comparison: Comparison) -> Analysis:
    """Compute every figure of the report; needs at least one run and one question."""
    questions, recipe = comparison.questions, comparison.recipe
    runs = by_head(comparison)
    examples = _examples(questions)
    scored = {(run.head, run.seed): _evaluate(run, examples) for run in comparison.runs}
    exact = {head: _over_seeds(own, scored, "exact") for head, own in runs.items()}
    f1 = {head: _over_seeds(own, scored, "f1") for head, own in runs.items()}
    groups = [question.article for question in questions]
    return Analysis(
        sizes=_sizes(questions),
        heads=tuple(summarise(head, own) for head, own in runs.items()),
        pairs=tuple(
            Pair(
                head=head,
                against=against,
                exact=_difference(exact[head], exact[against], groups),
                f1=_difference(f1[head], f1[against], groups),
                common=_on_common_seed(runs[head], runs[against], scored, questions),
            )
            for against, head in combinations(runs, 2)
        ),
        breakdowns=breakdowns(questions, exact),
        missing=tuple(key for key in product(recipe.heads, recipe.seeds) if key not in scored),
        mismatched=tuple(
            (run.head, run.seed)
            for run in comparison.runs
            if abs(scored[run.head, run.seed].exact - run.metrics.get("exact", nan)) > 1e-6
        ),
        signatures=tuple(dict.fromkeys(metrics.signature(scores) for scores in scored.values())),
    )


def _sizes(questions: Sequence[Question]) -> Sizes:
    return Sizes(
        questions=len(questions),
        unanswerable=sum(not question.answers for question in questions),
        articles=len({question.article for question in questions}),
        contexts=len({question.context for question in questions}),
    )


def _examples(questions: Sequence[Question]) -> list[Example]:
    # The metrics look at the references' texts only, and their offsets are not stored.
    return [
        Example(q.id, q.question, q.context, tuple(Reference(text, 0) for text in q.answers))
        for q in questions
    ]


def _evaluate(run: Run, examples: Sequence[Example]) -> metrics.Scores:
    return metrics.evaluate(
        examples,
        run.predictions,
        na_probs=run.null_odds,
        threshold=run.calibration.null_threshold,
    )


def _over_seeds(runs: Sequence[Run], scored: Scored, figure: Literal["exact", "f1"]) -> PerQuestion:
    """Mean over the seeds of each question's score, 0 to 1; shape (questions,)."""
    rows = [[getattr(q, figure) for q in scored[run.head, run.seed].questions] for run in runs]
    means: PerQuestion = np.mean(rows, axis=0, dtype=np.float64)
    return means


def _difference(a: PerQuestion, b: PerQuestion, groups: Sequence[str]) -> PairedBootstrap:
    """Bootstrap in points; without an interval where there is only one article to resample."""
    if len(set(groups)) > 1:
        return paired_bootstrap(100 * a, 100 * b, groups)
    difference = 100 * float(a.mean() - b.mean())
    return PairedBootstrap(difference, nan, nan, nan, samples=0, groups=1, confidence=0.95, seed=0)


def _on_common_seed(
    runs: Sequence[Run],
    against: Sequence[Run],
    scored: Scored,
    questions: Sequence[Question],
) -> CommonSeed | None:
    others = {run.seed: run for run in against}
    run = next((run for run in runs if run.seed in others), None)
    if run is None:
        return None
    other = others[run.seed]
    right = [score.exact for score in scored[run.head, run.seed].questions]
    other_right = [score.exact for score in scored[other.head, run.seed].questions]
    found = flips([question.id for question in questions], right, other_right)
    shown = _flips(found, run.predictions, other.predictions, questions)
    return CommonSeed(run.seed, mcnemar(right, other_right), shown)


def _flips(
    found: Flips,
    answers: Mapping[str, str],
    other_answers: Mapping[str, str],
    questions: Sequence[Question],
) -> tuple[Flip, ...]:
    half = MAX_FLIPS // 2
    gained = set(_evenly(found.gained, max(half, MAX_FLIPS - len(found.lost))))
    lost = set(_evenly(found.lost, max(half, MAX_FLIPS - len(found.gained))))
    return tuple(
        Flip(
            id=q.id,
            article=q.article,
            question=q.question,
            gold=tuple(dict.fromkeys(q.answers)),
            answer=answers[q.id],
            other_answer=other_answers[q.id],
            gained=q.id in gained,
            excerpt=excerpt(q.context, [*q.answers, answers[q.id], other_answers[q.id]]),
        )
        for q in questions
        if q.id in gained | lost
    )


def _evenly(ids: Sequence[str], count: int) -> list[str]:
    """At most `count` of them, spread over the whole list so that they are not of one article."""
    if len(ids) <= count:
        return list(ids)
    return [ids[i * len(ids) // count] for i in range(count)]


def excerpt(context: str, wanted: Sequence[str]) -> Excerpt:
    """The surroundings of the first of `wanted` that occurs in `context`, or its beginning."""
    hit = next((text for text in wanted if text and text in context), "")
    start = context.find(hit)
    end = start + len(hit)
    left, right = max(0, start - EXCERPT), min(len(context), end + EXCERPT)
    before, after = context[left:start], context[end:right]
    if left:  # begin and end at a space, if there is one
        before = "… " + before.partition(" ")[2]
    if right < len(context):
        after = after.rpartition(" ")[0] + " …"
    return Excerpt(before, hit, after)
