"""Reader: question + text -> answers that are exact spans of the text, or "no answer"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from spanqa.abstention import Rule, rule_for
from spanqa.answer import Answer, rank
from spanqa.backends import Backend, TorchBackend
from spanqa.calibration import stored
from spanqa.choice import load
from spanqa.decoding import Prediction, WindowScores, decode_all
from spanqa.errors import DataError, ModelError, RecipeError, WriteError
from spanqa.example import Example
from spanqa.folders import write_sealed
from spanqa.model import SpanQAConfig
from spanqa.pipeline import Result, call
from spanqa.prediction import score_windows
from spanqa.recipe import WindowRecipe
from spanqa.rows import encodable
from spanqa.shipped import DEFAULT
from spanqa.windows import Windows, cut
from spanqa.writing import is_free

T = TypeVar("T")
Texts = str | Sequence[str] | Mapping[str, str]
"""One text, several, or several by their ids."""
BATCH_SIZE = 8
"""Windows of the longest kind in a batch; more gain nothing on a CPU."""
LOOK_AHEAD = 256
"""Questions that `Reader.stream` reads together at most,"""
LOOK_AHEAD_CHARACTERS = 1_000_000
"""and the characters of their texts, counted for every question."""


class Reader:
    """Answers questions over given texts with one checkpoint."""

    def __init__(
        self,
        backend: Backend,
        tokenizer: Any,
        config: SpanQAConfig,
        *,
        batch_size: int = BATCH_SIZE,
        min_precision: float | None = None,
        name: str = "the model",
    ) -> None:
        """Use a model that is already loaded.

        Args:
            backend: runs the model.
            tokenizer: its fast tokenizer.
            config: window and answer lengths, temperature and threshold.
            batch_size: windows of the longest kind in a batch.
            min_precision: wanted share of right answers among those given, between 0 and 1; see
                `spanqa.abstention`. The checkpoint's own, or else its null threshold, decides if
                left out.
            name: of the checkpoint, for errors.

        Raises:
            RecipeError: `min_precision` is out of range.
            ModelError: `min_precision` is given, but the checkpoint was never calibrated.
        """
        self.backend, self.tokenizer, self.config = backend, tokenizer, config
        self.batch_size, self.name = batch_size, name
        self.calibration = stored(config, name)
        self.rule = self._rule(config.min_precision if min_precision is None else min_precision)

    def _rule(self, min_precision: float | None) -> Rule:
        if min_precision is None:
            return Rule(float(self.config.null_threshold))
        if self.calibration is None or not self.calibration.levels:
            raise ModelError(
                f"{self.name}: was never calibrated, so no precision can be promised; "
                "run 'spanqa calibrate' first"
            )
        return rule_for(min_precision, self.calibration.levels)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT,
        *,
        revision: str | None = None,
        backend: str = "auto",
        device: str | None = None,
        batch_size: int = BATCH_SIZE,
        min_precision: float | None = None,
    ) -> Reader:
        """Load one of our checkpoints or any `*ForQuestionAnswering` one, onto a GPU if any.

        `reader.backend.name` says what runs it.

        Args:
            name: folder or hub id; the reader that comes with spanqa if left out; or a folder that
                `spanqa export` wrote.
            revision: branch, tag or commit on the hub.
            backend: one of `spanqa.choice.BACKENDS`; `auto` takes the fastest one measured here.
            device: what torch runs on, such as `cpu`, `cuda:1` or `mps`; the first GPU, or else the
                CPU, if left out.
            batch_size: windows of the longest kind in a batch.
            min_precision: as in `Reader`.

        Raises:
            ModelError: there is no such checkpoint or export, or it cannot be used.
            RecipeError: there is no such backend or device, or an export cannot run on it.
            MissingExtraError: what it needs is not installed.
        """
        return cls(
            *load(str(name), revision, backend, device),
            batch_size=batch_size,
            min_precision=min_precision,
            name=str(name),
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model, tokenizer and configuration into `folder`, which `from_pretrained` reads.

        It appears whole and sealed, or not at all.

        Args:
            folder: a new one, or an empty one.

        Raises:
            ModelError: the model was exported for another backend, which has no weights to save.
            WriteError: the folder holds something, or cannot be written.
        """
        if not isinstance(self.backend, TorchBackend):
            raise ModelError(f"{self.name}: is an export; save the checkpoint that it was made of")
        if not is_free(Path(folder)):
            raise WriteError(f"{folder}: holds other things; name a new folder")
        model = self.backend.model

        def write(path: str) -> None:
            model.save_pretrained(path)
            self.tokenizer.save_pretrained(path)

        write_sealed(Path(folder), write)

    @overload
    def answer(self, question: str, context: Texts, *, top_k: int = 1) -> tuple[Answer, ...]: ...

    @overload
    def answer(
        self, question: list[str] | tuple[str, ...], context: Texts, *, top_k: int = 1
    ) -> tuple[tuple[Answer, ...], ...]: ...

    def answer(
        self, question: str | list[str] | tuple[str, ...], context: Texts, *, top_k: int = 1
    ) -> tuple[Answer, ...] | tuple[tuple[Answer, ...], ...]:
        """The best answers to one question, or to each of several over the same texts.

        Args:
            question: one question, or several; every text is tokenised once.
            context: the text, of any length; or several texts, or texts by id, whose answers are
                ranked together (the ids of a list are "0", "1", ...).
            top_k: answers wanted for each question; "no answer" counts as one where it ranks.

        Returns:
            Answers, best first; the first is "no answer" where the null log-odds exceed the
            checkpoint's threshold, or where `min_precision` is not supported.

        Raises:
            DataError: a text or a question is no text, or not valid Unicode, or there is no text.
            RecipeError: `top_k` is less than 1.
        """
        texts = _by_id(context)
        _require_top_k(top_k)
        if not isinstance(question, str | Iterable) or isinstance(question, Mapping | bytes):
            raise DataError(f"the question must be text, got {type(question).__name__}")
        questions = [question] if isinstance(question, str) else list(question)
        found = tuple(self._answer([_examples(each, texts) for each in questions], top_k))
        return found[0] if isinstance(question, str) else found

    def __call__(self, *inputs: Any, **options: Any) -> Result | list[Result] | Iterator[Result]:
        """Answer as `pipeline("question-answering")` of transformers 4 did.

        Args:
            inputs: a dict with `question` and `context`, a list of such dicts, or a generator of
                them, whose results come as a generator; nothing where both are given by name.
            options: `question` and `context` (texts, or lists of them; one context may serve
                several questions), and the fields of `spanqa.pipeline.Options`.

        Returns:
            A dict with `score`, `start`, `end` and `answer`; a list of them where `top_k` is above
            1 and the text has more than one answer; a list of either for several questions.

        Raises:
            DataError: a question or a context is missing, empty, or no valid Unicode.
            RecipeError: there is no such option, or its value is out of range.
        """
        return call(self, inputs, options)

    def stream(
        self, asked: Iterable[tuple[str, Texts]], *, top_k: int = 1
    ) -> Iterator[tuple[Answer, ...]]:
        """The best answers to each question over texts of its own, in order, as they are found.

        Reads at most `LOOK_AHEAD` questions ahead, over texts of `LOOK_AHEAD_CHARACTERS` in all
        (one question more where that alone is longer), so memory does not grow with the stream.

        Args:
            asked: questions with their texts, as in `answer`; a generator is read as needed.
            top_k: as in `answer`.

        Raises:
            DataError: as `answer`, once what came before has been answered, as with any error that
                `asked` raises.
            RecipeError: as `answer`.
        """
        _require_top_k(top_k)
        read = (_examples(question, _by_id(context)) for question, context in asked)
        for group in in_groups(read, lambda each: sum(len(example.context) for example in each)):
            yield from self._answer(group, top_k)

    def _answer(
        self, asked: Sequence[Sequence[Example]], top_k: int
    ) -> Iterator[tuple[Answer, ...]]:
        """Answers to each question, given as an example for each of its texts."""
        examples = [example for each in asked for example in each]
        predictions = iter(self.predict(examples, n_best=top_k))
        for each in asked:
            found = [(example.id, next(predictions)) for example in each]
            yield rank(found, self.rule)[:top_k]

    def predict(self, examples: Sequence[Example], *, n_best: int = 20) -> list[Prediction]:
        """Exact n-best spans and null odds of each example, in order."""
        windows = self.windows(examples)
        return self.decode(windows, self.score(windows), n_best=n_best)

    def windows(self, examples: Sequence[Example], lengths: WindowRecipe | None = None) -> Windows:
        """Cut examples as the checkpoint was trained, or into windows of other lengths."""
        return cut(examples, self.tokenizer, lengths or self.lengths)

    @property
    def lengths(self) -> WindowRecipe:
        """Windows as the checkpoint was trained."""
        return WindowRecipe(
            max_length=self.config.max_length,
            stride=self.config.stride,
            max_question_length=self.config.max_question_length,
        )

    def score(self, windows: Windows, batch_size: int | None = None) -> list[WindowScores]:
        """Scores of all windows, in their order."""
        return score_windows(self.backend, windows, batch_size=batch_size or self.batch_size).scores

    def decode(
        self,
        windows: Windows,
        scores: Sequence[WindowScores],
        *,
        n_best: int = 20,
        max_answer_length: int | None = None,
    ) -> list[Prediction]:
        """The exact n-best spans of each example, in order."""
        return decode_all(
            windows,
            scores,
            max_answer_length=max_answer_length or self.config.max_answer_length,
            n_best=n_best,
            temperature=self.config.temperature,
        )


def in_groups(items: Iterable[T], characters: Callable[[T], int]) -> Iterator[list[T]]:
    """Items that are read together: `LOOK_AHEAD`, or those with `LOOK_AHEAD_CHARACTERS`.

    Where reading fails, what was read before comes first, and then the error.
    """
    group: list[T] = []
    held = 0
    try:
        for item in items:
            group.append(item)
            held += characters(item)
            if len(group) == LOOK_AHEAD or held >= LOOK_AHEAD_CHARACTERS:
                yield group
                group, held = [], 0
    except Exception:
        if group:
            yield group
        raise
    if group:
        yield group


def _by_id(context: Texts) -> Mapping[str, str]:
    if isinstance(context, str):
        return {"": context}
    if not isinstance(context, Iterable) or isinstance(context, bytes):
        raise DataError(f"the text must be text, got {type(context).__name__}")
    texts = context if isinstance(context, Mapping) else dict(enumerate(context))
    if not texts:
        raise DataError("there is no text to answer from")
    found = {str(id): text for id, text in texts.items()}
    if len(found) < len(texts):
        raise DataError("two texts have the same id as text; give each an id of its own")
    return found


def _require_top_k(top_k: int) -> None:
    if top_k < 1:
        raise RecipeError(f"top_k must be at least 1, got {top_k}")


def _examples(question: str, texts: Mapping[str, str]) -> list[Example]:
    return [_example(question, text, id) for id, text in texts.items()]


def _example(question: str, context: str, id: str) -> Example:
    for name, text in (("question", question), (f"text {id}".rstrip(), context)):
        if not isinstance(text, str):
            raise DataError(f"the {name} must be text, got {type(text).__name__}")
        if not encodable(text):
            raise DataError(f"the {name} holds a lone surrogate, which is not valid Unicode")
    return Example(id, question, context)
