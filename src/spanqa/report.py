"""Comparison -> results.csv, training_results.png, report.html."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from spanqa import __version__
from spanqa.analysis import MAX_FLIPS, Analysis, analyse, separated
from spanqa.breakdown import MIN_ARTICLES, MIN_QUESTIONS
from spanqa.caveats import cautions
from spanqa.figure import COLOURS, VALIDATED_ON, training_curves
from spanqa.narrative import narrate
from spanqa.records import write_atomic
from spanqa.results import COLUMNS, comparison_rows, results_csv, spread_text
from spanqa.run import Comparison, Run
from spanqa.significance import PairedBootstrap
from spanqa.wording import DASH, count, interval, p_value, ratio, signed

__all__ = ["Report", "comparison_rows", "write_report"]


@dataclass(frozen=True)
class Report:
    """Where a report's files lie."""

    csv: Path
    figure: Path
    html: Path


@dataclass(frozen=True)
class Bar:
    """An interval drawn on a line from -50 to 50, 0 being no difference."""

    low: float
    high: float
    middle: float


def write_report(comparison: Comparison, folder: Path | str) -> Report:
    """Write the three files of a report into `folder`.

    Equal comparisons give equal files: nothing in them tells when they were written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = Report(
        csv=folder / "results.csv",
        figure=folder / "training_results.png",
        html=folder / "report.html",
    )
    curves = training_curves(comparison)
    write_atomic(report.csv, results_csv(comparison).encode())
    write_atomic(report.figure, curves)
    # A lone surrogate in a question has no UTF-8 form.
    write_atomic(report.html, render_html(comparison, curves).encode("utf-8", "replace"))
    return report


def render_html(comparison: Comparison, curves: bytes) -> str:
    """The report as one page that needs no other file; `curves` is the PNG shown in it."""
    analysis = analyse(comparison)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        spread=spread_text, number=number, interval=interval, p_value=p_value, signed=signed
    )
    template = files("spanqa").joinpath("report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        recipe=comparison.recipe,
        recipe_yaml=comparison.recipe.to_yaml(),
        analysis=analysis,
        runs=comparison.runs,
        cautions=cautions(comparison, analysis),
        sections=narrate(comparison, analysis),
        figure=f"data:image/png;base64,{b64encode(curves).decode()}",
        validated_on=VALIDATED_ON[comparison.recipe.training.validate_on],
        bars=bars(analysis),
        colours=head_colours(analysis),
        environment=environment_rows(comparison.runs),
        columns=COLUMNS,
        limits={"questions": MIN_QUESTIONS, "articles": MIN_ARTICLES, "flips": MAX_FLIPS},
        count=count,
        ratio=ratio,
        separated=separated,
        dash=DASH,
        version=__version__,
    )


def number(value: float | None, decimals: int = 2) -> str:
    """A number with so many decimals, or a dash where there is none."""
    return DASH if value is None or not isfinite(value) else f"{value:,.{decimals}f}"


def head_colours(analysis: Analysis) -> dict[str, str]:
    """The colour that each head has in the figure."""
    return {h.head: COLOURS[i % len(COLOURS)] for i, h in enumerate(analysis.heads)}


def bars(analysis: Analysis) -> list[Bar | None]:
    """Each pair's interval of exact match on one common scale; None without an interval."""
    shown = [pair.exact for pair in analysis.pairs if isfinite(pair.exact.low)]
    widest = max((max(abs(d.low), abs(d.high), abs(d.difference)) for d in shown), default=0.0)

    def place(difference: PairedBootstrap) -> Bar | None:
        if not isfinite(difference.low) or widest == 0:
            return None
        scale = 48 / widest
        return Bar(scale * difference.low, scale * difference.high, scale * difference.difference)

    return [place(pair.exact) for pair in analysis.pairs]


def environment_rows(runs: Sequence[Run]) -> list[tuple[str, tuple[str, ...]]]:
    """Dotted key -> the distinct values of the runs, more than one where they differ."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for key, value in _flat(run.environment):
            found.setdefault(key, {})[value] = None
    return [(key, tuple(values)) for key, values in found.items()]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            rows.append((f"{prefix}{key}", ", ".join(map(str, value))))
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows
