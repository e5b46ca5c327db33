"""The gate: what it counts, and what it lets through."""

from __future__ import annotations

import pytest
from conftest import CORPUS
from fakes import RandomBackend, random_reader
from transformers import PreTrainedTokenizerFast

from spanqa import metrics
from spanqa.backends import Arrays, BatchScores
from spanqa.data import Example, Reference
from spanqa.errors import ModelError
from spanqa.manifest import Bounds, Trial
from spanqa.parity import GROUP, measure, require
from spanqa.reader import Reader


def asked() -> list[Example]:
    """More questions than a group holds, answered by the first word of their texts."""
    texts = [CORPUS[i % len(CORPUS)] for i in range(GROUP + 7)]
    words = (Reference(text.split()[0], 0) for text in texts)
    return [
        Example(f"q{i}", f"What is said in {i}?", text, (word,))
        for i, (text, word) in enumerate(zip(texts, words, strict=True))
    ]


class Silent(RandomBackend):
    """Answers nothing."""

    def score(self, arrays: Arrays) -> BatchScores:
        scores = super().score(arrays)
        return scores._replace(null=scores.null + 1e3)


def readers(tokenizer: PreTrainedTokenizerFast, other: RandomBackend) -> dict[str, Reader]:
    reference = random_reader(tokenizer)
    return {"torch": reference, "onnx": Reader(other, tokenizer, reference.config)}


def test_figures_are_those_of_all_questions(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    examples, both = asked(), readers(tiny_tokenizer, RandomBackend())
    trials = measure(both, examples)
    given = {e.id: both["torch"].answer(e.question, e.context)[0].text for e in examples}
    exact = metrics.evaluate(examples, given).exact
    assert list(trials) == ["torch", "onnx"]
    for trial in trials.values():
        assert trial.agreement == 1.0
        assert trial.exact == pytest.approx(exact)
        assert trial.questions_per_second > 0
    backend = both["onnx"].backend
    assert isinstance(backend, RandomBackend) and len(backend.batches) > 2


def test_alike_is_the_same_text_at_the_same_place(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    examples, both = asked(), readers(tiny_tokenizer, Silent())
    silent = sum(not both["torch"].answer(e.question, e.context)[0].text for e in examples)
    trials = measure(both, examples)
    assert trials["torch"].agreement == 1.0
    assert trials["onnx"].agreement == silent / len(examples) < 1
    assert trials["onnx"].exact == 0.0


def test_what_falls_short_is_said() -> None:
    trials = {"torch": Trial(1.0, 70.0, 5.0), "onnx-int8": Trial(0.964, 69.5, 9.0)}
    require("onnx-int8", trials, Bounds(0.96, 0.5), 500)
    with pytest.raises(ModelError) as caught:
        require("onnx-int8", trials, Bounds(0.97, 0.3), 500)
    assert str(caught.value) == (
        "the onnx-int8 export was not kept: of 500 questions it answers 96.4% as torch does in "
        "fp32 (at least 97.0% wanted), with exact match 69.50 against 70.00 (at most 0.3 lower "
        "wanted)"
    )
