"""The call of `pipeline("question-answering")`, which transformers 5.3 removed, on a Reader.

The arguments and what is returned are those of transformers 4.57; docs/pipeline.md says where the
answers differ on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypedDict

from spanqa.decoding import Span
from spanqa.errors import DataError, RecipeError
from spanqa.example import Example
from spanqa.recipe import WindowRecipe
from spanqa.rows import encodable
from spanqa.words import Words, words_of

if TYPE_CHECKING:
    from spanqa.reader import Reader


class Found(TypedDict):
    """An answer as the pipeline gave it; `context[start:end] == answer`."""

    score: float
    """Probability over all spans of the text and "no answer"."""
    start: int
    end: int
    answer: str
    """"" = the text does not answer the question."""


Result = Found | list[Found]


@dataclass(frozen=True)
class Options:
    """What the pipeline could be told, with its defaults."""

    top_k: int = 1
    """Answers wanted; one that is alone comes as a dict, several as a list."""
    doc_stride: int | None = None
    """Tokens that neighbouring windows share."""
    max_answer_len: int = 15
    """Tokens in the longest answer."""
    max_seq_len: int | None = None
    """Tokens in a window."""
    max_question_len: int | None = None
    """Tokens kept of a question."""
    handle_impossible_answer: bool = False
    """Whether "" is among the answers, at the place that the checkpoint's threshold gives it."""
    align_to_words: bool = True
    """Grow answers to whole words, as the tokenizer splits them."""
    batch_size: int | None = None
    """Windows of the longest kind in a batch."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """The options that a call names; None leaves the default.

        Raises:
            RecipeError: there is no such option, or its value is out of range.
        """
        known = [option.name for option in fields(cls)]
        for name in given:
            if name not in known:
                raise RecipeError(f"there is no option {name}; there are {', '.join(known)}")
        options = cls(**{name: value for name, value in given.items() if value is not None})
        for name in known:
            value, default = getattr(options, name), getattr(cls, name)
            if isinstance(default, bool):
                if not isinstance(value, bool):
                    raise RecipeError(f"{name} must be true or false, got {value!r}")
            elif value is not None:
                least = 0 if name == "doc_stride" else 1
                if isinstance(value, bool) or not isinstance(value, int) or value < least:
                    raise RecipeError(
                        f"{name} must be a whole number of at least {least}, got {value!r}"
                    )
        return options

    def lengths(self, reader: Reader) -> WindowRecipe:
        """Window lengths: those of the checkpoint, or as the pipeline chose them.

        Raises:
            RecipeError: they do not go together, or the encoder has no such long windows.
        """
        own = reader.lengths
        longest = self.max_seq_len or own.max_length
        limit = reader.tokenizer.model_max_length
        if longest > limit:
            raise RecipeError(f"max_seq_len must be at most {limit} for {reader.name}")
        question = self.max_question_len or own.question_for(longest)
        stride = self.doc_stride
        if stride is None:
            stride = own.stride_for(longest, question)
        try:
            return WindowRecipe(longest, stride, question)
        except RecipeError as error:
            raise RecipeError(
                f"max_seq_len {longest}, doc_stride {stride} and max_question_len {question} do "
                f"not go together ({error})"
            ) from error


def call(
    reader: Reader, inputs: tuple[Any, ...], named: dict[str, Any]
) -> Result | list[Result] | Iterator[Result]:
    """Answer as the pipeline did; see `Reader.__call__`."""
    question, context = named.pop("question", None), named.pop("context", None)
    options = Options.of(named)
    asked = _asked(inputs, question, context)
    if not isinstance(asked, list):
        return _stream(reader, asked, options)
    found = _answer(reader, [_pair(item, i) for i, item in enumerate(asked)], options)
    return found[0] if len(found) == 1 else found


def _asked(inputs: tuple[Any, ...], question: Any, context: Any) -> list[Any] | Iterable[Any]:
    """Items with a question and a context each; what is no list is a stream."""
    if inputs and (question is not None or context is not None):
        raise DataError("give question= and context=, or one list of dicts, not both")
    if len(inputs) == 1:
        item = inputs[0]
        if isinstance(item, Mapping):
            return _broadcast(item.get("question"), item.get("context"))
        if isinstance(item, str) or not isinstance(item, Iterable):
            raise DataError("give question= and context=, a dict of both, or a list of such dicts")
        return list(item) if isinstance(item, Sequence) else item
    if inputs:
        if all(isinstance(each, str) for each in inputs) and len(inputs) == 2:
            return [inputs]
        return list(inputs)
    return _broadcast(question, context)


def _broadcast(question: Any, context: Any) -> list[Any]:
    questions = list(question) if isinstance(question, list | tuple) else [question]
    contexts = list(context) if isinstance(context, list | tuple) else [context] * len(questions)
    if not isinstance(question, list | tuple) and len(contexts) > 1:
        raise DataError("one question over several contexts: repeat it, or use Reader.answer")
    if len(questions) != len(contexts):
        raise DataError(f"there are {len(questions)} questions and {len(contexts)} contexts")
    return list(zip(questions, contexts, strict=True))


def _pair(item: Any, number: int) -> Example:
    if isinstance(item, Mapping):
        item = (item.get("question"), item.get("context"))
    if not isinstance(item, tuple) or len(item) != 2:
        raise DataError(f"item {number} must be a dict with 'question' and 'context'")
    for name, text in zip(("question", "context"), item, strict=True):
        if not isinstance(text, str):
            raise DataError(f"the {name} of item {number} must be text, got {type(text).__name__}")
        if not text:
            raise DataError(f"the {name} of item {number} is empty")
        if not encodable(text):
            raise DataError(f"the {name} of item {number} holds a lone surrogate")
    return Example(str(number), *item)


def _stream(reader: Reader, asked: Iterable[Any], options: Options) -> Iterator[Result]:
    from spanqa.reader import in_groups  # which imports this module

    read = (_pair(item, number) for number, item in enumerate(asked))
    for group in in_groups(read, lambda example: len(example.context)):
        yield from _answer(reader, group, options)


def _answer(reader: Reader, examples: list[Example], options: Options) -> list[Result]:
    results: list[Result] = []
    for pairs, null in _candidates(reader, examples, options):
        found = [each for each, _ in pairs]
        # A promised precision is one of answers that may be withheld.
        if options.handle_impossible_answer or reader.rule.min_probability or not found:
            given = takewhile(lambda pair: reader.rule.gives(pair[1]), pairs)
            found.insert(len(list(given)), Found(score=null, start=0, end=0, answer=""))
        found = found[: options.top_k]
        results.append(found[0] if len(found) == 1 else found)
    return results


def _candidates(
    reader: Reader, examples: list[Example], options: Options
) -> list[tuple[list[tuple[Found, Span]], float]]:
    """Each example's answers, `top_k` of them where there are so many, and its null probability."""
    windows = reader.windows(examples, options.lengths(reader))
    scores = reader.score(windows, options.batch_size)
    contexts = [example.context for example in examples]
    words = words_of(reader.tokenizer, contexts) if options.align_to_words else {}
    n_best = 2 * options.top_k + 10  # several can become one
    while True:
        predictions = reader.decode(
            windows, scores, n_best=n_best, max_answer_length=options.max_answer_len
        )
        found = [
            (merged(context, each.spans, words.get(context)), each.null_probability)
            for context, each in zip(contexts, predictions, strict=True)
        ]
        enough = (
            len(pairs) >= options.top_k or len(each.spans) < n_best
            for (pairs, _), each in zip(found, predictions, strict=True)
        )
        if all(enough):
            return found
        n_best *= 4


def merged(context: str, spans: Sequence[Span], words: Words | None) -> list[tuple[Found, Span]]:
    """Answers without duplicates, best first, each with the best of the spans that it stands for.

    Spans that are the same words, or the same text in several places (letter case aside), become
    one answer, at the place of the best one. Spans exclude each other, so its probability is the
    sum of theirs.

    Args:
        context: the whole text.
        spans: of the text, best first.
        words: of the text, to grow answers to; None leaves them as they are.
    """
    found: dict[str, tuple[Found, Span]] = {}
    for span in spans:
        start, end = span.start, span.end
        if words is not None:
            start, end = words.around(start, end)
        text = context[start:end]
        fresh = Found(score=0.0, start=start, end=end, answer=text), span
        found.setdefault(text.lower(), fresh)[0]["score"] += span.probability
    return sorted(found.values(), key=lambda pair: -pair[0]["score"])
