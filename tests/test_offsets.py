"""`context[start:end] == answer`, in every language and over any Unicode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import random_reader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanqa.data import load
from spanqa.reader import Reader

LANGUAGES = ("ar", "en", "hi", "ru", "th", "zh")
TOKENIZERS = ("tiny_tokenizer", "tiny_bpe_tokenizer", "tiny_unigram_tokenizer")
unicode = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
pieces = st.sampled_from(
    [
        "é",
        "👩‍🚀",
        "🇩🇪",
        "ｆｕｌｌ",
        "ﷺ",
        "İ",
        "ß",
        "ﬁ",
        "\r\n",
        "\t",
        "\u00a0",
        "\u200b",
        "q̣̇",
        "한글",
    ]
)
mixed = st.lists(pieces | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)).map(
    "".join
)


@pytest.fixture(params=TOKENIZERS)
def reader(request: pytest.FixtureRequest) -> Reader:
    return random_reader(request.getfixturevalue(request.param))


def check(reader: Reader, question: str, context: str) -> int:
    """Assert the promise for all answers to a question; how many there were."""
    answers = reader.answer(question, context, top_k=8)
    for answer in answers:
        assert context[answer.start : answer.end] == answer.text
        assert answer.text == answer.text.strip() or not answer.text.strip()
    if question and context:
        found: Any = reader(question=question, context=context, top_k=8)
        for each in found if isinstance(found, list) else [found]:
            assert context[each["start"] : each["end"]] == each["answer"]
    return sum(answer.text != "" for answer in answers)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(question=unicode, context=unicode | mixed)
def test_any_unicode(reader: Reader, question: str, context: str) -> None:
    check(reader, question, context)


@pytest.mark.parametrize("language", LANGUAGES)
def test_xquad(reader: Reader, squad_data: Path, language: str) -> None:
    examples = load(squad_data / "xquad" / f"xquad.{language}.json", misaligned="keep").examples
    found = 0
    for example in examples[::17]:
        found += check(reader, example.question, example.context)
    assert found >= len(examples[::17])
