"""What a head's runs measured and logged, summed up over its seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from statistics import fmean, median, stdev

from spanqa.run import Run

NEAR_BEST = 0.95
"""Share of its best validation exact match at which a head counts as nearly trained."""


@dataclass(frozen=True)
class Spread:
    """A figure over the seeds of one head."""

    mean: float
    sd: float | None
    """Sample standard deviation; None with one seed."""
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class CostSummary:
    """What a head costs; means over its seeds."""

    train_seconds: Spread | None
    train_batches_per_second: Spread | None
    train_questions_per_second: Spread | None
    eval_batches_per_second: Spread | None
    eval_questions_per_second: Spread | None
    peak_memory_mb: Spread | None
    head_parameters: int
    total_parameters: int


@dataclass(frozen=True)
class Learning:
    """Course of training; None where no epoch was scored."""

    best_epoch: Spread | None
    best_exact: Spread | None
    """Highest validation exact match; percent."""
    epochs_to_near_best: Spread | None
    """First epoch whose exact match is at least 95 % of the best."""
    last_gain: Spread | None
    """Validation exact match of the last epoch minus that of the one before; points."""
    last_exact: Spread | None
    first_loss: Spread | None
    """Mean training loss of the first epoch."""
    last_loss: Spread | None
    epochs: float
    """Epochs that were scored, in the longest run."""


@dataclass(frozen=True)
class Stability:
    """How evenly training went; the worst of the seeds."""

    largest_rise: float | None
    """Largest increase of the training loss from one logged point to the next."""
    grad_ratio: float | None
    """Largest gradient norm over the median one."""
    falls: int
    """Epochs whose validation exact match was below that of the epoch before, all seeds."""
    steps_between_epochs: int
    """Pairs of neighbouring epochs, all seeds: what `falls` is out of."""
    not_finite: int
    """Logged points whose loss or gradient norm is not a finite number, all seeds."""


@dataclass(frozen=True)
class HeadSummary:
    """Everything about one head that needs no look at single questions; scores in percent."""

    head: str
    seeds: tuple[int, ...]
    exact: Spread | None
    f1: Spread | None
    has_ans_exact: Spread | None
    no_ans_exact: Spread | None
    exact_at_zero: Spread | None
    """At threshold 0 in place of the fitted one."""
    f1_at_zero: Spread | None
    leaky_exact: Spread | None
    best_possible_exact: Spread | None
    """With the threshold chosen on the reported questions themselves: a bound, not a result."""
    null_threshold: Spread | None
    temperature: Spread | None
    cost: CostSummary
    learning: Learning
    stability: Stability


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean, sample standard deviation and range of the finite values; None if there is none."""
    found = [value for value in values if value is not None and isfinite(value)]
    if not found:
        return None
    sd = stdev(found) if len(found) > 1 else None
    return Spread(fmean(found), sd, min(found), max(found), len(found))


def summarise(head: str, runs: tuple[Run, ...]) -> HeadSummary:
    """Sum up the runs of one head; `runs` holds at least one."""

    def over(figure: Callable[[Run], float | None]) -> Spread | None:
        return spread(figure(run) for run in runs)

    return HeadSummary(
        head=head,
        seeds=tuple(run.seed for run in runs),
        exact=over(lambda run: run.metrics.get("exact")),
        f1=over(lambda run: run.metrics.get("f1")),
        has_ans_exact=over(lambda run: run.metrics.get("HasAns_exact")),
        no_ans_exact=over(lambda run: run.metrics.get("NoAns_exact")),
        exact_at_zero=over(lambda run: run.uncalibrated.get("exact")),
        f1_at_zero=over(lambda run: run.uncalibrated.get("f1")),
        leaky_exact=over(lambda run: run.leaky_exact),
        best_possible_exact=over(lambda run: run.metrics.get("best_exact")),
        null_threshold=over(lambda run: run.calibration.null_threshold),
        temperature=over(lambda run: run.calibration.temperature),
        cost=_cost(runs),
        learning=_learning(runs),
        stability=_stability(runs),
    )


def _cost(runs: tuple[Run, ...]) -> CostSummary:
    costs = [run.cost for run in runs]
    return CostSummary(
        train_seconds=spread(cost.train_seconds for cost in costs),
        train_batches_per_second=spread(cost.train_batches_per_second for cost in costs),
        train_questions_per_second=spread(cost.train_questions_per_second for cost in costs),
        eval_batches_per_second=spread(cost.eval_batches_per_second for cost in costs),
        eval_questions_per_second=spread(cost.eval_questions_per_second for cost in costs),
        peak_memory_mb=spread(cost.peak_memory_mb for cost in costs),
        head_parameters=costs[0].head_parameters,
        total_parameters=costs[0].total_parameters,
    )


def _learning(runs: tuple[Run, ...]) -> Learning:
    scored = [run for run in runs if run.epochs]
    return Learning(
        best_epoch=spread(run.best_epoch for run in scored),
        best_exact=spread(max(point.exact for point in run.epochs) for run in scored),
        epochs_to_near_best=spread(_epochs_to_near_best(run) for run in scored),
        last_gain=spread(
            run.epochs[-1].exact - run.epochs[-2].exact for run in scored if len(run.epochs) > 1
        ),
        last_exact=spread(run.epochs[-1].exact for run in scored),
        first_loss=spread(run.epochs[0].train_loss for run in scored),
        last_loss=spread(run.epochs[-1].train_loss for run in scored),
        epochs=max((run.epochs[-1].epoch for run in scored), default=0.0),
    )


def _epochs_to_near_best(run: Run) -> float | None:
    best = max(point.exact for point in run.epochs)
    return next((p.epoch for p in run.epochs if p.exact >= NEAR_BEST * best), None)


def _stability(runs: tuple[Run, ...]) -> Stability:
    points = [point for run in runs for point in run.losses]
    steps = [pair for run in runs for pair in pairwise(run.epochs)]
    rises = [rise for run in runs if (rise := _largest_rise(run)) is not None]
    ratios = [ratio for run in runs if (ratio := _grad_ratio(run)) is not None]
    return Stability(
        largest_rise=max(rises, default=None),
        grad_ratio=max(ratios, default=None),
        falls=sum(after.exact < before.exact for before, after in steps),
        steps_between_epochs=len(steps),
        not_finite=sum(not (isfinite(p.loss) and isfinite(p.grad_norm)) for p in points),
    )


def _largest_rise(run: Run) -> float | None:
    losses = [point.loss for point in run.losses if isfinite(point.loss)]
    return max((max(after - before, 0.0) for before, after in pairwise(losses)), default=None)


def _grad_ratio(run: Run) -> float | None:
    norms = [point.grad_norm for point in run.losses if isfinite(point.grad_norm)]
    middle = median(norms) if norms else 0.0
    return max(norms) / middle if middle > 0 else None
