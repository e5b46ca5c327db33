"""The comparison as tables: `results.csv`, one row per run, and the rows that a terminal shows."""

from __future__ import annotations

import csv
from collections.abc import Callable
from io import StringIO

from spanqa.analysis import by_head
from spanqa.run import Comparison, Run
from spanqa.summary import Spread, summarise
from spanqa.wording import DASH

Value = float | str | None

COLUMNS: dict[str, tuple[str, Callable[[Run], Value]]] = {
    "head": ("Head", lambda run: run.head),
    "seed": ("Seed of the training", lambda run: run.seed),
    "exact": ("Exact match at the fitted threshold, percent", lambda run: run.metrics["exact"]),
    "f1": ("F1 at the fitted threshold, percent", lambda run: run.metrics["f1"]),
    "has_ans_exact": (
        "Exact match on the answerable questions; empty without any",
        lambda run: run.metrics.get("HasAns_exact"),
    ),
    "has_ans_f1": (
        "F1 on the answerable questions; empty without any",
        lambda run: run.metrics.get("HasAns_f1"),
    ),
    "no_ans_exact": (
        "Exact match on the unanswerable questions; empty without any",
        lambda run: run.metrics.get("NoAns_exact"),
    ),
    "exact_at_zero": (
        "Exact match at null threshold 0",
        lambda run: run.uncalibrated.get("exact"),
    ),
    "f1_at_zero": ("F1 at null threshold 0", lambda run: run.uncalibrated.get("f1")),
    "best_possible_exact": (
        "Exact match with the threshold chosen on the reported questions: a bound, not a result",
        lambda run: run.metrics.get("best_exact"),
    ),
    "leaky_exact": (
        "Exact match with every unanswerable question counted right, the first reference and the "
        "first window alone: not a result",
        lambda run: run.leaky_exact,
    ),
    "null_threshold": (
        "Null log-odds above which no answer is given",
        lambda run: run.calibration.null_threshold,
    ),
    "temperature": (
        "Divides the scores before they become probabilities",
        lambda run: run.calibration.temperature,
    ),
    "calibration_questions": (
        "Questions that the threshold and the temperature were fitted on",
        lambda run: run.calibration.questions,
    ),
    "calibration_exact_before": (
        "Exact match on them at threshold 0",
        lambda run: run.calibration.exact_before,
    ),
    "calibration_exact_after": (
        "Exact match on them at the fitted threshold",
        lambda run: run.calibration.exact_after,
    ),
    "best_epoch": ("Epoch of the checkpoint that was kept", lambda run: run.best_epoch),
    "last_train_loss": (
        "Mean training loss of the last epoch",
        lambda run: run.epochs[-1].train_loss if run.epochs else None,
    ),
    "train_seconds": ("Time in training", lambda run: run.cost.train_seconds),
    "train_windows": ("Windows seen in training", lambda run: run.cost.train_windows),
    "train_batches_per_second": (
        "Batches trained on per second",
        lambda run: run.cost.train_batches_per_second,
    ),
    "train_questions_per_second": (
        "Questions trained on per second",
        lambda run: run.cost.train_questions_per_second,
    ),
    "eval_seconds": ("Time in evaluation", lambda run: run.cost.eval_seconds),
    "eval_windows": ("Windows evaluated", lambda run: run.cost.eval_windows),
    "eval_batches_per_second": (
        "Batches evaluated per second",
        lambda run: run.cost.eval_batches_per_second,
    ),
    "eval_questions_per_second": (
        "Questions evaluated per second",
        lambda run: run.cost.eval_questions_per_second,
    ),
    "peak_memory_mb": ("Peak memory, MiB", lambda run: run.cost.peak_memory_mb),
    "head_parameters": ("Parameters of the head", lambda run: run.cost.head_parameters),
    "total_parameters": ("Parameters of the whole model", lambda run: run.cost.total_parameters),
}
"""Column of `results.csv` -> what it holds, and how it is taken from a run."""


def results_csv(comparison: Comparison) -> str:
    """One row per run with the columns above; numbers in full precision."""
    written = StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in comparison.runs:
        writer.writerow(value(run) for _, value in COLUMNS.values())
    return written.getvalue()


def comparison_rows(comparison: Comparison) -> list[dict[str, str]]:
    """One row per head, mean and standard deviation over its seeds, ready to be printed."""
    rows = []
    for head, runs in by_head(comparison).items():
        found = summarise(head, runs)
        rows.append(
            {
                "head": head,
                "EM": spread_text(found.exact),
                "F1": spread_text(found.f1),
                "HasAns EM": spread_text(found.has_ans_exact),
                "NoAns EM": spread_text(found.no_ans_exact),
                "threshold": spread_text(found.null_threshold),
                "train q/s": spread_text(found.cost.train_questions_per_second, 1),
                "eval q/s": spread_text(found.cost.eval_questions_per_second, 1),
                "memory MiB": spread_text(found.cost.peak_memory_mb, 0),
            }
        )
    return rows


def spread_text(value: Spread | None, decimals: int = 2) -> str:
    """`71.20 ± 0.31` with several seeds, `71.20` with one, a dash without a figure."""
    if value is None:
        return DASH
    text = f"{value.mean:,.{decimals}f}"
    return text if value.sd is None else f"{text} ± {value.sd:,.{decimals}f}"
