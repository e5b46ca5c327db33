"""Check: everything that is wrong with a file of questions, and how long its texts are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spanqa.data import Example, scan
from spanqa.errors import DataError, RecipeError
from spanqa.rows import Problem, encodable, printable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KINDS = {
    "malformed": "not SQuAD data",
    "empty-file": "no question at all",
    "duplicate-id": "ids used twice",
    "duplicate-question": "questions asked twice over one context",
    "lone-surrogate": "halves of surrogate pairs",
    "empty-context": "empty contexts",
    "empty-question": "empty questions",
    "empty-answer": "empty answers",
    "outside": "answers outside the context",
    "misaligned": "answers that are not at their offset",
    "contradiction": "'is_impossible' against the answers",
    "shared-context": "contexts shared with the evaluation file",
}
"""Every kind of problem, in words."""

_BINS = 6


@dataclass(frozen=True)
class Bin:
    """Questions whose length is above `low` and at most `high`."""

    low: int
    high: int
    count: int


@dataclass(frozen=True)
class Lengths:
    """Length of question and context together, against the length of a window."""

    unit: str
    """`tokens`, special tokens included, or `words` where no tokenizer was given."""
    max_length: int
    """A window's length in tokens; the upper edge of the sixth bin."""
    bins: tuple[Bin, ...]
    """Six even ones up to `max_length`, then each as wide as all before it."""
    longest: int

    @property
    def longer(self) -> int:
        """Questions longer than `max_length`; in tokens, those that need several windows."""
        return sum(bin.count for bin in self.bins if bin.low >= self.max_length)


@dataclass(frozen=True)
class Findings:
    """What `check` found."""

    source: str
    questions: int
    """Questions that could be read."""
    problems: tuple[Problem, ...] = field(repr=False)
    """In the order of the file; contexts shared with the evaluation file come last."""
    lengths: Lengths

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def counts(self) -> dict[str, int]:
        """Number of problems of each kind that occurs, in the order of `KINDS`."""
        found = Counter(problem.kind for problem in self.problems)
        return {kind: found[kind] for kind in KINDS if found[kind]}


def check(
    source: str | Path,
    *,
    eval_source: str | Path | None = None,
    tokenizer: Any = None,
    max_length: int = 384,
) -> Findings:
    """Lists all that is wrong with a file or dataset, without stopping at the first.

    Args:
        source: What `spanqa.data.load` takes.
        eval_source: The evaluation questions, whose contexts must not be in `source`.
        tokenizer: A `tokenizers.Tokenizer` or a fast tokenizer of transformers, to measure
            lengths in tokens; words between spaces are counted without one.
        max_length: Tokens in a window.

    Raises:
        DataError: there is no such file or dataset, or `eval_source` holds no question.
        RecipeError: `max_length` is below 6, or the tokenizer is a slow one.
    """
    if max_length < _BINS:
        raise RecipeError(f"max_length is {max_length}; give {_BINS} or more")
    problems: list[Problem] = []
    examples: list[Example] = []
    for example, found in scan(source):
        problems += found
        if example is not None:
            examples.append(example)
    problems += _asked_twice(examples)
    if eval_source is not None:
        problems += _shared_contexts(examples, eval_source)
    return Findings(
        str(source), len(examples), tuple(problems), _lengths(examples, tokenizer, max_length)
    )


def _asked_twice(examples: Iterable[Example]) -> Iterator[Problem]:
    first: dict[tuple[str, str], str] = {}
    for example in examples:
        asked = (_plain(example.context), _plain(example.question).casefold())
        if asked in first:
            message = f"question '{first[asked]}' asks the same of the same context"
            yield Problem("duplicate-question", printable(example.id), message)
        elif asked[1]:
            first[asked] = printable(example.id)


def _shared_contexts(examples: Iterable[Example], eval_source: str | Path) -> Iterator[Problem]:
    """One problem for each context that is in both."""
    evaluated: dict[str, str] = {}
    problems: list[Problem] = []
    for example, found in scan(eval_source):
        problems += found
        if example is not None:
            evaluated.setdefault(_plain(example.context), printable(example.id))
    if not evaluated:
        raise DataError(f"{eval_source}: {problems[0].sentence}")
    for example in examples:
        other = evaluated.pop(_plain(example.context), None)
        if other is not None:
            message = f"the context is in {eval_source}, too (question '{other}')"
            yield Problem("shared-context", printable(example.id), message)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _lengths(examples: list[Example], tokenizer: Any, max_length: int) -> Lengths:
    unit, extra = "words", 0
    texts = {text for example in examples for text in (example.question, example.context)}
    if tokenizer is None:
        measured = {text: len(text.split()) for text in texts}
    else:
        backend = _untruncated(tokenizer)
        unit, extra = "tokens", backend.num_special_tokens_to_add(True)
        measured = _token_counts(backend, texts)
    lengths = [
        measured[example.question] + measured[example.context] + extra
        for example in examples
        if example.question in measured and example.context in measured
    ]
    return Lengths(unit, max_length, _histogram(lengths, max_length), max(lengths, default=0))


def _untruncated(tokenizer: Any) -> Tokenizer:
    """A copy of the tokenizer that neither cuts nor pads; files often come with both set."""
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        raise RecipeError(
            f"tokenizer is a {type(tokenizer).__name__}; give a fast tokenizer of transformers "
            "or a tokenizers.Tokenizer"
        )
    copy = Tokenizer.from_str(backend.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _token_counts(backend: Tokenizer, texts: Iterable[str]) -> dict[str, int]:
    """Tokens of each text, but of those with lone surrogates, which cannot be encoded."""
    sound = [text for text in texts if encodable(text)]
    encodings = backend.encode_batch_fast(sound, add_special_tokens=False)
    return {text: len(encoding) for text, encoding in zip(sound, encodings, strict=True)}


def _histogram(lengths: list[int], max_length: int) -> tuple[Bin, ...]:
    edges = [part * max_length // _BINS for part in range(_BINS + 1)]
    while edges[-1] < max(lengths, default=0):
        edges.append(2 * edges[-1])
    edges[0] = -1  # an empty question over an empty context has no words
    return tuple(
        Bin(max(low, 0), high, sum(low < length <= high for length in lengths))
        for low, high in pairwise(edges)
    )
