"""SQuAD figures: per-question scores first, sums second.

`evaluate` gives what the official SQuAD 2.0 script (evaluate-v2.0.py) prints, to the last digit,
and `evaluate_v1` what the SQuAD 1.1 script (evaluate-v1.1.py) prints. Sums run from left to right
in the scripts' own order: Python's `sum` rounds differently from 3.12 on, and the published
figures come from before. Strict mode repairs what the 2.0 script is known to get wrong; see
`evaluate`.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spanqa import __version__
from spanqa.data import Example
from spanqa.errors import DataError, RecipeError
from spanqa.predictions import (
    check_foreign,
    check_labelled,
    check_missing,
    check_probabilities,
    named,
    read_na_probs,
    read_predictions,
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

_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = frozenset({"a", "an", "the"})
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True, slots=True)
class QuestionScore:
    """One question's score against its best-fitting reference."""

    id: str
    exact: float
    """1 or 0."""
    f1: float
    """0 to 1: overlap of normalised tokens."""
    has_answer: bool
    """Whether the text holds an answer, by the references."""
    answered: bool
    """Whether the prediction is anything but the empty string."""


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
class BestThresholds:
    """What the best threshold would give. Fitted on the very questions it is measured on."""

    exact: float
    """Percent, with no answer given where the null score exceeds `exact_threshold`."""
    exact_threshold: float
    f1: float
    """Percent, with no answer given where the null score exceeds `f1_threshold`."""
    f1_threshold: float


@dataclass(frozen=True)
class AveragePrecision:
    """Areas under the precision-recall curves of answering, by rising null score; percent."""

    exact: float
    f1: float
    oracle: float
    """As if every answerable question that is answered were answered rightly."""


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


def normalize_answer(text: str) -> str:
    """Lower-case `text`, drop ASCII punctuation and English articles, join words by one space."""
    text = text.lower().translate(_DROP_PUNCTUATION)
    if text.isascii() and text.isprintable():  # only letters, digits and spaces are left
        return " ".join([word for word in text.split() if word not in _ARTICLES])
    return " ".join(_ARTICLE.sub(" ", text).split())


def exact_match(reference: str, prediction: str) -> int:
    """1 where both texts are equal once normalised, else 0."""
    return int(normalize_answer(reference) == normalize_answer(prediction))


def f1_score(reference: str, prediction: str) -> float:
    """Harmonic mean of token precision and recall; 1 where both texts normalise to nothing."""
    return _f1(normalize_answer(reference), normalize_answer(prediction))


def _f1(reference: str, prediction: str) -> float:
    """`f1_score` of normalised texts."""
    if reference == prediction:
        return 1.0
    reference_words, words = reference.split(), prediction.split()
    if set(words).isdisjoint(reference_words):
        return 0.0
    same = (Counter(words) & Counter(reference_words)).total()
    precision = same / len(words)
    recall = same / len(reference_words)
    return (2 * precision * recall) / (precision + recall)


def question_scores(
    examples: Sequence[Example], predictions: Mapping[str, str], *, strict: bool = False
) -> tuple[QuestionScore, ...]:
    """Score each prediction as it stands, with no threshold applied.

    References that normalise to nothing are skipped; with none left, only a prediction that
    normalises to nothing is right. Questions without a prediction are left out. `strict` takes
    nothing but the empty string as right on an unanswerable question.
    """
    scores: dict[str, QuestionScore] = {}  # of equal ids the last counts, as in the script
    for example in examples:
        prediction = predictions.get(example.id)
        if prediction is not None:
            scores[example.id] = _question_score(example, prediction, strict)
    return tuple(scores.values())


def _question_score(example: Example, prediction: str, strict: bool) -> QuestionScore:
    answered = prediction != ""
    if not example.answers:
        right = float(not answered if strict else normalize_answer(prediction) == "")
        return QuestionScore(example.id, right, right, False, answered)
    predicted = normalize_answer(prediction)
    texts = {answer.text for answer in example.answers}
    if predicted and prediction in texts:  # the references need no normalising then
        return QuestionScore(example.id, 1.0, 1.0, True, answered)
    references = {normalize_answer(text) for text in texts} - {""} or {""}
    if predicted in references:
        return QuestionScore(example.id, 1.0, 1.0, True, answered)
    f1 = max(_f1(reference, predicted) for reference in references) if predicted else 0.0
    return QuestionScore(example.id, 0.0, f1, True, answered)


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
        average_precision=_average_precisions(raw, na_probs)
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
        exact=100.0 * _sum([score.exact for score in scores]) / total,
        f1=100.0 * _sum([score.f1 for score in scores]) / total,
        total=total,
    )


def _sum(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Left-to-right sum in double precision, on every Python version."""
    return float(np.add.accumulate(np.asarray(values, dtype=np.float64))[-1])


def best_thresholds(
    scores: Sequence[QuestionScore], na_probs: Mapping[str, float], *, strict: bool = False
) -> BestThresholds:
    """Best exact match and F1 over all thresholds on the null score; O(n log n).

    As in the script: beginning with no answer anywhere, questions are answered by rising
    `na_probs` (equal ones in the mapping's order) and the first best point is taken. The script
    allows a point between questions of equal score and calls the starting point 0; `strict`
    allows only what a threshold can bring about, so that `evaluate` at the threshold gives the
    figure, for any kind of null score.

    Args:
        scores: Raw scores, as `question_scores` gives them.
        na_probs: Question id -> null score: probability or log-odds.
        strict: See above.

    Raises:
        DataError: There are no scores, or one has no null score.
    """
    if not scores:
        raise DataError("There is no scored question to fit a threshold on.")
    check_missing({score.id for score in scores}, na_probs, "null score")
    ordered, na = _by_null_score(scores, na_probs)
    allowed = _group_ends(na) if strict else np.arange(len(na))
    first = 0.0
    if strict and na[0] <= 0.0:  # 0 would let these questions through
        first = math.nextafter(float(na[0]), -math.inf)

    def sweep(gains: list[float]) -> tuple[float, float]:
        start = float(sum(not score.has_answer for score in ordered))
        points = np.add.accumulate(np.array([start, *gains]))[np.append(0, allowed + 1)]
        best = int(points.argmax())
        threshold = na_probs[ordered[allowed[best - 1]].id] if best else first
        return 100.0 * float(points[best]) / len(ordered), threshold

    losses = [-float(score.answered) for score in ordered]
    exact = [s.exact if s.has_answer else loss for s, loss in zip(ordered, losses, strict=True)]
    f1 = [s.f1 if s.has_answer else loss for s, loss in zip(ordered, losses, strict=True)]
    return BestThresholds(*sweep(exact), *sweep(f1))


def _by_null_score(
    scores: Sequence[QuestionScore], na_probs: Mapping[str, float]
) -> tuple[list[QuestionScore], NDArray[np.float64]]:
    """Scores by rising null score, and those null scores; ties stay in the mapping's order."""
    by_id = {score.id: score for score in scores}
    known = [(by_id[id_], value) for id_, value in na_probs.items() if id_ in by_id]
    na = np.array([value for _, value in known], dtype=np.float64)
    order = np.argsort(na, kind="stable")
    return [known[i][0] for i in order], na[order]


def _group_ends(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index of the last of each run of equal values."""
    return np.flatnonzero(np.append(values[1:] != values[:-1], True))


def _average_precisions(
    scores: Sequence[QuestionScore], na_probs: Mapping[str, float]
) -> AveragePrecision:
    ordered, na = _by_null_score(scores, na_probs)
    ends = _group_ends(na)
    answerable = sum(score.has_answer for score in scores)

    def average(right: list[float]) -> float:
        true_positives = np.add.accumulate(np.array(right))[ends]
        precision = true_positives / (ends + 1)
        recall = true_positives / answerable
        return 100.0 * _sum(precision * np.diff(recall, prepend=0.0))

    return AveragePrecision(
        exact=average([score.exact if score.has_answer else 0.0 for score in ordered]),
        f1=average([score.f1 if score.has_answer else 0.0 for score in ordered]),
        oracle=average([float(score.has_answer) for score in ordered]),
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
            f1[i] = max(_f1(r, predicted) for r in references) if predicted else 0.0
    total = len(examples)
    figures = Figures(100.0 * _sum(exact) / total, 100.0 * _sum(f1) / total, total)
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
