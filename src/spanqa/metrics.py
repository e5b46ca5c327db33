"""SQuAD figures: per-question scores first, sums second.

`evaluate` gives what the official SQuAD 2.0 script (evaluate-v2.0.py) prints, to the last digit,
and `evaluate_v1` what the SQuAD 1.1 script (evaluate-v1.1.py) prints. Sums run from left to right
in the scripts' own order: Python's `sum` rounds differently from 3.12 on, and the published
figures come from before. Strict mode repairs what the 2.0 script is known to get wrong; see
`evaluate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from spanqa import __version__
from spanqa.data import Example
from spanqa.errors import DataError, RecipeError
from spanqa.matching import (
    QuestionScore,
    exact_match,
    f1_score,
    normalize_answer,
    question_scores,
    word_overlap,
)
from spanqa.predictions import (
    check_foreign,
    check_labelled,
    check_missing,
    check_probabilities,
    named,
    read_na_probs,
    read_predictions,
)
from spanqa.thresholds import (
    AveragePrecision,
    BestThresholds,
    average_precisions,
    best_thresholds,
    left_to_right_sum,
)

__all__ = [
    "AveragePrecision",
    "BestThresholds",
    "Figures",
    "QuestionScore",
    "Scores",
    "ScoresV1",
    "best_thresholds",
    "evaluate",
    "evaluate_v1",
    "exact_match",
    "f1_score",
    "leaky_exact",
    "normalize_answer",
    "question_scores",
    "read_na_probs",
    "read_predictions",
    "signature",
]


@dataclass(frozen=True)
class Figures:
    """Means over a set of questions."""

    exact: float
    """Percent."""
    f1: float
    """Percent."""
    total: int
    """Questions."""


@dataclass(frozen=True)
class Scores:
    """Figures of a SQuAD 2.0 evaluation."""

    overall: Figures
    has_answer: Figures | None
    """Over the answerable questions; None where there are none."""
    no_answer: Figures | None
    """Over the unanswerable questions; None where there are none."""
    best: BestThresholds | None
    """None without null scores."""
    average_precision: AveragePrecision | None
    """None unless asked for, or where no question is answerable."""
    threshold: float
    """A question got no answer where its null score exceeded this."""
    strict: bool
    questions: tuple[QuestionScore, ...] = field(repr=False)
    """In the order of the examples, with the threshold applied."""

    @property
    def exact(self) -> float:
        """Exact match over all questions; percent."""
        return self.overall.exact

    @property
    def f1(self) -> float:
        """F1 over all questions; percent."""
        return self.overall.f1

    @property
    def total(self) -> int:
        """Questions scored."""
        return self.overall.total

    def as_dict(self) -> dict[str, float]:
        """The official script's keys in the official order."""
        parts = (("", self.overall), ("HasAns_", self.has_answer), ("NoAns_", self.no_answer))
        result: dict[str, float] = {}
        for prefix, part in parts:
            if part is not None:
                result[f"{prefix}exact"] = part.exact
                result[f"{prefix}f1"] = part.f1
                result[f"{prefix}total"] = part.total
        if self.best is not None:
            result["best_exact"] = self.best.exact
            result["best_exact_thresh"] = self.best.exact_threshold
            result["best_f1"] = self.best.f1
            result["best_f1_thresh"] = self.best.f1_threshold
        if self.average_precision is not None:
            result["pr_exact_ap"] = self.average_precision.exact
            result["pr_f1_ap"] = self.average_precision.f1
            result["pr_oracle_ap"] = self.average_precision.oracle
        return result


@dataclass(frozen=True)
class ScoresV1:
    """Figures of a SQuAD 1.1 evaluation."""

    overall: Figures
    missing: tuple[str, ...]
    """Ids of the questions without a prediction; they score 0."""
    strict: bool

    def as_dict(self) -> dict[str, float]:
        """The official script's keys in the official order."""
        return {"exact_match": self.overall.exact, "f1": self.overall.f1}


def evaluate(
    examples: Sequence[Example],
    predictions: Mapping[str, str],
    *,
    na_probs: Mapping[str, float] | None = None,
    threshold: float = 1.0,
    strict: bool = False,
    precision_recall: bool = False,
) -> Scores:
    """Evaluate as the official SQuAD 2.0 script does, to the last digit.

    Args:
        examples: The questions; those without answers are the unanswerable ones.
        predictions: Question id -> answer text, "" for no answer.
        na_probs: Question id -> score of no answer (a probability, or log-odds outside strict
            mode). Needed for the best thresholds.
        threshold: No answer is given where the score of no answer exceeds it; without
            `na_probs`, that score is 0.
        strict: Depart from the script where it is wrong: ids that belong to no question and
            `na_probs` outside 0 to 1 are errors, a prediction such as "the" does not count as "no
            answer", and no threshold is put between equal scores.
        precision_recall: Add the average precisions that the script gives with an image folder.

    Raises:
        DataError: A question has no prediction or no score (the script stops there too), a file
            does not fit the questions, or strict mode refuses it.
        RecipeError: `precision_recall` without `na_probs`.
    """
    if precision_recall and na_probs is None:
        raise RecipeError("precision_recall needs na_probs: give the scores of no answer as well.")
    check_labelled(examples)
    ids = {example.id for example in examples}
    check_missing(ids, predictions, "prediction")
    if strict:
        check_foreign(ids, predictions, "prediction")
    if na_probs is not None:
        check_missing(ids, na_probs, "probability of no answer")
        if strict or precision_recall:  # the script's precision-recall part stops on foreign ids
            check_foreign(ids, na_probs, "probability of no answer")
        if strict:
            check_probabilities(na_probs)
    raw = question_scores(examples, predictions, strict=strict)
    final = _abstain(raw, na_probs, threshold)
    has_answer = [score for score in final if score.has_answer]
    no_answer = [score for score in final if not score.has_answer]
    return Scores(
        overall=_figures(final),
        has_answer=_figures(has_answer) if has_answer else None,
        no_answer=_figures(no_answer) if no_answer else None,
        best=None if na_probs is None else best_thresholds(raw, na_probs, strict=strict),
        average_precision=average_precisions(raw, na_probs)
        if precision_recall and na_probs is not None and has_answer
        else None,
        threshold=threshold,
        strict=strict,
        questions=final,
    )


def _abstain(
    scores: tuple[QuestionScore, ...], na_probs: Mapping[str, float] | None, threshold: float
) -> tuple[QuestionScore, ...]:
    """Replace the predictions of questions whose null score exceeds the threshold by ""."""
    above = {
        score.id
        for score in scores
        if (0.0 if na_probs is None else na_probs[score.id]) > threshold
    }
    if not above:
        return scores
    return tuple(
        replace(
            score,
            exact=float(not score.has_answer),
            f1=float(not score.has_answer),
            answered=False,
        )
        if score.id in above
        else score
        for score in scores
    )


def _figures(scores: Sequence[QuestionScore]) -> Figures:
    total = len(scores)
    return Figures(
        exact=100.0 * left_to_right_sum([score.exact for score in scores]) / total,
        f1=100.0 * left_to_right_sum([score.f1 for score in scores]) / total,
        total=total,
    )


def evaluate_v1(
    examples: Sequence[Example], predictions: Mapping[str, str], *, strict: bool = False
) -> ScoresV1:
    """Evaluate as the official SQuAD 1.1 script does, to the last digit.

    Questions without a prediction score 0; `strict` makes them, and foreign ids, an error.

    Raises:
        DataError: A question has no answer (SQuAD 1.1 has none such), or strict mode refuses.
    """
    check_labelled(examples)
    unanswerable = [example.id for example in examples if not example.answers]
    if unanswerable:
        raise DataError(
            f"SQuAD 1.1 scoring needs an answer to every question, and {named(unanswerable)} "
            "have none; score such data as SQuAD 2.0."
        )
    ids = {example.id for example in examples}
    if strict:
        check_missing(ids, predictions, "prediction")
        check_foreign(ids, predictions, "prediction")
    exact, f1 = [0.0] * len(examples), [0.0] * len(examples)
    for i, example in enumerate(examples):
        if example.id in predictions:
            predicted = normalize_answer(predictions[example.id])
            references = {normalize_answer(text) for text in {a.text for a in example.answers}}
            exact[i] = float(predicted in references)
            # Unlike the 2.0 script, this one finds no overlap between two empty texts.
            f1[i] = max(word_overlap(r, predicted) for r in references) if predicted else 0.0
    total = len(examples)
    figures = Figures(
        100.0 * left_to_right_sum(exact) / total, 100.0 * left_to_right_sum(f1) / total, total
    )
    return ScoresV1(figures, tuple(e.id for e in examples if e.id not in predictions), strict)


def leaky_exact(examples: Sequence[Example], predictions: Mapping[str, str]) -> float:
    """Exact match as the course report counted it; percent. To be shown beside, never reported.

    Unanswerable questions count as right whatever was predicted, and only the first reference
    counts. The report also read the first window alone: pass predictions made so.
    """
    check_labelled(examples)
    right = [
        not e.answers or exact_match(e.answers[0].text, predictions.get(e.id, "")) for e in examples
    ]
    return 100.0 * sum(right) / len(right)


def signature(scores: Scores | ScoresV1) -> str:
    """One line that says how figures came about, to be quoted beside them."""
    parts = {"metric": "squad1.1", "questions": str(scores.overall.total)}
    if isinstance(scores, Scores):
        null_scores = "yes" if scores.best is not None else "no"
        parts["metric"] = "squad2.0"
        parts |= {"null_scores": null_scores, "threshold": f"{scores.threshold:.17g}"}
    parts |= {"mode": "strict" if scores.strict else "official", "spanqa": __version__}
    return "|".join(f"{key}:{value}" for key, value in parts.items())
