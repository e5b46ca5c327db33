"""Windows -> scores -> answers -> files and official metrics: the one way from a model to figures.

Training-time evaluation, `spanqa evaluate`, `spanqa predict` and the Reader all score windows here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spanqa import group
from spanqa.abstention import ALWAYS, Rule
from spanqa.decoding import Prediction, WindowScores, decode_all
from spanqa.metrics import Scores, evaluate
from spanqa.records import dump, write_atomic
from spanqa.windows import Ints, Windows

if TYPE_CHECKING:
    from spanqa.backends import Backend
    from spanqa.model import SpanQAConfig


@dataclass(frozen=True)
class Scored:
    """Scores of all windows, in their order, and what they took."""

    scores: list[WindowScores]
    seconds: float
    batches: float
    """Windows over `batch_size`."""


def score_windows(
    backend: Backend, windows: Windows, *, batch_size: int = 32, together: bool = False
) -> Scored:
    """Score all windows, the longest first, each batch padded to its longest.

    Args:
        backend: what runs the model.
        windows: what `spanqa.windows.cut` made.
        batch_size: windows in a batch of the longest ones; a batch of shorter ones holds as many
            as have no more tokens together, padding counted.
        together: every process of the group calls this; each scores every n-th batch, and all get
            all scores. The batches are those of one process, so the scores are the same.
    """
    began = time.perf_counter()
    scores: dict[int, WindowScores] = {}
    first, step = (group.index(), group.size()) if together else (0, 1)
    for rows in islice(batches(windows.lengths, batch_size), first, None, step):
        scores.update(_score_batch(backend, windows, rows))
    if together:
        scores = group.gather(scores)
    in_order = [scores[row] for row in range(len(windows))]
    return Scored(in_order, time.perf_counter() - began, len(windows) / batch_size)


def batches(lengths: Ints, batch_size: int) -> Iterator[list[int]]:
    """Rows by falling length, in batches of at most `batch_size` times the longest's tokens.

    Args:
        lengths: (W,) tokens of each window.
        batch_size: windows in the first batch.
    """
    order = np.argsort(-lengths, kind="stable").tolist()
    budget = batch_size * int(lengths.max(initial=1))
    begin = 0
    while begin < len(order):
        end = begin + max(1, budget // int(lengths[order[begin]]))
        yield order[begin:end]
        begin = end


def _score_batch(
    backend: Backend, windows: Windows, rows: list[int]
) -> Iterator[tuple[int, WindowScores]]:
    arrays = windows.batch(rows)
    del arrays["start_positions"], arrays["end_positions"]
    scores = backend.score(arrays)
    for i, row in enumerate(rows):
        window = windows[row]
        context = slice(window.offset, window.offset + window.end - window.begin)
        yield (
            row,
            WindowScores(
                window.begin,
                scores.start[i, context].copy(),
                scores.end[i, context].copy(),
                float(scores.unit[i]),
                float(scores.null[i]),
            ),
        )


def figures(windows: Windows, predictions: Sequence[Prediction], rule: Rule) -> Scores:
    """Official metrics of decoded predictions, with answers withheld where the rule says so."""
    sure = replace(rule, null_threshold=math.inf)
    return evaluate(
        windows.examples,
        {p.id: sure.text(p) for p in predictions},
        na_probs={p.id: p.null_odds for p in predictions},
        threshold=rule.null_threshold,
    )


def best_text(prediction: Prediction) -> str:
    """Text of the best span, whatever speaks against it; "" where the text has none."""
    return ALWAYS.text(prediction)


def write_predictions(predictions: Sequence[Prediction], folder: Path, rule: Rule) -> None:
    """Write `predictions.json`, `nbest_predictions.json` and `null_odds.json`.

    The layouts are those that the official script and run_qa's users know: id -> text, id -> list
    of {text, probability, start, end, odds}, best first, with the text "" for no answer, and
    id -> null log-odds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "predictions.json": {p.id: rule.text(p) for p in predictions},
        "nbest_predictions.json": {p.id: _n_best(p) for p in predictions},
        "null_odds.json": {p.id: p.null_odds for p in predictions},
    }
    for name, content in files.items():
        write_atomic(folder / name, dump(content))


def _n_best(prediction: Prediction) -> list[dict[str, str | int | float]]:
    rows: list[dict[str, str | int | float]] = [
        {
            "text": span.text,
            "probability": span.probability,
            "start": span.start,
            "end": span.end,
            "odds": span.odds,
        }
        for span in prediction.spans
    ]
    rows.append(
        {"text": "", "probability": prediction.null_probability, "start": 0, "end": 0, "odds": 0.0}
    )
    return sorted(rows, key=lambda row: -float(row["probability"]))


def decode_with(
    config: SpanQAConfig, windows: Windows, scored: Scored, n_best: int
) -> list[Prediction]:
    """Decode with the longest answer and the temperature that the checkpoint holds."""
    return decode_all(
        windows,
        scored.scores,
        max_answer_length=config.max_answer_length,
        n_best=n_best,
        temperature=config.temperature,
    )
