"""Figures as PNG: the training curves of a comparison, and a risk-coverage curve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spanqa.analysis import by_head
from spanqa.reliability import risk_coverage
from spanqa.rows import printable
from spanqa.run import Comparison, EpochPoint, Run

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, told apart by colour-blind readers too."""
MARKERS = ("o", "s", "^", "D", "v", "P")
SIZE = (12.0, 5.0)
"""Inches."""
DPI = 150
VALIDATED_ON = {"calibration": "calibration questions", "eval": "evaluation questions"}


def risk_coverage_curve(probabilities: Sequence[float], right: Sequence[bool]) -> bytes:
    """Draw the share of wrong outcomes among the surest ones, against how many those are.

    Args:
        probabilities: (Q,) of what was said of each question.
        right: (Q,) whether it was right.
    """
    figure = Figure(figsize=(SIZE[0] / 2, SIZE[1]), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    coverage, risk = risk_coverage(probabilities, right)
    axes.plot(100 * coverage, 100 * risk, color=COLOURS[0])
    axes.fill_between(100 * coverage, 100 * risk, color=COLOURS[0], alpha=0.15, linewidth=0)
    axes.set(
        title=f"Risk and coverage (area {risk.mean():.3f})",
        xlabel="surest questions (percent)",
        ylabel="wrong among them (percent)",
        xlim=(0, 100),
        ylim=(0, None),
    )
    axes.grid(alpha=0.3)
    return _png(figure)


def training_curves(comparison: Comparison) -> bytes:
    """Draw the curves of every head, the mean over its seeds with a band from lowest to highest.

    Equal comparisons give equal bytes.
    """
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    loss, exact = figure.subplots(1, 2)
    for index, (head, runs) in enumerate(by_head(comparison).items()):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        for run in runs:
            points = [point.epoch for point in run.losses], [point.loss for point in run.losses]
            loss.plot(*points, color=colour, alpha=0.25, linewidth=0.8)
        _curve(loss, runs, lambda point: point.train_loss, head, colour, marker)
        _curve(exact, runs, lambda point: point.exact, head, colour, marker)
    validated = VALIDATED_ON[comparison.recipe.training.validate_on]
    _finish(loss, "Training loss", "loss (mean of the epoch; faint: as logged)")
    _finish(exact, f"Exact match on the {validated}", "exact match (%)")
    # A dollar sign in a recipe's name is no formula.
    figure.suptitle(printable(comparison.recipe.name), fontsize=14, parse_math=False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    written = BytesIO()
    # Without the drawing library's version in it, the file depends on what is drawn alone.
    figure.savefig(written, format="png", dpi=DPI, metadata={"Software": None})
    return written.getvalue()


def _curve(
    axes: Axes,
    runs: Sequence[Run],
    figure: Callable[[EpochPoint], float],
    head: str,
    colour: str,
    marker: str,
) -> None:
    by_epoch = _by_epoch((point.epoch, figure(point)) for run in runs for point in run.epochs)
    epochs, values = list(by_epoch), list(by_epoch.values())
    means = [fmean(found) for found in values]
    axes.plot(epochs, means, color=colour, marker=marker, label=head, linewidth=2, markersize=6)
    if len(runs) > 1:
        lows, highs = [min(found) for found in values], [max(found) for found in values]
        axes.fill_between(epochs, lows, highs, color=colour, alpha=0.15, linewidth=0)


def _by_epoch(points: Iterable[tuple[float, float]]) -> dict[float, list[float]]:
    """Epoch -> the seeds' values, by rising epoch."""
    found: dict[float, list[float]] = {}
    for epoch, value in sorted(points):
        # The last epoch of a run can end a step early or late: 2.9987 belongs to 3.
        found.setdefault(round(epoch, 2), []).append(value)
    return found


def _finish(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
