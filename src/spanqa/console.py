"""What the command line prints: tables and texts made of finished results.

Results go to standard output. Text that comes from files or models is never read as markup.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from spanqa.answer import Answer
    from spanqa.batch import Totals
    from spanqa.check import Findings, Lengths
    from spanqa.manifest import Manifest
    from spanqa.reliability import Reliability
    from spanqa.run import Calibration

_SHOWN = 10
"""Problems of a kind that are listed unless all are asked for."""
_PRECISIONS = (0.6, 0.7, 0.8, 0.9, 0.95)
_BAR = 40
"""Columns of the longest bar of a histogram."""
_AROUND = 200
"""Characters shown on either side of an answer, at most."""
_SENTENCE_END = re.compile(r"[.!?]['\")\]]*\s+|[。！？]|\n\s*\n\s*")  # noqa: RUF001


def print_json(value: object, *, indent: int | None = 2) -> None:
    """Print `value` as JSON, in ASCII so that it survives any terminal and pipe."""
    print(json.dumps(value, indent=indent))


def print_metrics(metrics: Mapping[str, float], signature: str = "") -> None:
    """Print official metrics, one to a line, and the line that says how they came about."""
    _print(_pairs({name: _figure(name, value) for name, value in metrics.items()}))
    if signature:
        _print(Text(_plain(signature), style="dim"))


def _figure(name: str, value: float) -> str:
    if name.endswith("total"):
        return f"{value:,.0f}"
    return f"{value:.6g}" if name.endswith("thresh") else f"{value:.2f}"


def print_comparison(rows: Sequence[Mapping[str, str]]) -> None:
    """Print one column per head and one line per measure, which fits a narrow terminal."""
    first, *measures = rows[0]
    table = Table()
    table.add_column(first)
    for row in rows:
        table.add_column(row[first], justify="right", style="bold")
    for measure in measures:
        table.add_row(measure, *(row[measure] for row in rows))
    _print(table)


def print_answers(question: str, context: str, answers: Sequence[Answer]) -> None:
    """Print a question's answers, best first, each in its sentence."""
    _print(Text(_plain(question), style="bold"))
    for answer in answers:
        chance = f"probability {answer.probability:.3f}"
        if not answer.text:
            _print(Text(f"  no answer  ({chance})", style="yellow"))
            continue
        line = Text("  ").append(_plain(answer.text), style="bold green")
        _print(line.append(f"  ({chance}, characters {answer.start} to {answer.end})"))
        _print(Text("    ").append_text(_highlighted(context, answer.start, answer.end)))


def _highlighted(context: str, start: int, end: int) -> Text:
    """The sentence around an answer; the answer in colour, or in >> << where there is none."""
    left, right = surroundings(context, start, end)
    opening, closing = ("", "") if sys.stdout.isatty() else (">>", "<<")
    text = Text("... " if 0 < left == start - _AROUND else "")
    text.append(_plain(context[left:start]))
    text.append(f"{opening}{_plain(context[start:end])}{closing}", style="bold green")
    text.append(_plain(context[end:right]).rstrip())
    return text.append(" ..." if len(context) > right == end + _AROUND else "")


def surroundings(context: str, start: int, end: int) -> tuple[int, int]:
    """Offsets of the sentence around `context[start:end]`, cut where it is very long."""
    left, right = max(0, start - _AROUND), min(len(context), end + _AROUND)
    for border in _SENTENCE_END.finditer(context, left, start):
        left = border.end()
    following = _SENTENCE_END.search(context, end, right)
    return left, following.end() if following else right


_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_TURNING = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the direction of all that follows, so that it reads as something else."""


def _plain(text: str) -> str:
    """On one line, and without characters that steer a terminal."""
    return _TURNING.sub("", _STEERING.sub(" ", text))


def print_reliability(found: Reliability) -> None:
    """Print how far probabilities can be trusted; rates run from 0 to 1."""
    auroc, precision = found.answerability_auroc, found.precision
    rows = {
        "answered": f"{found.answered:.3f}",
        "precision of the answers": "-" if precision is None else f"{precision:.3f}",
        "expected calibration error": f"{found.calibration_error:.4f}",
        "Brier score": f"{found.brier:.4f}",
        "AUROC of answerability": "-" if auroc is None else f"{auroc:.4f}",
        "area under risk and coverage": f"{found.aurc:.4f}",
        "  above a perfect order's": f"{found.excess_aurc:.4f}",
    }
    _print(_pairs(rows))


def print_calibration(found: Calibration) -> None:
    """Print what was fitted, and which precisions the questions support."""
    from spanqa.abstention import NEVER, rule_for

    rows = {
        "calibration questions": f"{found.questions:,}",
        "temperature": f"{found.temperature:.4f}",
        "null threshold": f"{found.null_threshold:.4f}",
        "exact match at threshold 0": f"{found.exact_before:.2f}",
        "exact match at the fitted one": f"{found.exact_after:.2f}",
    }
    given = {level.probability: level.given for level in found.levels}
    for wanted in _PRECISIONS:
        rule = rule_for(wanted, found.levels)
        least = rule.min_probability
        rows[f"min_precision {wanted}"] = (
            "not supported by these questions"
            if rule == NEVER
            else f"probability {least} or more; answers {given[least] / found.questions:.1%}"
        )
    _print(_pairs(rows))


def _pairs(rows: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(_plain(name), value)
    return table


def print_findings(findings: Findings, *, every: bool = False) -> None:
    """Print what is wrong with a file, and how long its texts are.

    Args:
        findings: What `spanqa.check.check` found.
        every: List all problems, not the first few of each kind.
    """
    from spanqa.check import KINDS

    by_kind = sorted(findings.problems, key=lambda problem: list(KINDS).index(problem.kind))
    for kind, group in groupby(by_kind, key=lambda problem: problem.kind):
        problems = list(group)
        shown = len(problems) if every else _SHOWN
        _print(Text(f"{KINDS[kind]}: {len(problems):,}", style="bold red"))
        for problem in problems[:shown]:
            _print(Text(_plain(f"  {problem.sentence}")))
        if len(problems) > shown:
            _print(Text(f"  and {len(problems) - shown:,} more; --all lists them", style="dim"))
    _print_lengths(findings.lengths)
    verdict = "nothing is wrong" if findings.ok else f"{len(findings.problems):,} problems"
    last = f"{findings.source}: {findings.questions:,} questions, {verdict}"
    _print(Text(_plain(last), style="bold"))


def _print_lengths(lengths: Lengths) -> None:
    most = max((bin.count for bin in lengths.bins), default=0)
    table = Table(box=None, pad_edge=False)
    table.add_column(f"question + context, {lengths.unit}", justify="right")
    table.add_column("questions", justify="right")
    table.add_column("")
    for bin in lengths.bins:
        bar = "#" * (bin.count * _BAR // most if most else 0)
        table.add_row(f"{bin.low + 1}-{bin.high}", f"{bin.count:,}", bar)
    _print(table)
    _print(Text(f"longest {lengths.longest:,}; {lengths.longer:,} above {lengths.max_length}"))


def print_backend(name: str) -> None:
    """Say on standard error what runs the model."""
    print(f"backend: {name}", file=sys.stderr)


def print_progress(totals: Totals) -> None:
    """Say on standard error how far a batch is, a hundred times at most."""
    every = -(-totals.shards // 100)
    if totals.done % every == 0 or totals.done == totals.shards:
        print(
            f"{totals.done:,} of {totals.shards:,} shards: {totals.answered:,} rows answered, "
            f"{totals.rejected:,} rejected",
            file=sys.stderr,
            flush=True,
        )


def print_trials(manifest: Manifest) -> None:
    """Print what the gate of an export measured, one column per backend."""
    table = Table()
    table.add_column(f"{manifest.gate.questions:,} questions")
    for name in manifest.trials:
        table.add_column(_plain(name), justify="right")
    rows = {
        "answered alike": [f"{trial.agreement:.1%}" for trial in manifest.trials.values()],
        "exact match": [f"{trial.exact:.2f}" for trial in manifest.trials.values()],
        "questions a second": [
            f"{trial.questions_per_second:.1f}" for trial in manifest.trials.values()
        ],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    _print(table)


def print_paths(paths: Iterable[object]) -> None:
    """Print paths one to a line, never wrapped."""
    for path in paths:
        print(_plain(str(path)) if sys.stdout.isatty() else path)


def _print(what: Table | Text) -> None:
    """Print to the standard output of this moment; a pipe has no width to keep to."""
    width = None if sys.stdout.isatty() else 160
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    console.print(what, soft_wrap=isinstance(what, Text))


def complain(sentence: str) -> None:
    """Say on standard error what is wrong, in one line."""
    line = f"spanqa: {_plain(' '.join(sentence.split()))}"
    encoding = sys.stderr.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)
