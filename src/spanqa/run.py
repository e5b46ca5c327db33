"""One training run on disk: what it was, what it measured, what it answered.

A run folder holds

    run.json                 the `Run` below, without predictions
    predictions.json         question id -> answer text ("" = no answer), at the fitted threshold
    best_spans.json          question id -> best non-null answer text, whatever the threshold
    null_odds.json           question id -> null log-odds (score of no answer - score of the best span)
    nbest_predictions.json   question id -> n-best list
    model/                   the best checkpoint: config, weights (safetensors), tokenizer
    checkpoints/             the trainer's own, for resuming

No torch in here: a report is made on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LossPoint:
    """Mean training loss since the previous point."""

    step: int
    epoch: float
    loss: float
    grad_norm: float
    """L2 norm of the gradient before clipping."""
    learning_rate: float


@dataclass(frozen=True)
class EpochPoint:
    """Official metrics on the validation questions after one epoch; percent."""

    epoch: float
    step: int
    train_loss: float
    """Mean over the epoch."""
    exact: float
    f1: float
    has_ans_exact: float | None
    """None where there is no answerable question."""
    no_ans_exact: float | None


@dataclass(frozen=True)
class Cost:
    """What the run cost. Throughputs exclude loading and tokenising."""

    train_seconds: float
    train_windows: int
    """Windows seen in training, epochs counted."""
    train_batches_per_second: float
    train_questions_per_second: float
    eval_seconds: float
    eval_windows: int
    eval_batches_per_second: float
    eval_questions_per_second: float
    peak_memory_mb: float
    """Peak resident memory of the process on a CPU, peak allocated memory on a GPU; MiB."""
    head_parameters: int
    total_parameters: int


@dataclass(frozen=True)
class Calibration:
    """Fitted on the calibration questions, never on the reported ones."""

    temperature: float
    null_threshold: float
    """A question gets no answer where its null log-odds exceed this."""
    questions: int
    exact_before: float
    """Percent at threshold 0, on the calibration questions."""
    exact_after: float
    """Percent at the fitted threshold, on the same."""


@dataclass(frozen=True)
class Run:
    """One head with one seed."""

    head: str
    seed: int
    losses: tuple[LossPoint, ...]
    epochs: tuple[EpochPoint, ...]
    best_epoch: float
    metrics: dict[str, float]
    """Official keys on the evaluation questions, at the fitted threshold; percent."""
    uncalibrated: dict[str, float]
    """The same at threshold 0."""
    leaky_exact: float
    """Percent, scored as the course report did: gold no-answers forced right, first reference, first window."""
    calibration: Calibration
    cost: Cost
    environment: dict[str, Any]
    """Versions, hardware, threads, precision, data fingerprints, recipe signature."""
    predictions: dict[str, str] = field(repr=False, default_factory=dict)
    best_spans: dict[str, str] = field(repr=False, default_factory=dict)
    null_odds: dict[str, float] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class Question:
    """What the report needs of an evaluation question; stored once per comparison in `questions.jsonl`."""

    id: str
    article: str
    """Resampling unit: the title, or the paragraph where articles are not known."""
    question: str
    context: str
    answers: tuple[str, ...]
    """Reference texts; empty = unanswerable."""
    windows: int
    """Windows that its context was cut into."""
