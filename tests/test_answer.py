"""Answers of several documents against one softmax over all their spans."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanqa.abstention import ALWAYS, AT_ZERO, NEVER, Rule
from spanqa.answer import rank
from spanqa.decoding import Prediction, Span

odds = st.floats(-6, 6).map(lambda value: round(value, 3))
documents = st.lists(st.lists(odds, max_size=4), min_size=1, max_size=4)
temperatures = st.sampled_from([0.5, 1.0, 2.0])


def predictions(found: list[list[float]], temperature: float) -> list[tuple[str, Prediction]]:
    made = []
    for d, document in enumerate(found):
        total = 1 + math.fsum(math.exp(each / temperature) for each in document)
        spans = tuple(
            Span(f"{d}.{i}", i, i + 1, each, math.exp(each / temperature) / total, (0, 9))
            for i, each in sorted(enumerate(document), key=lambda pair: -pair[1])
        )
        made.append((f"d{d}", Prediction("q", spans, -max(document, default=-math.inf), 1 / total)))
    return made


@given(documents, temperatures)
def test_probabilities_are_those_of_one_softmax(
    found: list[list[float]], temperature: float
) -> None:
    answers = rank(predictions(found, temperature), AT_ZERO)
    total = 1 + math.fsum(math.exp(each / temperature) for one in found for each in one)
    assert math.fsum(answer.probability for answer in answers) == pytest.approx(1)
    for answer in answers:
        assert answer.null_probability == pytest.approx(1 / total)
        if answer.text:
            d, i = map(int, answer.text.split("."))
            assert answer.document == f"d{d}"
            assert answer.probability == pytest.approx(math.exp(found[d][i] / temperature) / total)
            assert answer.window == (0, 9)
    given = [a.probability for a in answers if a.text]
    assert given == pytest.approx(sorted(given, reverse=True))


@given(documents)
def test_no_answer_stands_before_what_is_withheld(found: list[list[float]]) -> None:
    made = predictions(found, 1.0)
    for threshold in (-2.0, 0.0, 3.0):
        texts = [answer.text for answer in rank(made, Rule(threshold))]
        given = sum(-each <= threshold for one in found for each in one)
        assert texts.index("") == given
    assert rank(made, NEVER)[0].text == ""
    assert rank(made, ALWAYS)[-1].text == ""


def test_a_probability_of_no_answer_too_small_for_a_float() -> None:
    sure = Prediction("q", (Span("a", 0, 1, 900.0, 1.0, (0, 1)),), -900.0, 0.0)
    other = Prediction("q", (Span("b", 0, 1, -1.0, 0.25, (0, 1)),), 1.0, 0.75)
    first, *rest = rank([("x", sure), ("y", other)], AT_ZERO)
    assert (first.text, first.document) == ("a", "x")
    assert first.probability == pytest.approx(1.0)
    assert all(answer.probability < 1e-9 for answer in rest)


def test_no_document_has_a_span() -> None:
    empty = Prediction("q", (), math.inf, 1.0)
    assert [a.text for a in rank([("x", empty), ("y", empty)], ALWAYS)] == [""]
