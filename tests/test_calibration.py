"""Temperature, threshold and counts: against what is known, and against search."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from spanqa.abstention import LEVELS
from spanqa.calibration import calibrate, fit_temperature, store, stored
from spanqa.data import Example, Reference, fingerprint
from spanqa.decoding import WindowScores, decode_all
from spanqa.errors import DataError
from spanqa.metrics import evaluate, normalize_answer
from spanqa.model import SpanQAConfig
from spanqa.recipe import WindowRecipe
from spanqa.windows import Windows, cut

CONTEXT = "The river Lenna rises in the northern hills and reaches the sea"
LONGEST = 5


def drawn(
    tokenizer: PreTrainedTokenizerFast, temperature: float, questions: int = 300
) -> tuple[Windows, list[WindowScores]]:
    """Questions with random scores, whose gold answer is drawn from them at a temperature."""
    random = np.random.default_rng(3)
    recipe = WindowRecipe(max_length=64, stride=8, max_question_length=16)
    bare = [Example(f"q{i}", "Where?", CONTEXT) for i in range(questions)]
    size = len(cut(bare[:1], tokenizer, recipe).texts[0].ids)
    scores = [
        WindowScores(0, start, end, 0.0, 0.0)
        for start, end in random.normal(0, 3, (questions, 2, size)).astype(np.float32)
    ]
    predictions = decode_all(
        cut(bare, tokenizer, recipe),
        scores,
        max_answer_length=LONGEST,
        n_best=10**6,
        temperature=temperature,
    )
    examples = []
    for example, found in zip(bare, predictions, strict=True):
        chances = [span.probability for span in found.spans] + [found.null_probability]
        pick = random.choice(len(chances), p=np.array(chances) / sum(chances))
        gold = found.spans[pick : pick + 1]
        answers = tuple(Reference(span.text, span.start) for span in gold)
        examples.append(Example(example.id, "Where?", CONTEXT, answers))
    return cut(examples, tokenizer, recipe), scores


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_the_answers_is_found(
    tiny_tokenizer: PreTrainedTokenizerFast, temperature: float
) -> None:
    windows, scores = drawn(tiny_tokenizer, temperature)
    assert fit_temperature(windows, scores, LONGEST) == pytest.approx(temperature, rel=0.15)


@pytest.mark.parametrize("objective", ["exact", "f1"])
def test_no_other_threshold_is_better(
    tiny_tokenizer: PreTrainedTokenizerFast, objective: str
) -> None:
    windows, scores = drawn(tiny_tokenizer, 2.0, 60)
    found = calibrate(windows, scores, max_answer_length=LONGEST, objective=objective)  # type: ignore[arg-type]
    predictions = decode_all(windows, scores, max_answer_length=LONGEST, n_best=1)
    texts = {p.id: p.spans[0].text for p in predictions}
    null_odds = {p.id: p.null_odds for p in predictions}

    def figure(threshold: float) -> float:
        scored = evaluate(windows.examples, texts, na_probs=null_odds, threshold=threshold)
        return float(getattr(scored, objective))

    best = max(figure(threshold) for threshold in (-1e9, *null_odds.values()))
    assert figure(found.null_threshold) == best
    assert found.objective == objective
    if objective == "exact":
        assert (found.exact_before, found.exact_after) == (figure(0.0), best)
    assert found.questions == 60
    assert found.fingerprint == fingerprint(windows.examples)


def test_levels_count_the_answers_of_the_fitted_temperature(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    windows, scores = drawn(tiny_tokenizer, 0.7, 80)
    found = calibrate(windows, scores, max_answer_length=LONGEST)
    predictions = decode_all(
        windows, scores, max_answer_length=LONGEST, n_best=1, temperature=found.temperature
    )
    given: Counter[float] = Counter()
    right: Counter[float] = Counter()
    for example, prediction in zip(windows.examples, predictions, strict=True):
        best = prediction.spans[0]
        for level in LEVELS:
            if best.probability >= level:
                given[level] += 1
                right[level] += any(
                    normalize_answer(best.text) == normalize_answer(each.text)
                    for each in example.answers
                )
    assert [(each.probability, each.given, each.right) for each in found.levels] == [
        (level, given[level], right[level]) for level in LEVELS
    ]


def test_a_configuration_keeps_what_was_stored(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    windows, scores = drawn(tiny_tokenizer, 2.0, 40)
    found = calibrate(windows, scores, max_answer_length=LONGEST)
    config = SpanQAConfig()
    assert stored(config, "m") is None
    store(found, config)
    assert stored(config, "m") == found
    assert (config.temperature, config.null_threshold) == (found.temperature, found.null_threshold)
    again = SpanQAConfig.from_dict(config.to_dict())
    assert stored(again, "m") == found
    again.calibration = {"temperature": "warm"}
    with pytest.raises(
        DataError, match=r"^m: calibration in config.json, 'temperature' is damaged"
    ):
        stored(again, "m")
