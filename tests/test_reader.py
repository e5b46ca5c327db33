"""The Reader: several documents, streams, promises it can and cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CORPUS
from fakes import RandomBackend, random_reader
from transformers import PreTrainedTokenizerFast

from spanqa import reader as module
from spanqa.abstention import NEVER
from spanqa.answer import Answer
from spanqa.backends import TorchBackend
from spanqa.errors import DataError, ModelError, RecipeError, SpanQAError, WriteError
from spanqa.folders import is_sealed
from spanqa.reader import Reader, Texts

ASKED = ("Who founded the observatory?", "Where does the railway end?")
LONG = " ".join(CORPUS[:6])


@pytest.fixture
def reader(tiny_tokenizer: PreTrainedTokenizerFast) -> Reader:
    return random_reader(tiny_tokenizer)


def test_every_answer_is_a_slice_of_its_document_and_its_window(reader: Reader) -> None:
    texts = dict(zip("abc", (LONG, CORPUS[6], CORPUS[10]), strict=True))
    for answers in reader.answer(ASKED, texts, top_k=9):
        assert len(answers) == 9
        for answer in answers:
            if answer.text:
                text = texts[answer.document]
                assert text[answer.start : answer.end] == answer.text
                begin, end = answer.window
                assert begin <= answer.start < answer.end <= end
                assert end - begin < len(LONG) / 2


def test_several_questions_are_as_one_by_one(reader: Reader) -> None:
    together = reader.answer(ASKED, LONG, top_k=4)
    assert together == tuple(reader.answer(each, LONG, top_k=4) for each in ASKED)
    assert reader.answer((), LONG) == ()


def test_a_list_of_texts_has_numbers_for_ids(reader: Reader) -> None:
    named = reader.answer(ASKED[0], {"0": CORPUS[0], "1": CORPUS[1]}, top_k=5)
    assert reader.answer(ASKED[0], [CORPUS[0], CORPUS[1]], top_k=5) == named


def test_the_best_of_all_documents_is_the_best_of_its_own(reader: Reader) -> None:
    alone = [reader.answer(ASKED[0], text, top_k=2) for text in CORPUS]
    best = [next(a for a in answers if a.text) for answers in alone]
    odds = [answer.probability / answer.null_probability for answer in best]
    winner = odds.index(max(odds))
    first = next(a for a in reader.answer(ASKED[0], CORPUS, top_k=2) if a.text)
    assert (first.document, first.text) == (str(winner), best[winner].text)
    assert first.probability < best[winner].probability


@pytest.mark.parametrize(
    "question, context, message",
    [
        ("Who?", [], "there is no text to answer from"),
        ("Who?", {}, "there is no text to answer from"),
        ("Who?", ["a", 3], "the text 1 must be text, got int"),
        ("Who?", {"x": "\ud800"}, "the text x holds a lone surrogate, which is not valid Unicode"),
        ("\udfff", "a", "the question holds a lone surrogate, which is not valid Unicode"),
        ([None], "a", "the question must be text, got NoneType"),
        (5, "a", "the question must be text, got int"),
        ({"question": "Who?"}, "a", "the question must be text, got dict"),
        ("Who?", 5, "the text must be text, got int"),
        ("Who?", b"a", "the text must be text, got bytes"),
    ],
)
def test_what_cannot_be_answered(reader: Reader, question: Any, context: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        reader.answer(question, context)
    assert str(caught.value) == message


def test_an_empty_text_has_no_answer(reader: Reader) -> None:
    assert reader.answer("Who?", "", top_k=3) == (Answer("", 0, 0, 1.0, 1.0),)


def test_a_stream_keeps_order_and_reads_little_ahead(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_AHEAD", 3)
    read: list[int] = []

    def asked() -> Iterator[tuple[str, Texts]]:
        for i in range(8):
            read.append(i)
            yield ASKED[i % 2], [CORPUS[i], CORPUS[i + 1]]

    found = reader.stream(asked(), top_k=2)
    assert read == []
    first = next(found)
    assert read == [0, 1, 2]
    rest = list(found)
    expected = [reader.answer(ASKED[i % 2], [CORPUS[i], CORPUS[i + 1]], top_k=2) for i in range(8)]
    assert [first, *rest] == expected


def test_long_texts_are_read_one_at_a_time(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AHEAD_CHARACTERS", len(LONG))
    read: list[int] = []

    def asked() -> Iterator[tuple[str, Texts]]:
        for i in range(3):
            read.append(i)
            yield ASKED[0], LONG

    next(reader.stream(asked()))
    assert read == [0]


def test_what_came_before_a_bad_item_of_a_stream_is_answered(reader: Reader) -> None:
    for bad in ([], ["a", 3], "\ud800", 5):
        asked: list[Any] = [(ASKED[0], CORPUS[0]), (ASKED[1], CORPUS[4]), (ASKED[0], bad)]
        found = reader.stream([*asked, (ASKED[0], CORPUS[0])])
        assert [next(found), next(found)] == [reader.answer(*each) for each in asked[:2]]
        with pytest.raises(DataError, match="text"):
            next(found)


def test_what_came_before_an_error_of_a_generator_is_answered(reader: Reader) -> None:
    def asked() -> Iterator[tuple[str, Texts]]:
        yield ASKED[0], CORPUS[0]
        raise KeyError("lost")

    found = reader.stream(asked())
    assert next(found) == reader.answer(ASKED[0], CORPUS[0])
    with pytest.raises(KeyError, match="lost"):
        next(found)


@pytest.mark.parametrize("top_k", [0, -1])
def test_no_answers_cannot_be_wanted(reader: Reader, top_k: int) -> None:
    with pytest.raises(RecipeError, match="top_k must be at least 1"):
        reader.answer(ASKED[0], LONG, top_k=top_k)
    with pytest.raises(RecipeError, match="top_k must be at least 1"):
        next(reader.stream([(ASKED[0], LONG)], top_k=top_k))


def test_batches_hold_as_many_tokens_as_the_longest_windows(
    reader: Reader,
) -> None:
    reader.batch_size = 2
    reader.answer(ASKED, [LONG, *CORPUS])
    backend = reader.backend
    assert isinstance(backend, RandomBackend)
    budget = 2 * max(length for _, length in backend.batches)
    assert all(rows * length <= budget + 8 * rows for rows, length in backend.batches)
    assert max(rows for rows, _ in backend.batches) > 2


def test_precision_is_promised_by_calibrated_checkpoints_alone(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    with pytest.raises(ModelError, match=r"^the model: was never calibrated"):
        random_reader(tiny_tokenizer, min_precision=0.8)


def test_a_stored_precision_decides_in_place_of_the_threshold(reader: Reader) -> None:
    config = reader.config
    config.calibration = {
        "temperature": 1.0,
        "null_threshold": 0.0,
        "questions": 50,
        "exact_before": 1.0,
        "exact_after": 1.0,
        "levels": [{"probability": 0.5, "given": 50, "right": 50}],
    }
    config.min_precision = 0.8
    again = Reader(reader.backend, reader.tokenizer, config)
    assert again.rule.min_probability == 0.5
    strict = Reader(reader.backend, reader.tokenizer, config, min_precision=0.99)
    assert strict.rule == NEVER
    assert strict.answer(ASKED[0], LONG)[0].text == ""
    with pytest.raises(RecipeError, match="min_precision"):
        Reader(reader.backend, reader.tokenizer, config, min_precision=80)


def test_a_saved_reader_is_the_same(tiny_model_folder: Path, tmp_path: Path) -> None:
    reader = Reader.from_pretrained(tiny_model_folder)
    assert reader.backend.name.startswith("torch fp32")
    reader.save_pretrained(tmp_path / "saved")
    again = Reader.from_pretrained(tmp_path / "saved")
    first, second = (each.answer(ASKED[0], LONG, top_k=3) for each in (reader, again))
    assert [a.text for a in first] == [a.text for a in second]
    assert [a.probability for a in first] == pytest.approx([a.probability for a in second])


def test_a_folder_that_holds_something_is_not_saved_into(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader.from_pretrained(tiny_model_folder)
    mine = tmp_path / "mine.txt"
    mine.write_text("kept")
    for folder in (tmp_path, mine):
        with pytest.raises(WriteError, match=r"holds other things; name a new folder$"):
            reader.save_pretrained(folder)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(WriteError, match="name a new folder"):
        reader.save_pretrained(".")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "mine.txt"]
    assert mine.read_text() == "kept"


def test_there_is_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(SpanQAError, match="no-such-folder"):
        Reader.from_pretrained(tmp_path / "no-such-folder")


def test_a_model_that_was_damaged_after_it_was_saved_is_refused(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    reader = Reader.from_pretrained(tiny_model_folder)
    reader.save_pretrained(tmp_path)
    assert is_sealed(tmp_path)
    Reader.from_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors: is damaged or was changed"):
        Reader.from_pretrained(tmp_path)
    assert isinstance(reader.backend, TorchBackend)
    reader.backend.model.save_pretrained(tmp_path)  # the seal was that of other files
    assert not is_sealed(tmp_path)
    Reader.from_pretrained(tmp_path)
