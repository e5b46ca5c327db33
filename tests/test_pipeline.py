"""The call of the pipeline that transformers 5.3 removed: arguments, results, merged answers.

Top answers beside the pipeline's own are compared in benchmarks/pipeline_parity.py, which needs
transformers 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import CORPUS
from fakes import random_reader
from transformers import PreTrainedTokenizerFast

from spanqa.abstention import Rule
from spanqa.decoding import Span
from spanqa.errors import DataError, RecipeError
from spanqa.pipeline import Options, merged
from spanqa.reader import Reader
from spanqa.recipe import WindowRecipe
from spanqa.words import words_of

QUESTION, CONTEXT = "Who founded the observatory?", CORPUS[1]
PAIR = {"question": QUESTION, "context": CONTEXT}


@pytest.fixture(scope="module")
def reader(tiny_tokenizer: PreTrainedTokenizerFast) -> Reader:
    return random_reader(tiny_tokenizer)


def test_one_question_gives_a_dict(reader: Reader) -> None:
    found: Any = reader(question=QUESTION, context=CONTEXT)
    assert list(found) == ["score", "start", "end", "answer"]
    assert CONTEXT[found["start"] : found["end"]] == found["answer"] != ""
    assert 0 < found["score"] < 1


@pytest.mark.parametrize(
    "inputs, named",
    [
        ((PAIR,), {}),
        (([PAIR],), {}),
        ((QUESTION, CONTEXT), {}),
        ((PAIR | {"id": "q", "answers": {"text": [], "answer_start": []}, "title": "t"},), {}),
        ((), {"question": [QUESTION], "context": CONTEXT}),
        ((), {"question": [QUESTION], "context": [CONTEXT]}),
    ],
)
def test_all_ways_to_ask_one_question(reader: Reader, inputs: Any, named: Any) -> None:
    assert reader(*inputs, **named) == reader(question=QUESTION, context=CONTEXT)


@pytest.mark.parametrize(
    "inputs, named",
    [
        (([PAIR, PAIR | {"context": CORPUS[2]}],), {}),
        ((PAIR, PAIR | {"context": CORPUS[2]}), {}),
        ((), {"question": [QUESTION, QUESTION], "context": [CONTEXT, CORPUS[2]]}),
        (({"question": [QUESTION] * 2, "context": [CONTEXT, CORPUS[2]]},), {}),
    ],
)
def test_all_ways_to_ask_several(reader: Reader, inputs: Any, named: Any) -> None:
    alone = [reader(question=QUESTION, context=each) for each in (CONTEXT, CORPUS[2])]
    assert reader(*inputs, **named) == alone
    several: Any = reader(*inputs, **named, top_k=3)
    assert [len(answers) for answers in several] == [3, 3]
    assert [answers[0] for answers in several] == alone


def test_one_context_serves_several_questions(reader: Reader) -> None:
    found = reader(question=[QUESTION, "Where?"], context=CONTEXT)
    assert found == [reader(question=q, context=CONTEXT) for q in (QUESTION, "Where?")]


def test_a_generator_gives_a_generator(reader: Reader) -> None:
    found: Any = reader(PAIR | {"context": text} for text in CORPUS)
    assert not isinstance(found, list)
    assert list(found) == [reader(question=QUESTION, context=text) for text in CORPUS]


def test_what_came_before_a_bad_item_of_a_generator_is_answered(reader: Reader) -> None:
    found: Any = reader(each for each in (PAIR, {"question": QUESTION}, PAIR))
    assert next(found) == reader(PAIR)
    with pytest.raises(DataError, match=r"^the context of item 1 must be text, got NoneType$"):
        next(found)


def test_long_texts_of_a_generator_are_read_one_at_a_time(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanqa.reader.LOOK_AHEAD_CHARACTERS", len(CONTEXT))
    read: list[int] = []

    def asked() -> Iterator[dict[str, str]]:
        for i in range(3):
            read.append(i)
            yield PAIR

    found: Any = reader(asked())
    next(found)
    assert read == [0]


def test_top_k_has_no_duplicates_and_falls(reader: Reader) -> None:
    found: Any = reader(PAIR, top_k=8)
    assert len({each["answer"].lower() for each in found}) == len(found) == 8
    scores = [each["score"] for each in found]
    assert scores == sorted(scores, reverse=True)
    assert math.fsum(scores) <= 1


@pytest.mark.parametrize("context", [" ", "\u200b", "\n\t"])
def test_a_blank_text_is_answered_with_nothing(reader: Reader, context: str) -> None:
    found: Any = reader(question=QUESTION, context=context)
    assert (found["answer"], found["start"], found["end"]) == ("", 0, 0)
    assert found["score"] == 1.0


def test_many_spans_of_one_word_do_not_crowd_out_the_others(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    reader = random_reader(tiny_tokenizer)
    long = "electroencephalographically" * 4  # of many tokens, whose spans are all this one word
    context = f"Ada {long} Brånd"
    found: Any = reader(question=QUESTION, context=context, top_k=5)
    answers = [each["answer"] for each in found]
    assert len(answers) == len(set(answers)) == 5
    assert any(answer in ("Ada", "Brånd") for answer in answers)


def test_a_promised_precision_holds_for_the_call_too(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    reader = random_reader(tiny_tokenizer)
    reader.rule = Rule(math.inf, 0.999)  # more than a random model is sure of
    found: Any = reader(question=QUESTION, context=CONTEXT)
    assert found["answer"] == ""


def test_no_answer_is_one_of_them_where_it_may_be(reader: Reader) -> None:
    every: Any = reader(PAIR, top_k=2000, handle_impossible_answer=True)
    without: Any = reader(PAIR, top_k=2000)
    null = next(each for each in every if each["answer"] == "")
    assert (null["start"], null["end"]) == (0, 0)
    assert [each for each in every if each["answer"]] == without
    best = reader.answer(QUESTION, CONTEXT)[0]
    first: Any = reader(PAIR, handle_impossible_answer=True)
    assert (first["answer"] == "") == (best.text == "")


def test_options_reach_windows_and_decoder(reader: Reader) -> None:
    one: Any = reader(PAIR, max_answer_len=1, top_k=50, align_to_words=False)
    longest = max(len(each["answer"]) for each in one)
    more: Any = reader(PAIR, max_answer_len=9, top_k=50, align_to_words=False)
    assert longest < max(len(each["answer"]) for each in more)
    lengths = Options.of({"max_seq_len": 40, "doc_stride": 5, "max_question_len": 9})
    assert lengths.lengths(reader) == WindowRecipe(40, 5, 9)
    assert Options.of({"max_seq_len": None}).lengths(reader) == reader.lengths
    assert reader(PAIR, batch_size=1) == reader(PAIR)


@pytest.mark.parametrize("length", [24, 32, 64, 100, 384, 512])
def test_any_window_length_has_fitting_defaults(reader: Reader, length: int) -> None:
    found = Options.of({"max_seq_len": length}).lengths(reader)
    assert found.max_length == length
    answer: Any = reader(question=QUESTION, context=" ".join(CORPUS), max_seq_len=length)
    assert answer["answer"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"topk": 3}, "there is no option topk; there are top_k, "),
        ({"top_k": 0}, "top_k must be a whole number of at least 1, got 0"),
        ({"max_answer_len": 1.5}, "max_answer_len must be a whole number of at least 1, got 1.5"),
        ({"doc_stride": -1}, "doc_stride must be a whole number of at least 0, got -1"),
        ({"align_to_words": 3}, "align_to_words must be true or false, got 3"),
        ({"max_seq_len": 513}, "max_seq_len must be at most 512 for the model"),
        ({"max_seq_len": 40, "doc_stride": 39}, "max_seq_len 40, doc_stride 39 and "),
    ],
)
def test_options_that_cannot_be(reader: Reader, options: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        reader(PAIR, **options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "inputs, named, message",
    [
        ((), {}, "the question of item 0 must be text, got NoneType"),
        ((), {"question": "Who?"}, "the context of item 0 must be text, got NoneType"),
        ((), {"question": "", "context": "a"}, "the question of item 0 is empty"),
        (([PAIR, PAIR | {"context": ""}],), {}, "the context of item 1 is empty"),
        (([PAIR, {"question": "a"}],), {}, "the context of item 1 must be text, got NoneType"),
        (([PAIR, 3],), {}, "item 1 must be a dict with 'question' and 'context'"),
        (("Who?",), {}, "give question= and context=, a dict of both, or a list of such dicts"),
        ((PAIR,), {"question": "a"}, "give question= and context=, or one list of dicts, not both"),
        ((), {"question": ["a", "b"], "context": ["c"]}, "there are 2 questions and 1 contexts"),
        ((), {"question": "a", "context": ["b", "c"]}, "one question over several contexts: "),
        ((), {"question": "a", "context": "\ud800"}, "the context of item 0 holds a lone surr"),
    ],
)
def test_questions_that_cannot_be(reader: Reader, inputs: Any, named: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        reader(*inputs, **named)
    assert str(caught.value).startswith(message)


def test_merged_answers(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    text = "The 1990s. In the late 1990s, the MAYOR left; the mayor came back."
    words = words_of(tiny_tokenizer, [text])[text]

    def span(part: str, probability: float, from_: int = 0) -> Span:
        start = text.index(part, from_)
        return Span(part, start, start + len(part), 0.0, probability, (0, len(text)))

    spans = [
        span("mayor", 0.3),
        span("1990s", 0.2, 12),
        span("MAYOR", 0.15),
        span("1990", 0.1, 12),
        span("late 1990", 0.05),
        span("1990s", 0.04),
    ]
    found = merged(text, spans, words)
    assert [(each["answer"], each["start"]) for each, _ in found] == [
        ("mayor", text.index("mayor")),
        ("1990s", text.rindex("1990s")),
        ("late 1990s", text.index("late")),
    ]
    assert [each["score"] for each, _ in found] == pytest.approx([0.45, 0.34, 0.05])
    assert [best for _, best in found] == [spans[0], spans[1], spans[4]]
    apart = merged(text, spans, None)
    assert [each["answer"] for each, _ in apart] == ["mayor", "1990s", "1990", "late 1990"]
