"""Decoding against enumeration over all answers of a text, and against real tokenizers' offsets."""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanqa import decoding
from spanqa.collector import paused
from spanqa.data import Example
from spanqa.decoding import Prediction, WindowScores, decode, decode_all
from spanqa.recipe import WindowRecipe
from spanqa.windows import TokenizedText, Windows, cut

ALL = 10**6
few = settings(max_examples=60, deadline=None)


@dataclass(frozen=True)
class Asked:
    """One question as `decode` gets it."""

    context: str
    text: TokenizedText
    windows: list[WindowScores]
    longest: int

    def decode(self, n_best: int = ALL, temperature: float = 1.0) -> Prediction:
        return decode(
            "q",
            self.context,
            self.text,
            self.windows,
            max_answer_length=self.longest,
            n_best=n_best,
            temperature=temperature,
        )

    def odds(self) -> dict[tuple[int, int], float]:
        return oracles.question_odds(self.text, self.windows, self.longest)


def tokens(*characters: tuple[int, int]) -> TokenizedText:
    starts, ends = np.array(characters, np.int64).reshape(-1, 2).T
    return TokenizedText(np.arange(len(starts)), starts, ends)


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, TokenizedText]:
    """A text of up to nine tokens, some of which share characters or have none."""
    context = ""
    found: list[tuple[int, int]] = []
    for piece in draw(st.lists(st.sampled_from(["word", "emoji", "joined", "space"]), max_size=4)):
        at = len(context)
        if piece == "word":
            context, found = context + "ab ", [*found, (at, at + 2)]
        elif piece == "emoji":  # each of its bytes is a token
            context, found = context + "🙂", [*found, *[(at, at + 1)] * draw(st.integers(1, 3))]
        elif piece == "joined":  # the last bytes of one character and the first of the next
            context, found = context + "é€", [*found, (at, at + 1), (at, at + 2), (at + 1, at + 2)]
        else:
            context, found = context + " ", [*found, (at, at)]
    return context, tokens(*found)


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """Scores are quarters, so that sums are exact and ties are frequent."""
    context, text = draw(texts())
    size = len(text.ids)
    spread = draw(st.sampled_from([1, 4, 40]))
    quarters = st.integers(-spread, spread).map(lambda value: value / 4)
    windows = []
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, size))
        length = draw(st.integers(0, size - begin))
        potentials = st.lists(quarters, min_size=length, max_size=length)
        start, end = (np.array(draw(potentials), np.float32) for _ in range(2))
        windows.append(WindowScores(begin, start, end, draw(quarters), draw(quarters)))
    return Asked(context, text, windows, draw(st.integers(1, 10)))


@few
@given(asked(), st.integers(1, 6), st.sampled_from([0.5, 1.0, 3.0]))
def test_n_best_is_that_of_the_enumeration(asked: Asked, n_best: int, temperature: float) -> None:
    odds = asked.odds()
    probabilities, null = oracles.question_probabilities(odds, temperature)
    # Ties: the leftmost first, then the shortest.
    expected = sorted(odds, key=lambda span: (-odds[span], span))[:n_best]
    prediction = asked.decode(n_best, temperature)
    assert [(span.start, span.end) for span in prediction.spans] == expected
    assert [span.odds for span in prediction.spans] == [odds[span] for span in expected]
    assert [span.probability for span in prediction.spans] == pytest.approx(
        [probabilities[span] for span in expected]
    )
    assert prediction.null_probability == pytest.approx(null)
    assert prediction.null_odds == (-odds[expected[0]] if expected else math.inf)


@few
@given(asked(), st.integers(1, 6), st.integers(1, 4))
def test_blocks_of_a_long_text_make_no_difference(asked: Asked, n_best: int, block: int) -> None:
    whole = asked.decode(n_best)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "BLOCK", block)
        found = asked.decode(n_best)
    assert [span._replace(probability=0) for span in found.spans] == [
        span._replace(probability=0) for span in whole.spans
    ]
    assert [s.probability for s in found.spans] == pytest.approx(
        [s.probability for s in whole.spans]
    )
    assert found.null_probability == pytest.approx(whole.null_probability)
    assert found.null_odds == whole.null_odds


@few
@given(asked(), st.sampled_from([0.1, 1.0, 10.0]))
def test_probabilities_over_everything_sum_to_one(asked: Asked, temperature: float) -> None:
    prediction = asked.decode(temperature=temperature)
    listed = math.fsum(span.probability for span in prediction.spans)
    assert listed + prediction.null_probability == pytest.approx(1)


@few
@given(asked())
def test_every_answer_is_a_slice_of_the_text_and_listed_once(asked: Asked) -> None:
    prediction = asked.decode()
    found = [(span.start, span.end) for span in prediction.spans]
    assert len(set(found)) == len(found) == len(asked.odds())
    for span in prediction.spans:
        assert span.text == asked.context[span.start : span.end] != ""


@few
@given(asked())
def test_a_shorter_list_is_the_head_of_a_longer_one(asked: Asked) -> None:
    everything = asked.decode().spans
    for n_best in range(1, len(everything) + 3):
        assert asked.decode(n_best).spans == everything[:n_best]


@few
@given(asked(), st.floats(0.05, 20.0))
def test_temperature_keeps_order_and_odds(asked: Asked, temperature: float) -> None:
    warm, plain = asked.decode(temperature=temperature), asked.decode()
    assert [(s.start, s.end, s.odds) for s in warm.spans] == [
        (s.start, s.end, s.odds) for s in plain.spans
    ]
    assert warm.null_odds == plain.null_odds
    listed = [span.probability for span in warm.spans]
    assert listed == sorted(listed, reverse=True)


@few
@given(asked(), st.permutations(range(4)))
def test_the_order_of_windows_does_not_matter(asked: Asked, order: list[int]) -> None:
    windows = [asked.windows[i] for i in order if i < len(asked.windows)]
    assert replace(asked, windows=windows).decode() == asked.decode()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_equal_windows_that_begin_together_the_longest_is_named(order: tuple[int, int]) -> None:
    flat = np.zeros(2, np.float32)
    windows = [WindowScores(0, flat[:size], flat[:size], 0.0, 0.0) for size in (1, 2)]
    asked = Asked("a b", tokens((0, 1), (2, 3)), [windows[i] for i in order], 1)
    assert [span.window for span in asked.decode().spans] == [(0, 3), (0, 3)]


@few
@given(asked(), st.floats(-3, 3))
def test_a_constant_added_to_a_window_changes_nothing(asked: Asked, constant: float) -> None:
    shift = round(constant * 4) / 4
    windows = [replace(w, start=w.start + shift, null=w.null + shift) for w in asked.windows]
    assert replace(asked, windows=windows).decode() == asked.decode()


def test_max_answer_length_counts_tokens() -> None:
    text = tokens((0, 1), (2, 3), (4, 5), (6, 7))
    flat = np.zeros(4, np.float32)
    windows = [WindowScores(0, flat, flat, -1.0, 0.0)]
    longest = {
        limit: max((s.text for s in Asked("a b c d", text, windows, limit).decode().spans), key=len)
        for limit in (1, 2, 4, 30)
    }
    assert longest == {1: "a", 2: "a b", 4: "a b c d", 30: "a b c d"}


def test_equal_scores_are_cut_at_the_leftmost_and_shortest() -> None:
    size = 200
    text = tokens(*((2 * i, 2 * i + 1) for i in range(size)))
    flat = np.zeros(size, np.float32)
    tied = Asked("a " * size, text, [WindowScores(0, flat, flat, 0.0, 0.0)], 30)
    spans = [(span.start, span.end) for span in tied.decode(n_best=33).spans]
    expected = [(0, 2 * k + 1) for k in range(30)] + [(2, 3), (2, 5), (2, 7)]
    assert spans == expected


def test_bytes_of_one_character_are_one_answer() -> None:
    text = tokens((0, 1), (1, 1), (1, 2), (1, 2), (1, 2), (2, 2))
    scores = np.zeros(6, np.float32)
    prediction = Asked("a🙂", text, [WindowScores(0, scores, scores, 0.0, 0.0)], 30).decode()
    assert [span.text for span in prediction.spans] == ["a", "a🙂", "🙂"]
    assert prediction.null_probability == pytest.approx(1 / 4)


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("text", [tokens(), tokens((0, 0), (1, 1))])
def test_a_text_without_a_visible_token(text: TokenizedText, seen: bool) -> None:
    scores = np.zeros(len(text.ids), np.float32)
    windows = [WindowScores(0, scores, scores, 0.0, 0.0)] if seen else []
    prediction = Asked("  "[: len(text.ids)], text, windows, 30).decode()
    assert prediction == Prediction("q", (), math.inf, 1.0)


def test_large_odds_stay_finite() -> None:
    text = tokens((0, 1), (2, 3))
    for sign in (1, -1):
        scores = np.full(2, sign * 1e4, np.float32)
        prediction = Asked("a b", text, [WindowScores(0, scores, scores, 0.0, 0.0)], 30).decode()
        total = math.fsum(span.probability for span in prediction.spans)
        assert total + prediction.null_probability == pytest.approx(1)
        assert prediction.null_probability == (0.0 if sign > 0 else 1.0)


CONTEXTS = (
    "She answered: “No answer is given.” 🙂 The crew 👩‍🚀 landed safely, didn't it?",
    "  In 2003,\r\nthe café on Rue de l'Église\tserved 1,250 guests — (about $3.75 each).  ",
    "東京は日本の首都です。 हिमालय भारत के उत्तर में है। القاهرة هي عاصمة مصر e\u0301",
)


def random_scores(windows: Windows) -> list[WindowScores]:
    generator = np.random.default_rng(7)
    found = []
    for row in range(len(windows)):
        window = windows[row]
        start, end = generator.normal(size=(2, window.end - window.begin)).astype(np.float32)
        found.append(WindowScores(window.begin, start, end, float(generator.normal()), 1.0))
    return found


def small_windows(tokenizer: Any) -> Windows:
    examples = [Example(str(i), "Who landed?", context) for i, context in enumerate(CONTEXTS)]
    return cut(examples, tokenizer, WindowRecipe(max_length=24, stride=5, max_question_length=8))


@pytest.mark.parametrize("kind", ["tiny_tokenizer", "tiny_bpe_tokenizer", "tiny_unigram_tokenizer"])
def test_decode_all_equals_the_enumeration_on_real_offsets(
    kind: str, request: pytest.FixtureRequest
) -> None:
    windows = small_windows(request.getfixturevalue(kind))
    assert (np.diff(windows.first) > 1).any()
    scores = random_scores(windows)
    predictions = decode_all(windows, scores, max_answer_length=6, n_best=ALL)
    assert [prediction.id for prediction in predictions] == ["0", "1", "2"]
    for e, (context, prediction) in enumerate(zip(CONTEXTS, predictions, strict=True)):
        mine = scores[windows.first[e] : windows.first[e + 1]]
        odds = oracles.question_odds(windows.texts[e], mine, 6)
        assert {(s.start, s.end): s.odds for s in prediction.spans} == pytest.approx(odds, abs=1e-5)
        assert len(prediction.spans) == len(odds)
        for span in prediction.spans:
            assert span.text == context[span.start : span.end] == span.text.strip() != ""


def test_first_window_only(tiny_tokenizer: Any) -> None:
    windows = small_windows(tiny_tokenizer)
    scores = random_scores(windows)
    alone = decode_all(windows, scores, max_answer_length=6, n_best=ALL, first_window_only=True)
    for e, prediction in enumerate(alone):
        first = [scores[windows.first[e]]]
        assert prediction == decode(
            str(e), CONTEXTS[e], windows.texts[e], first, max_answer_length=6, n_best=ALL
        )
    whole = decode_all(windows, scores, max_answer_length=6, n_best=ALL)
    assert any(len(a.spans) < len(b.spans) for a, b in zip(alone, whole, strict=True))


def test_the_collector_is_as_it_was_after_decoding() -> None:
    with pytest.raises(ZeroDivisionError), paused():
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled()
    with paused(), paused():
        pass
    assert gc.isenabled()
    gc.disable()
    try:
        with paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
