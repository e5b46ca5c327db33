"""Temperature and null threshold, fitted on questions of their own and stored in the checkpoint.

The temperature minimises the mean negative log-likelihood of the gold answers (Guo et al. 2017),
with the partition function over all spans of the text, not over a kept n-best. The null threshold
is the one with the best exact match, or F1, on the same questions. What `abstention.rule_for` needs
is counted on them as well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from spanqa.abstention import ALWAYS, count_levels
from spanqa.data import fingerprint
from spanqa.decoding import WindowScores, decode_all, log_partition, span_odds
from spanqa.metrics import best_thresholds, evaluate, question_scores
from spanqa.records import from_json, parse
from spanqa.run import Calibration
from spanqa.windows import Floats, TokenizedText, Windows

if TYPE_CHECKING:
    from spanqa.model import SpanQAConfig

TEMPERATURES = (0.05, 20.0)
"""Range that the temperature is sought in."""


def calibrate(
    windows: Windows,
    scores: Sequence[WindowScores],
    *,
    max_answer_length: int,
    objective: Literal["exact", "f1"] = "exact",
) -> Calibration:
    """Fit temperature and null threshold on the questions of `windows`.

    Args:
        windows: calibration questions, none of which is reported on.
        scores: of their windows.
        max_answer_length: tokens in the longest answer.
        objective: what the threshold is to be best for.
    """
    temperature = fit_temperature(windows, scores, max_answer_length)
    predictions = decode_all(
        windows, scores, max_answer_length=max_answer_length, n_best=1, temperature=temperature
    )
    best = {p.id: ALWAYS.text(p) for p in predictions}
    null_odds = {p.id: p.null_odds for p in predictions}
    raw = question_scores(windows.examples, best)
    thresholds = best_thresholds(raw, null_odds, strict=True)
    threshold = thresholds.exact_threshold if objective == "exact" else thresholds.f1_threshold
    before = evaluate(windows.examples, best, na_probs=null_odds, threshold=0.0)
    after = evaluate(windows.examples, best, na_probs=null_odds, threshold=threshold)
    return Calibration(
        temperature=temperature,
        null_threshold=threshold,
        questions=len(windows.examples),
        exact_before=before.exact,
        exact_after=after.exact,
        objective=objective,
        fingerprint=fingerprint(windows.examples),
        levels=count_levels(
            [p.spans[0].probability if p.spans else 0.0 for p in predictions],
            [score.has_answer and score.exact == 1.0 for score in raw],
        ),
    )


def store(calibration: Calibration, config: SpanQAConfig) -> None:
    """Make a model answer by what was fitted, and say so in its configuration."""
    config.temperature = calibration.temperature
    config.null_threshold = calibration.null_threshold
    config.calibration = asdict(calibration)


def stored(config: SpanQAConfig, name: str) -> Calibration | None:
    """What `store` put into the configuration of the checkpoint `name`; None where nothing was.

    Raises:
        DataError: the record is damaged.
    """
    if config.calibration is None:
        return None
    # A configuration that was never on disk holds tuples where JSON has lists.
    record = parse(json.dumps(config.calibration), name)
    return from_json(Calibration, record, f"{name}: calibration in config.json")


def fit_temperature(
    windows: Windows, scores: Sequence[WindowScores], max_answer_length: int
) -> float:
    """Temperature with the highest likelihood of the gold answers; 1 where none is in reach."""
    questions = []
    for e, example in enumerate(windows.examples):
        text = windows.texts[e]
        odds = span_odds(text, scores[windows.first[e] : windows.first[e + 1]], max_answer_length)
        gold = _gold_odds(text, odds, [(a.start, a.end) for a in example.answers])
        if gold.size or not example.answers:
            questions.append((odds[np.isfinite(odds)], gold))
    if not questions:
        return 1.0

    def mean_loss(log_temperature: float) -> float:
        t = float(np.exp(log_temperature))
        return float(
            np.mean([log_partition(odds, t) - _gold_score(gold, t) for odds, gold in questions])
        )

    low, high = np.log(TEMPERATURES)
    return float(np.exp(minimize_scalar(mean_loss, bounds=(low, high), method="bounded").x))


def _gold_odds(
    text: TokenizedText, odds: Floats, references: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    """Log-odds of the distinct references; empty for an unanswerable question."""
    cells = {text.token_span(start, end) for start, end in references} - {None}
    found = [odds[c[0], c[1] - c[0]] for c in cells if c and c[1] - c[0] < odds.shape[1]]
    return np.array([value for value in found if np.isfinite(value)], np.float64)


def _gold_score(gold: NDArray[np.float64], temperature: float) -> float:
    return float(np.logaddexp.reduce(gold / temperature)) if gold.size else 0.0
