"""Reader: question + text -> answers that are exact spans of the text, or "no answer"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch

from spanqa.data import load, require_labels
from spanqa.decoding import Prediction
from spanqa.errors import DataError
from spanqa.example import Example
from spanqa.metrics import Scores
from spanqa.model import SpanQAModel
from spanqa.prediction import decode_with, figures, score_windows, write_predictions
from spanqa.recipe import WindowRecipe
from spanqa.shipped import DEFAULT
from spanqa.shipped import load as load_model
from spanqa.windows import Windows, cut


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `context[start:end] == text`."""

    text: str
    """"" = the text does not answer the question."""
    start: int
    """Character offset in the text; 0 for no answer."""
    end: int
    """Character offset behind the answer; 0 for no answer."""
    probability: float
    """Over all spans of the text and "no answer", at the checkpoint's temperature."""
    null_probability: float
    """That of "no answer"."""


class Reader:
    """Answers questions over given texts with one checkpoint."""

    def __init__(self, model: SpanQAModel, tokenizer: Any, *, batch_size: int = 32) -> None:
        """Use a model that is already loaded.

        Args:
            model: on the device it is to run on.
            tokenizer: its fast tokenizer.
            batch_size: windows in a batch.
        """
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size

    @classmethod
    def from_pretrained(
        cls, name: str | Path = DEFAULT, *, revision: str | None = None, batch_size: int = 32
    ) -> Reader:
        """Load one of our checkpoints or any `*ForQuestionAnswering` one, onto a GPU if any.

        Args:
            name: folder or hub id; the reader that comes with spanqa if left out.
            revision: branch, tag or commit on the hub.
            batch_size: windows in a batch.

        Raises:
            ModelError: there is no such checkpoint, or it cannot be used.
            MissingExtraError: the encoder of the one that comes with spanqa is not installed.
        """
        model, tokenizer = load_model(str(name), revision)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.nn.Module.to(model, device)
        return cls(model, tokenizer, batch_size=batch_size)

    @property
    def null_threshold(self) -> float:
        """Null log-odds above which there is no answer; fitted, or 0."""
        return float(self.model.config.null_threshold)

    @overload
    def answer(self, question: str, context: str, *, top_k: int = 1) -> tuple[Answer, ...]: ...

    @overload
    def answer(
        self, question: list[str] | tuple[str, ...], context: str, *, top_k: int = 1
    ) -> tuple[tuple[Answer, ...], ...]: ...

    def answer(
        self, question: str | list[str] | tuple[str, ...], context: str, *, top_k: int = 1
    ) -> tuple[Answer, ...] | tuple[tuple[Answer, ...], ...]:
        """The best answers to one question, or to each of several over the same text.

        Args:
            question: one question, or several; the text is tokenised once.
            context: the text, of any length.
            top_k: answers wanted for each question; "no answer" counts as one where it ranks.

        Returns:
            Answers, best first; the first is "no answer" where the null log-odds exceed the
            checkpoint's threshold.

        Raises:
            DataError: a text is not valid Unicode, or there is no question.
        """
        questions = [question] if isinstance(question, str) else list(question)
        examples = [_example(i, each, context) for i, each in enumerate(questions)]
        found = tuple(
            _ranked(prediction, self.null_threshold)[:top_k]
            for prediction in self.predict(examples, n_best=max(1, top_k))
        )
        return found[0] if isinstance(question, str) else found

    def predict(self, examples: Sequence[Example], *, n_best: int = 20) -> list[Prediction]:
        """Exact n-best spans and null odds of each example, in order."""
        return self._predict(self.windows(examples), n_best)

    def windows(self, examples: Sequence[Example]) -> Windows:
        """Cut examples as the checkpoint was trained."""
        config = self.model.config
        return cut(
            examples,
            self.tokenizer,
            WindowRecipe(
                max_length=config.max_length,
                stride=config.stride,
                max_question_length=config.max_question_length,
            ),
        )

    def evaluate(self, examples: Sequence[Example]) -> tuple[Scores, list[Prediction]]:
        """Official metrics at the checkpoint's null threshold, and the predictions behind them."""
        windows = self.windows(examples)
        predictions = self._predict(windows, n_best=20)
        return figures(windows, predictions, null_threshold=self.null_threshold), predictions

    def _predict(self, windows: Windows, n_best: int) -> list[Prediction]:
        scored = score_windows(self.model, windows, batch_size=self.batch_size)
        return decode_with(self.model, windows, scored, n_best)


def evaluate(model: str, data: str, *, output: Path | None = None, batch_size: int = 32) -> Scores:
    """Answer labelled questions, score them officially, and write the predictions if wanted.

    Args:
        model: folder or hub id of a checkpoint.
        data: a source that `spanqa.data.load` takes.
        output: folder for the prediction files.
        batch_size: windows in a batch.

    Raises:
        SpanQAError: model or data cannot be used, or the data has no answers to score by.
    """
    corpus = load(data, misaligned="keep")
    require_labels(corpus)
    reader = Reader.from_pretrained(model, batch_size=batch_size)
    scores, predictions = reader.evaluate(corpus.examples)
    if output is not None:
        write_predictions(predictions, output, null_threshold=reader.null_threshold)
    return scores


def predict(model: str, data: str, output: Path, *, batch_size: int = 32) -> None:
    """Answer questions and write predictions, n-best and null odds into a folder.

    Args:
        model: folder or hub id of a checkpoint.
        data: a source that `spanqa.data.load` takes; needs no answers.
        output: folder for the prediction files.
        batch_size: windows in a batch.

    Raises:
        SpanQAError: model or data cannot be used.
    """
    corpus = load(data, misaligned="keep")
    reader = Reader.from_pretrained(model, batch_size=batch_size)
    predictions = reader.predict(corpus.examples)
    write_predictions(predictions, output, null_threshold=reader.null_threshold)


def _example(number: int, question: str, context: str) -> Example:
    for name, text in (("question", question), ("context", context)):
        if not isinstance(text, str):
            raise DataError(f"{name} must be text, got {type(text).__name__}")
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            raise DataError(f"the {name} holds a lone surrogate, which is not valid Unicode")
    return Example(str(number), question, context)


def _ranked(prediction: Prediction, null_threshold: float) -> tuple[Answer, ...]:
    """All answers with "no answer" at its place: before the spans that the threshold withholds."""
    null = prediction.null_probability
    spans = [Answer(s.text, s.start, s.end, s.probability, null) for s in prediction.spans]
    given = sum(-span.odds <= null_threshold for span in prediction.spans)
    return (*spans[:given], Answer("", 0, 0, null, null), *spans[given:])
