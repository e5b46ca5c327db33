"""The written analysis: sentences that say what the figures allow, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spanqa.analysis import Analysis, Pair, separated, tested
from spanqa.breakdown import MIN_ARTICLES
from spanqa.caveats import limits
from spanqa.run import Comparison
from spanqa.significance import PairedBootstrap
from spanqa.summary import HeadSummary
from spanqa.wording import count, interval, join, p_text, plain, ratio, signed

STILL_RISING = 0.5
"""Points of exact match in the last epoch from which a head counts as still improving."""
NAMED = 5
"""Kinds of question named in a sentence; the table has them all."""
SPIKE = 0.5
"""Rise of the training loss between two logged points that is worth a sentence, as a share of the
loss of the first epoch."""


@dataclass(frozen=True)
class Section:
    """A few sentences under a heading."""

    title: str
    sentences: tuple[str, ...]


def narrate(comparison: Comparison, analysis: Analysis) -> tuple[Section, ...]:
    """The written analysis, section by section; sections without a sentence are left out."""
    sections = (
        Section("Which head is best", tuple(_quality(analysis))),
        Section("Answering and abstaining", tuple(_abstaining(analysis))),
        Section("Learning", tuple(_learning(analysis.heads))),
        Section("Cost", tuple(_cost(analysis.heads))),
        Section("Stability", tuple(_stability(analysis.heads))),
        Section("Strengths and weaknesses", tuple(_strengths(analysis))),
        Section("The leaky way of scoring", tuple(_leaky(analysis))),
        Section("Limits", tuple(limits(comparison, analysis))),
    )
    return tuple(section for section in sections if section.sentences)


def _quality(analysis: Analysis) -> Iterable[str]:
    best, sizes = analysis.best, analysis.sizes
    if best.exact is None:
        return
    over = f", mean of {best.exact.runs} seeds" if best.exact.runs > 1 else ""
    tied = [h.head for h in analysis.heads if h.exact and h.exact.mean == best.exact.mean]
    f1 = f" (F1 {best.f1.mean:.2f})" if best.f1 and len(tied) == 1 else ""
    verb = "has" if len(tied) == 1 else "share"
    where = f"{count(sizes.questions, 'question')} from {count(sizes.articles, 'article')}"
    one = "" if len(analysis.heads) > 1 else "the only exact match measured"
    yield (
        f"{join(tied)} {verb} {one or 'the highest exact match'}: "
        f"{best.exact.mean:.2f}{f1}{over}, on {where}."
    )
    for pair in analysis.pairs:
        yield _pair_sentence(pair)
    if len(analysis.pairs) > 1 and all(tested(pair.exact) for pair in analysis.pairs):
        chance = 0.05 * len(analysis.pairs)
        yield (
            f"The {len(analysis.pairs)} pairs are not corrected for their number: if no head "
            f"differed from another, {chance:.2g} of them would still be expected to exclude 0."
        )
    sds = [(h.exact.sd, h.head) for h in analysis.heads if h.exact and h.exact.sd is not None]
    if sds:
        sd, head = max(sds)
        yield (
            f"The largest standard deviation over seeds is {sd:.2f} points ({head}); the intervals "
            "above cover the choice of questions, not this."
        )


def _pair_sentence(pair: Pair) -> str:
    gap = pair.exact
    direction = "above" if gap.difference > 0 else "below" if gap.difference < 0 else "level with"
    points = f"{abs(gap.difference):.2f} points " if gap.difference else ""
    text = f"{pair.head} is {points}{direction} {pair.against}"
    if not tested(gap):
        text += (
            f"; with {count(gap.groups, 'article')} to resample (at least {MIN_ARTICLES} are "
            "needed) no interval can be trusted"
        )
    elif separated(gap):
        text += f": the 95 % interval, {interval(gap)}, excludes 0 ({p_text(gap.p_value)})"
    else:
        text += (
            ", a difference that cannot be told apart from chance: the 95 % interval, "
            f"{interval(gap)}, contains 0 ({p_text(gap.p_value)})"
        )
    if pair.common is None:
        return f"{text}."
    crossed = pair.common.mcnemar
    return (
        f"{text}. With seed {pair.common.seed}, {pair.head} alone is right on {crossed.only_a:,} "
        f"and {pair.against} alone on {crossed.only_b:,} "
        f"(McNemar's {p_text(crossed.p_value)})."
    )


def _abstaining(analysis: Analysis) -> Iterable[str]:
    silence = analysis.sizes.silence
    if analysis.sizes.unanswerable:
        yield (
            f"{silence:.2f} % of the questions have no answer in their text: never answering "
            "would reach that exact match."
        )
        below = [h.head for h in analysis.heads if h.exact and h.exact.mean <= silence]
        if below:
            yield f"No better than never answering: {join(below)}."
    for title, values in (
        ("answerable", [(h.has_ans_exact, h.head) for h in analysis.heads]),
        ("unanswerable", [(h.no_ans_exact, h.head) for h in analysis.heads]),
    ):
        known = [(value.mean, head) for value, head in values if value]
        if len(known) > 1:
            (low, worst), (high, best) = min(known), max(known)
            yield (
                f"On the {title} questions exact match reaches from {low:.2f} ({worst}) to "
                f"{high:.2f} ({best})."
                if high > low
                else f"On the {title} questions every head reaches {high:.2f}."
            )
    changes = [
        f"{h.head} {signed(h.exact.mean - h.exact_at_zero.mean)} ({signed(h.null_threshold.mean)})"
        for h in analysis.heads
        if h.exact and h.exact_at_zero and h.null_threshold
    ]
    if changes:
        yield (
            "Points of exact match that the fitted null threshold (in brackets) brings over "
            f"threshold 0: {join(changes)}."
        )
    bounds = [
        f"{h.head} {h.best_possible_exact.mean:.2f}"
        for h in analysis.heads
        if h.best_possible_exact
    ]
    if bounds:
        yield (
            "No threshold at all, even one chosen with the reported questions in view, would "
            f"bring more than: {join(bounds)}."
        )


def _learning(heads: Sequence[HeadSummary]) -> Iterable[str]:
    for head in heads:
        course = head.learning
        if course.best_exact is None or course.best_epoch is None:
            continue
        text = (
            f"{head.head} reaches its best validation exact match, "
            f"{course.best_exact.mean:.2f}, in epoch {plain(course.best_epoch)}"
        )
        if course.epochs_to_near_best:
            text += f", and 95 % of it by epoch {plain(course.epochs_to_near_best)}"
        if course.first_loss and course.last_loss and course.last_gain:
            word = "falls" if course.last_loss.mean < course.first_loss.mean else "rises"
            text += (
                f"; its training loss {word} from {course.first_loss.mean:.3f} to "
                f"{course.last_loss.mean:.3f}"
            )
        yield f"{text}."
        if course.last_gain and course.last_gain.mean >= STILL_RISING:
            yield (
                f"{head.head} still gained {course.last_gain.mean:.2f} points in the last epoch: "
                "more epochs may help."
            )
        elif course.last_exact and course.best_exact.mean - course.last_exact.mean >= STILL_RISING:
            lost = course.best_exact.mean - course.last_exact.mean
            yield f"By the last epoch {head.head} is {lost:.2f} points below its best."


def _cost(heads: Sequence[HeadSummary]) -> Iterable[str]:
    first = heads[0]
    for head in heads[1:]:
        train = ratio(head.cost.train_questions_per_second, first.cost.train_questions_per_second)
        evaluation = ratio(
            head.cost.eval_questions_per_second, first.cost.eval_questions_per_second
        )
        memory = ratio(head.cost.peak_memory_mb, first.cost.peak_memory_mb)
        known = [
            f"{value:.2f} of {first.head}'s {name}"
            for value, name in (
                (train, "training speed"),
                (evaluation, "evaluation speed"),
                (memory, "peak memory"),
            )
            if value is not None
        ]
        if known:
            yield f"{head.head} runs at {join(known)}."
    sizes = [f"{h.head} {h.cost.head_parameters:,}" for h in heads]
    total = first.cost.total_parameters
    if total:
        share = 100 * max(h.cost.head_parameters for h in heads) / total
        yield (
            f"Parameters of the head: {join(sizes)}; the largest is {share:.2g} % of a whole "
            f"model ({total:,})."
        )


def _stability(heads: Sequence[HeadSummary]) -> Iterable[str]:
    for head in heads:
        steady = head.stability
        if steady.not_finite:
            yield (
                f"{head.head} logged {count(steady.not_finite, 'point')} whose loss or gradient "
                "is not a finite number."
            )
        start = head.learning.first_loss
        if steady.largest_rise is not None and start and steady.largest_rise > SPIKE * start.mean:
            yield (
                f"The training loss of {head.head} jumped by {steady.largest_rise:.2f} between "
                "two logged points."
            )
        if steady.falls:
            yield (
                f"The validation exact match of {head.head} fell in {steady.falls} of "
                f"{count(steady.steps_between_epochs, 'epoch')} after the first."
            )
    known = [(h.stability.grad_ratio, h.head) for h in heads if h.stability.grad_ratio is not None]
    if known:
        value, name = max(known)
        yield (
            f"The largest gradient norm is {value:.1f} times the median one of its run ({name})."
        )


def _strengths(analysis: Analysis) -> Iterable[str]:
    cells = [
        (f"{breakdown.title.lower()} {cell.label}", cell)
        for breakdown in analysis.breakdowns
        for cell in breakdown.cells
    ]
    leads = [entry.lead for _, cell in cells for entry in cell.heads if entry.lead]
    for index, head in enumerate(h.head for h in analysis.heads):
        own = [(cell.heads[index].lead, label) for label, cell in cells]
        marked = [(lead, label) for lead, label in own if lead and separated(lead)]
        for word, sign in (("ahead of", 1), ("behind", -1)):
            found = [(lead, label) for lead, label in marked if sign * lead.difference > 0]
            if found:
                yield f"{head} is {word} the mean of the others on: {_largest(found)}."
    if leads:
        yield (
            f"{sum(map(separated, leads))} of {len(leads)} such differences (a head on one kind of "
            f"question) have a 95 % interval that excludes 0; about {0.05 * len(leads):.0f} would "
            "by chance alone, so take single ones as hints."
        )
    elif len(analysis.heads) > 1:
        yield "No kind of question has enough questions and articles to test a difference in."


def _largest(found: Sequence[tuple[PairedBootstrap, str]]) -> str:
    """The largest differences by name, the others by number."""
    ordered = sorted(found, key=lambda pair: -abs(pair[0].difference))
    named = [f"{label} ({signed(lead.difference, 1)})" for lead, label in ordered[:NAMED]]
    rest = len(ordered) - NAMED
    return join([*named, f"{rest} more"] if rest > 0 else named)


def _leaky(analysis: Analysis) -> Iterable[str]:
    sizes = analysis.sizes
    for h in analysis.heads:
        if not (h.leaky_exact and h.exact):
            continue
        gap = h.leaky_exact.mean - h.exact.mean
        text = (
            f"Scored that way {h.head} would show {h.leaky_exact.mean:.2f} in place of "
            f"{h.exact.mean:.2f} ({signed(gap)} points)"
        )
        if h.no_ans_exact and sizes.unanswerable:
            given = sizes.silence * (100 - h.no_ans_exact.mean) / 100
            text += (
                f": {signed(given)} from counting every unanswerable question as right, "
                f"{signed(gap - given)} from the rest (the first reference and window alone)"
            )
        yield f"{text}."
