"""Words of a text as its tokenizer splits it, and answers grown to whole words.

Axis: V words of one text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spanqa.windows import Ints, whole_texts


@dataclass(frozen=True)
class Words:
    """The words of one text."""

    text: str
    starts: Ints
    """(V,) character offset of each word's first character, rising."""
    ends: Ints
    """(V,) offset behind its last one, rising."""

    def around(self, start: int, end: int) -> tuple[int, int]:
        """The characters [start, end) grown to whole words, without white space at the edges."""
        if len(self.starts) < 2:  # one word, or none: the tokenizer does not split at words
            return start, end
        first = int(np.searchsorted(self.starts, start, "right")) - 1
        last = int(np.searchsorted(self.ends, end, "left"))
        if first >= 0:
            start = min(start, int(self.starts[first]))
        if last < len(self.ends):
            end = max(end, int(self.ends[last]))
        whole = self.text[start:end]
        return start + len(whole) - len(whole.lstrip()), end - len(whole) + len(whole.rstrip())


def words_of(tokenizer: Any, texts: Sequence[str]) -> dict[str, Words]:
    """The words of each distinct text.

    Args:
        tokenizer: a fast tokenizer of transformers.
        texts: of any length.
    """
    distinct = list(dict.fromkeys(texts))
    encodings = whole_texts(tokenizer).encode_batch(distinct, add_special_tokens=False)
    return {text: _words(text, e) for text, e in zip(distinct, encodings, strict=True)}


def _words(text: str, encoding: Any) -> Words:
    offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2)
    word = np.array([-1 if w is None else w for w in encoding.word_ids], np.int64)
    inside = (word >= 0) & (offsets[:, 1] > offsets[:, 0])
    word, offsets = word[inside], offsets[inside]
    first = np.flatnonzero(np.diff(word, prepend=-1))
    last = np.append(first[1:], len(word)) - 1 if len(word) else first
    return Words(text, offsets[first, 0], offsets[last, 1])
