"""Example -> overlapping windows of tokens, with character offsets and the gold token span.

Each distinct context and each distinct question is tokenised once; a window is an array slice. The
result equals, token for token, what the fast tokenizer itself gives with
`truncation="only_second"`, `stride` and `return_overflowing_tokens`.

Axes: W windows, N context tokens of one text, L tokens of one window (special tokens included).
Token positions are inclusive, character offsets half-open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spanqa.data import Example
from spanqa.errors import RecipeError
from spanqa.recipe import WindowRecipe

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
PAD_TO_MULTIPLE = 8
_SPACES = np.array([chr(code).isspace() for code in range(0x3002)])
"""By code point; the last, U+3001, stands for all after U+3000, none of which is white space."""


@dataclass(frozen=True)
class TokenizedText:
    """One text as tokens. White space at the edges of a token is not part of it."""

    ids: Ints
    """(N,)"""
    starts: Ints
    """(N,) character offset of each token's first character."""
    ends: Ints
    """(N,) offset behind its last one; equal to `starts` for a token without visible characters."""

    def token_span(self, start: int, end: int) -> tuple[int, int] | None:
        """First and last token that touch the characters [start, end); None if no token does."""
        visible = self.ends > self.starts
        touched = np.flatnonzero(visible & (self.ends > start) & (self.starts < end))
        return (int(touched[0]), int(touched[-1])) if touched.size else None

    def edges(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(N,), (N,): tokens at which an answer may start, and may end.

        Several tokens can share a character (bytes of one emoji) or have none (a lone space).
        Of those an answer starts at the first and ends at the last, so that no two token spans
        have the same characters.
        """
        visible = np.flatnonzero(self.ends > self.starts)
        may_start, may_end = np.zeros(len(self.ids), bool), np.zeros(len(self.ids), bool)
        starts, ends = self.starts[visible], self.ends[visible]
        may_start[visible] = np.append(True, starts[1:] != starts[:-1])[: len(visible)]
        may_end[visible] = np.append(ends[1:] != ends[:-1], True)[-len(visible) :]
        return may_start, may_end

    @cached_property
    def closed(self) -> tuple[Floats, Floats]:
        """(N,), (N,): 0 at the tokens that `edges` allows, -inf at the others."""
        start, end = (np.where(may, 0.0, -np.inf).astype(np.float32) for may in self.edges())
        return start, end


@dataclass(frozen=True)
class Template:
    """Where a tokenizer puts its special tokens around a question and a context."""

    prefix: Ints
    between: Ints
    suffix: Ints
    token_types: tuple[int, ...] | None
    """Of prefix, question, between, context, suffix; None for encoders without token types."""
    pad_id: int

    @classmethod
    def of(cls, tokenizer: Any) -> Template:
        """Read the template off the tokenizer's own encoding of a pair."""
        encoding = tokenizer("a", "b")
        ids, parts = np.asarray(encoding["input_ids"], np.int64), encoding.sequence_ids(0)
        question = [i for i, part in enumerate(parts) if part == 0]
        context = [i for i, part in enumerate(parts) if part == 1]
        if not question or not context or question[-1] > context[0]:
            raise RecipeError(
                f"{tokenizer.name_or_path}: this tokenizer does not put the question first"
            )
        cuts = (question[0], question[-1] + 1, context[0], context[-1] + 1)
        types = encoding.get("token_type_ids")
        kinds = None
        if types is not None:
            bounds = zip((0, *cuts), (*cuts, len(ids)), strict=True)
            kinds = tuple(types[begin] if begin < end else 0 for begin, end in bounds)
        pad = tokenizer.pad_token_id
        return cls(
            ids[: cuts[0]], ids[cuts[1] : cuts[2]], ids[cuts[3] :], kinds, 0 if pad is None else pad
        )

    @property
    def specials(self) -> int:
        """Number of special tokens in a window."""
        return len(self.prefix) + len(self.between) + len(self.suffix)


class Window(NamedTuple):
    """Where one window lies."""

    example: int
    """Index of its example."""
    begin: int
    """First context token."""
    end: int
    """Behind its last context token."""
    offset: int
    """Position of its first context token in the sequence."""


@dataclass(frozen=True)
class Windows:
    """All windows of some examples, in their order; windows of one example are neighbours."""

    examples: tuple[Example, ...]
    template: Template
    questions: tuple[Ints, ...]
    """Per example: question token ids."""
    texts: tuple[TokenizedText, ...]
    """Per example; examples over one context share one object."""
    table: Ints
    """(W, 4): the fields of `Window`."""
    labels: Ints
    """(W, 2): positions of the gold answer's first and last token; (0, 0) if not inside."""
    first: Ints
    """(examples + 1,): the windows of example e are `first[e] .. first[e + 1] - 1`."""

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> Window:
        return Window(*self.table[row].tolist())

    @property
    def lengths(self) -> Ints:
        """(W,) tokens in each window."""
        context = self.table[:, 2] - self.table[:, 1]
        return self.table[:, 3] + context + len(self.template.suffix)

    @property
    def lost(self) -> tuple[str, ...]:
        """Ids of answerable questions whose answer fits into no window."""
        found = self.labels[:, 1] > 0
        inside = np.logical_or.reduceat(found, self.first[:-1]) if len(self) else found
        return tuple(
            e.id for e, n in zip(self.examples, inside, strict=True) if e.answers and not n
        )

    def input_ids(self, row: int) -> Ints:
        """(L,) token ids of one window."""
        example, begin, end, _ = self.table[row].tolist()
        t = self.template
        context = self.texts[example].ids[begin:end]
        return np.concatenate((t.prefix, self.questions[example], t.between, context, t.suffix))

    def batch(self, rows: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Arrays of some windows, padded to the longest of them.

        Returns:
            `input_ids`, `attention_mask`, `token_type_ids` (if the tokenizer has them) and
            `context_mask`: (rows, L); `start_positions`, `end_positions`: (rows,).
        """
        sequences = [self.input_ids(row) for row in rows]
        longest = max(map(len, sequences))
        shape = (len(rows), -(-longest // PAD_TO_MULTIPLE) * PAD_TO_MULTIPLE)
        ids = np.full(shape, self.template.pad_id, np.int64)
        mask, context = np.zeros(shape, np.int64), np.zeros(shape, bool)
        types = np.zeros(shape, np.int64)
        for i, (row, sequence) in enumerate(zip(rows, sequences, strict=True)):
            window, length = self[row], len(sequence)
            ids[i, :length] = sequence
            mask[i, :length] = 1
            context[i, window.offset : window.offset + window.end - window.begin] = True
            if self.template.token_types is not None:
                types[i, :length] = self._token_types(window)
        arrays = {"input_ids": ids, "attention_mask": mask, "context_mask": context}
        if self.template.token_types is not None:
            arrays["token_type_ids"] = types
        labels = self.labels[np.asarray(rows)]
        return arrays | {"start_positions": labels[:, 0], "end_positions": labels[:, 1]}

    def _token_types(self, window: Window) -> Ints:
        t = self.template
        sizes = (
            len(t.prefix),
            len(self.questions[window.example]),
            len(t.between),
            window.end - window.begin,
            len(t.suffix),
        )
        return np.repeat(np.asarray(t.token_types), sizes)


def tokenize(tokenizer: Any, texts: Sequence[str]) -> list[TokenizedText]:
    """Tokenise texts without special tokens."""
    encodings = whole_texts(tokenizer).encode_batch(list(texts), add_special_tokens=False)
    return [
        _trimmed(text, np.array(e.ids, np.int64), *_offsets(e))
        for text, e in zip(texts, encodings, strict=True)
    ]


def _offsets(encoding: Any) -> Ints:
    """(2, N) starts and ends; NumPy would take longer to look into the tuples itself."""
    flat = np.fromiter(chain.from_iterable(encoding.offsets), np.int64, 2 * len(encoding))
    return np.ascontiguousarray(flat.reshape(-1, 2).T)


def _question_ids(tokenizer: Any, questions: Sequence[str], longest: int) -> list[Ints]:
    """Token ids of questions, cut; nobody asks for their offsets, which take time to find."""
    encodings = whole_texts(tokenizer).encode_batch_fast(list(questions), add_special_tokens=False)
    return [np.array(encoding.ids[:longest], np.int64) for encoding in encodings]


def whole_texts(tokenizer: Any) -> Any:
    """What the tokenizer itself calls, set to whole texts; its next call sets it anew."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend


def _trimmed(text: str, ids: Ints, starts: Ints, ends: Ints) -> TokenizedText:
    """Tokens without the white space at their edges."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    space = _SPACES[np.minimum(codes, len(_SPACES) - 1)]
    if (ends > starts).all() and not (space[starts] | space[ends - 1]).any():
        return TokenizedText(ids, starts, ends)  # most tokenizers drop white space
    # From each place, the next where a visible character begins, and the last where one ended.
    place = np.arange(len(text) + 1)
    begins = np.where(np.append(space, False), len(text), place)
    ended = np.where(np.append(False, space), 0, place)
    following = np.minimum.accumulate(begins[::-1])[::-1]
    preceding = np.maximum.accumulate(ended)
    starts = np.minimum(following[starts], ends)
    return TokenizedText(ids, starts, np.maximum(preceding[ends], starts))


def cut(examples: Sequence[Example], tokenizer: Any, recipe: WindowRecipe) -> Windows:
    """Cut the context of every example into windows.

    The gold span of a window is that of the example's first reference, where all of it is inside.

    Args:
        examples: questions with their texts.
        tokenizer: a fast tokenizer of transformers.
        recipe: window length, stride and longest question, in tokens.

    Raises:
        RecipeError: when the windows are too short for their stride, questions and special tokens.
    """
    template = Template.of(tokenizer)
    room = recipe.max_length - template.specials - recipe.max_question_length
    if room <= recipe.stride:
        raise RecipeError(
            f"windows.max_length {recipe.max_length} leaves {room} context tokens beside "
            f"{recipe.max_question_length} question tokens, which must exceed windows.stride "
            f"{recipe.stride}"
        )
    contexts = list(dict.fromkeys(example.context for example in examples))
    text_of = dict(zip(contexts, tokenize(tokenizer, contexts), strict=True))
    asked = list(dict.fromkeys(example.question for example in examples))
    ids = _question_ids(tokenizer, asked, recipe.max_question_length)
    question_of = dict(zip(asked, ids, strict=True))
    questions = tuple(question_of[example.question] for example in examples)
    texts = tuple(text_of[example.context] for example in examples)

    size = recipe.max_length - template.specials - np.array([len(q) for q in questions], np.int64)
    tokens = np.array([len(text.ids) for text in texts], np.int64)
    step = size - recipe.stride
    counts = 1 + np.maximum(0, -(-(tokens - size) // step)) if len(examples) else tokens
    first = np.concatenate(([0], np.cumsum(counts)))
    example = np.repeat(np.arange(len(examples)), counts)
    begin = (np.arange(first[-1]) - first[example]) * step[example]
    end = np.minimum(begin + size[example], tokens[example])
    offset = len(template.prefix) + len(template.between) + recipe.max_length - template.specials
    table = np.stack((example, begin, end, offset - size[example]), axis=1)
    gold = np.array([_gold(e, text) for e, text in zip(examples, texts, strict=True)], np.int64)
    labels = _labels(table, gold.reshape(-1, 2))
    return Windows(tuple(examples), template, questions, texts, table, labels, first)


def _gold(example: Example, text: TokenizedText) -> tuple[int, int]:
    """Context tokens of the first reference; (-1, -1) where there is none."""
    if not example.answers:
        return -1, -1
    reference = example.answers[0]
    return text.token_span(reference.start, reference.end) or (-1, -1)


def _labels(table: Ints, gold: Ints) -> Ints:
    """(W, 2) positions in the sequence, from context tokens (examples, 2)."""
    _, begin, end, offset = table.T
    start, stop = gold[table[:, 0]].T
    inside = (start >= begin) & (stop < end) & (start >= 0)
    return np.where(inside[:, None], np.stack((start, stop), 1) + (offset - begin)[:, None], 0)
