"""One prediction against one question's references, as the official SQuAD scripts match them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spanqa.data import Example

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
    return word_overlap(normalize_answer(reference), normalize_answer(prediction))


def word_overlap(reference: str, prediction: str) -> float:
    """`f1_score` of texts that are normalised already."""
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
    f1 = max(word_overlap(reference, predicted) for reference in references) if predicted else 0.0
    return QuestionScore(example.id, 0.0, f1, True, answered)
