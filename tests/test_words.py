"""Words of three kinds of tokenizer, and answers grown to them."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import CORPUS
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from spanqa.windows import Ints
from spanqa.words import Words, words_of


@pytest.fixture(params=["tiny_tokenizer", "tiny_bpe_tokenizer", "tiny_unigram_tokenizer"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    found: PreTrainedTokenizerFast = request.getfixturevalue(request.param)
    return found


def test_words_are_those_of_the_encoding(tokenizer: PreTrainedTokenizerFast) -> None:
    found = words_of(tokenizer, [*CORPUS, *CORPUS])
    assert list(found) == list(CORPUS)
    for text, words in found.items():
        encoding = tokenizer(text, add_special_tokens=False)
        theirs = {encoding.word_to_chars(w) for w in encoding.word_ids() if w is not None}
        theirs = {(span.start, span.end) for span in theirs}
        ours = list(zip(words.starts.tolist(), words.ends.tolist(), strict=True))
        assert set(ours) == theirs
        assert ours == sorted(ours)


def test_a_part_of_a_word_grows_to_it(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    text = "In the late 1990s, Mbeki-O'Connor left."
    words = words_of(tiny_tokenizer, [text])[text]

    def grown(part: str) -> str:
        start = text.index(part)
        first, last = words.around(start, start + len(part))
        return text[first:last]

    assert grown("1990") == "1990s"
    assert grown("ate 199") == "late 1990s"
    assert grown("beki") == "Mbeki"
    assert grown("late 1990s") == "late 1990s"
    assert grown("ki-O'Con") == "Mbeki-O'Connor"


@given(st.text(), st.integers(0, 20), st.integers(0, 20))
def test_growing_keeps_what_was_there(text: str, at: int, length: int) -> None:
    tokenizer = Words(text, *_split(text))
    start = min(at, len(text))
    end = min(start + length, len(text))
    if not text[start:end].strip():
        return
    first, last = tokenizer.around(start, end)
    assert 0 <= first < last <= len(text)
    assert text[start:end].strip() in text[first:last]


def _split(text: str) -> tuple[Ints, Ints]:
    """Words at single spaces."""
    starts, ends, at = [], [], 0
    for word in text.split(" "):
        if word:
            starts.append(at)
            ends.append(at + len(word))
        at += len(word) + 1
    return np.array(starts, np.int64), np.array(ends, np.int64)


def test_a_text_that_is_not_split_is_left_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    whole = Words("a b c", np.array([0]), np.array([5]))
    assert whole.around(2, 3) == (2, 3)
    assert words_of(tokenizer, [" "])[" "].around(0, 1) == (0, 1)
