"""Windows -> scores -> answers -> files and official metrics: the one way from a model to figures.

Training-time evaluation, `spanqa evaluate`, `spanqa predict` and the Reader all score windows here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from spanqa.decoding import Prediction, WindowScores, decode_all
from spanqa.metrics import Scores, evaluate
from spanqa.model import SpanQAModel
from spanqa.records import dump, write_atomic
from spanqa.windows import Windows


@dataclass(frozen=True)
class Scored:
    """Scores of all windows, in their order, and what they took."""

    scores: list[WindowScores]
    seconds: float
    batches: int


def score_windows(
    model: SpanQAModel, windows: Windows, *, batch_size: int = 32, bf16: bool = False
) -> Scored:
    """Run the model over all windows, the longest first, each batch padded to its longest.

    Args:
        model: on the device it is to run on.
        windows: what `spanqa.windows.cut` made.
        batch_size: windows in a batch.
        bf16: compute the encoder in bfloat16.
    """
    began = time.perf_counter()
    was_training = model.training
    model.train(False)
    order = np.argsort(-windows.lengths, kind="stable")
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    scores: dict[int, WindowScores] = {}
    with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        for rows in batches:
            scores.update(_score_batch(model, windows, rows.tolist()))
    model.train(was_training)
    in_order = [scores[row] for row in range(len(windows))]
    return Scored(in_order, time.perf_counter() - began, len(batches))


def _score_batch(
    model: SpanQAModel, windows: Windows, rows: list[int]
) -> Iterable[tuple[int, WindowScores]]:
    arrays = windows.batch(rows)
    del arrays["start_positions"], arrays["end_positions"]
    inputs = {name: torch.from_numpy(array).to(model.device) for name, array in arrays.items()}
    scores = model(**inputs).scores
    start, end = scores.start.float().cpu().numpy(), scores.end.float().cpu().numpy()
    unit, null = scores.unit.float().tolist(), scores.null.float().tolist()
    for i, row in enumerate(rows):
        window = windows[row]
        context = slice(window.offset, window.offset + window.end - window.begin)
        yield (
            row,
            WindowScores(
                window.begin, start[i, context].copy(), end[i, context].copy(), unit[i], null[i]
            ),
        )


def figures(
    windows: Windows, predictions: Sequence[Prediction], *, null_threshold: float = 0.0
) -> Scores:
    """Official metrics of decoded predictions, with answers withheld above the null threshold."""
    return evaluate(
        windows.examples,
        {p.id: best_text(p) for p in predictions},
        na_probs={p.id: p.null_odds for p in predictions},
        threshold=null_threshold,
    )


def best_text(prediction: Prediction) -> str:
    """Text of the best span, whatever the threshold; "" where the text has none."""
    return prediction.spans[0].text if prediction.spans else ""


def write_predictions(
    predictions: Sequence[Prediction], folder: Path, *, null_threshold: float = 0.0
) -> None:
    """Write `predictions.json`, `nbest_predictions.json` and `null_odds.json`.

    The layouts are those that the official script and run_qa's users know: id -> text, id -> list
    of {text, probability, start, end, odds}, best first, with the text "" for no answer, and
    id -> null log-odds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "predictions.json": {p.id: p.answer(null_threshold) for p in predictions},
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
    model: SpanQAModel, windows: Windows, scored: Scored, n_best: int
) -> list[Prediction]:
    """Decode with the longest answer and the temperature that the checkpoint holds."""
    return decode_all(
        windows,
        scored.scores,
        max_answer_length=model.config.max_answer_length,
        n_best=n_best,
        temperature=model.config.temperature,
    )
