"""Metrics against the official figures, a plain restatement of the scripts, and other programs."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spanqa import __version__
from spanqa.data import Example, Reference, load
from spanqa.errors import DataError, RecipeError
from spanqa.metrics import (
    best_thresholds,
    evaluate,
    evaluate_v1,
    exact_match,
    f1_score,
    leaky_exact,
    normalize_answer,
    question_scores,
    read_na_probs,
    read_predictions,
    signature,
)

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def example(id: str, *answers: str) -> Example:
    return Example(id, "Which?", "context", tuple(Reference(text, 0) for text in answers))


# --- The scripts, restated plainly: one loop per rule, dictionaries in the scripts' order ---------


def plain_normal(text: str) -> str:
    kept = [letter for letter in text.lower() if letter not in PUNCTUATION]
    words: list[str] = [""]
    for letter in kept:  # runs of word characters and of others, as \b sees them
        same_kind = words[-1] and is_word(words[-1][-1]) == is_word(letter)
        if same_kind:
            words[-1] += letter
        else:
            words.append(letter)
    return " ".join("".join(" " if w in ("a", "an", "the") else w for w in words).split())


def is_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def plain_f1(reference: str, prediction: str, empty_agree: bool) -> float:
    gold, words = plain_normal(reference).split(), plain_normal(prediction).split()
    if empty_agree and not (gold and words):
        return float(gold == words)
    left, same = list(gold), 0
    for word in words:
        if word in left:
            left.remove(word)
            same += 1
    if same == 0:
        return 0.0
    precision, recall = same / len(words), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def in_order(values: Iterable[float]) -> float:
    return reduce(operator.add, values, 0)


def plain_script(
    examples: Sequence[Example],
    predictions: Mapping[str, str],
    na_probs: Mapping[str, float] | None,
    threshold: float,
    precision_recall: bool,
) -> dict[str, float]:
    has = {e.id: bool(e.answers) for e in examples}
    exact: dict[str, float] = {}
    f1: dict[str, float] = {}
    for e in examples:
        gold = [a.text for a in e.answers if plain_normal(a.text)] or [""]
        exact[e.id] = max(plain_normal(g) == plain_normal(predictions[e.id]) for g in gold)
        f1[e.id] = max(plain_f1(g, predictions[e.id], True) for g in gold)
    na = dict.fromkeys(predictions, 0.0) if na_probs is None else na_probs

    def applied(scores: dict[str, float]) -> dict[str, float]:
        return {q: float(not has[q]) if na[q] > threshold else s for q, s in scores.items()}

    result: dict[str, float] = {}
    for prefix, ids in (
        ("", list(exact)),
        ("HasAns_", [q for q in has if has[q]]),
        ("NoAns_", [q for q in has if not has[q]]),
    ):
        if ids:
            for key, scores in (("exact", applied(exact)), ("f1", applied(f1))):
                result[prefix + key] = 100.0 * in_order(scores[q] for q in ids) / len(ids)
            result[prefix + "total"] = len(ids)
    if na_probs is None:
        return result
    ranked = sorted(na_probs, key=lambda q: na_probs[q])
    for key, scores in (("best_exact", exact), ("best_f1", f1)):
        now: float = sum(not answerable for answerable in has.values())
        best, where = now, 0.0
        for q in ranked:
            if q in has:
                now += scores[q] if has[q] else -1 if predictions[q] else 0
                if now > best:
                    best, where = now, na_probs[q]
        result[key], result[key + "_thresh"] = 100.0 * best / len(scores), where
    answerable = sum(has.values())
    if precision_recall and answerable:
        oracle: dict[str, float] = {q: float(v) for q, v in has.items()}
        for key, scores in (("exact", exact), ("f1", f1), ("oracle", oracle)):
            right, before, area = 0.0, 0.0, 0.0
            for place, q in enumerate(ranked, start=1):
                right += scores[q] if has[q] else 0.0
                if place == len(ranked) or na_probs[q] != na_probs[ranked[place]]:
                    area += right / place * (right / answerable - before)
                    before = right / answerable
            result[f"pr_{key}_ap"] = 100.0 * area
    return result


def plain_script_v1(
    examples: Sequence[Example], predictions: Mapping[str, str]
) -> dict[str, float]:
    exact, f1 = 0.0, 0.0
    for e in examples:
        if e.id in predictions:
            given = predictions[e.id]
            exact += max(plain_normal(a.text) == plain_normal(given) for a in e.answers)
            f1 += max(plain_f1(a.text, given, False) for a in e.answers)
    return {"exact_match": 100.0 * exact / len(examples), "f1": 100.0 * f1 / len(examples)}


# --- Texts and evaluations made at random --------------------------------------------------------

WORDS = ("the", "a", "An", "red", "Red,", "fox", "fox's", "1,000", "–a–", "Ünited", "the—end", ".")
texts = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
null_scores = st.sampled_from([0.0, 0.25, 0.5, 0.5000001, 1, 0, -1.5, 3.0])


@st.composite
def evaluations(draw: st.DrawFn) -> tuple[list[Example], dict[str, str], dict[str, float]]:
    references = draw(st.lists(st.lists(texts, max_size=3), min_size=1, max_size=12))
    examples = [example(f"q{i}", *answers) for i, answers in enumerate(references)]
    ids = [e.id for e in examples]
    predictions = {
        i: draw(st.sampled_from(["", "the"]) | texts) for i in draw(st.permutations(ids))
    }
    na_probs: dict[str, float] = {i: draw(null_scores) for i in draw(st.permutations(ids))}
    return examples, predictions, na_probs


@settings(deadline=None, max_examples=150)
@given(st.text() | texts)
def test_normalising_follows_the_rules(text: str) -> None:
    assert normalize_answer(text) == plain_normal(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Beatles!", "beatles"),
        ("  an\ta\n b ", "b"),
        ("theatre's", "theatres"),
        ("x\x1ca\x1cy", "x y"),
        ("the–end", "–end"),
        ("a\x00b", "\x00b"),
        ("U.S.A.", "usa"),
        ("a_an", "aan"),
        ("İ", "i̇"),
        ("a\u0301", "\u0301"),
        ("\ud800 the", "\ud800"),
    ],
)
def test_normalising_by_example(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@settings(deadline=None, max_examples=150)
@given(texts, texts)
def test_scores_of_a_pair_follow_the_rules(reference: str, prediction: str) -> None:
    assert f1_score(reference, prediction) == plain_f1(reference, prediction, True)
    assert exact_match(reference, prediction) == (
        plain_normal(reference) == plain_normal(prediction)
    )


@settings(deadline=None, max_examples=200)
@given(evaluations(), st.sampled_from([1.0, 0.5, 0.0, -2.0]), st.booleans(), st.booleans())
def test_every_digit_and_key_of_the_plain_script(
    case: tuple[list[Example], dict[str, str], dict[str, float]],
    threshold: float,
    with_null_scores: bool,
    foreign: bool,
) -> None:
    examples, predictions, na_probs = case
    if foreign:  # ids that the data does not have are passed over
        predictions = {"x": "fox", **predictions}
        na_probs = {"y": 0.1, **na_probs}
    curves = with_null_scores and not foreign
    given_scores = na_probs if with_null_scores else None
    scores = evaluate(
        examples, predictions, na_probs=given_scores, threshold=threshold, precision_recall=curves
    )
    expected = plain_script(examples, predictions, given_scores, threshold, curves)
    assert json.dumps(scores.as_dict()) == json.dumps(expected)
    assert scores.exact == expected["exact"]
    assert scores.f1 == expected["f1"]
    assert scores.total == len(examples) == len(scores.questions)


@settings(deadline=None, max_examples=100)
@given(evaluations())
def test_every_digit_of_the_plain_script_of_squad_1(
    case: tuple[list[Example], dict[str, str], dict[str, float]],
) -> None:
    examples = [e for e in case[0] if e.answers]
    assume(examples)
    predictions = dict(list(case[1].items())[1:])
    scores = evaluate_v1(examples, predictions)
    assert scores.as_dict() == plain_script_v1(examples, predictions)
    assert set(scores.missing) == {e.id for e in examples} - predictions.keys()


# --- Real systems and other programs -------------------------------------------------------------

SYSTEMS = ("bert-single-google", "bidaf-selfattn-elmo-ai2", "distilbert-hiva-ijca")
LOGISTIC = "logistic-regression-baseline-stanford-university"


@pytest.fixture(scope="module")
def dev_set(squad_data: Path) -> tuple[Example, ...]:
    return load(squad_data / "squad2" / "dev-v2.0.json", misaligned="keep").examples


def system(squad_data: Path, name: str) -> tuple[dict[str, str], dict[str, float] | None]:
    folder = squad_data / "predictions"
    scores = folder / f"{name}.na_prob.json"
    return (
        read_predictions(folder / f"{name}.pred.json"),
        read_na_probs(scores) if scores.is_file() else None,
    )


@pytest.mark.parametrize("name", SYSTEMS)
def test_official_figures_of_real_systems(
    squad_data: Path, dev_set: tuple[Example, ...], name: str
) -> None:
    predictions, na_probs = system(squad_data, name)
    official = squad_data / "predictions" / f"{name}.official-eval.json"
    scores = evaluate(dev_set, predictions, na_probs=na_probs).as_dict()
    assert json.dumps(scores) == json.dumps(json.loads(official.read_text()))


def test_precision_recall_of_a_real_system(squad_data: Path, dev_set: tuple[Example, ...]) -> None:
    predictions, na_probs = system(squad_data, "distilbert-hiva-ijca")
    assert na_probs is not None
    scores = evaluate(dev_set, predictions, na_probs=na_probs, precision_recall=True)
    expected = plain_script(dev_set, predictions, na_probs, 1.0, True)
    assert json.dumps(scores.as_dict()) == json.dumps(expected)
    metrics = pytest.importorskip("sklearn.metrics")
    answerable = [bool(e.answers) for e in dev_set]
    oracle = metrics.average_precision_score(answerable, [-na_probs[e.id] for e in dev_set])
    assert scores.as_dict()["pr_oracle_ap"] == pytest.approx(100 * oracle, rel=1e-12)


def test_the_logistic_file_of_squad_1(squad_data: Path) -> None:
    examples = load(squad_data / "squad1" / "dev-v1.1.json", misaligned="keep").examples
    predictions, _ = system(squad_data, LOGISTIC)
    file = squad_data / "predictions" / f"{LOGISTIC}.eval-v1.1-metric.json"
    official = json.loads(file.read_text())
    scores = evaluate_v1(examples, predictions)
    assert scores.as_dict() == {key: official[key] for key in ("exact_match", "f1")}
    assert len(scores.missing) == official["missing"]
    with pytest.raises(DataError, match="no prediction for 13 questions"):
        evaluate_v1(examples, predictions, strict=True)
    filled = {**dict.fromkeys(scores.missing, ""), **predictions}
    with pytest.raises(DataError, match=r"28 questions .* that the data does not have"):
        evaluate_v1(examples, filled, strict=True)
    with pytest.raises(DataError, match="no prediction for 13 questions"):
        evaluate(examples, predictions)  # the 2.0 script stops with a KeyError


# --- Edges of the official behaviour -------------------------------------------------------------


def test_references_that_normalise_to_nothing_are_skipped() -> None:
    scores = question_scores(
        [example("a", "the", "fox"), example("b", "the", "."), example("c")],
        {"a": "the", "b": "", "c": "an"},
    )
    assert [(s.exact, s.f1, s.has_answer, s.answered) for s in scores] == [
        (0.0, 0.0, True, True),
        (1.0, 1.0, True, False),
        (1.0, 1.0, False, True),
    ]


def test_questions_without_a_prediction_are_left_out_of_the_raw_scores() -> None:
    scores = question_scores([example("a", "fox"), example("b", "owl")], {"b": "owl"})
    assert [score.id for score in scores] == ["b"]


def test_of_equal_ids_the_last_question_counts_once() -> None:
    examples = [example("a", "fox"), example("b"), example("a", "owl")]
    scores = evaluate(examples, {"a": "owl", "b": ""})
    assert scores.as_dict()["HasAns_exact"] == 100.0
    assert scores.total == 2
    assert [question.id for question in scores.questions] == ["a", "b"]


def test_whole_numbers_stay_whole_in_the_thresholds() -> None:
    scores = evaluate([example("a", "fox")], {"a": "fox"}, na_probs={"a": 1})
    assert json.dumps(scores.as_dict()["best_exact_thresh"]) == "1"


def test_the_threshold_is_seen_in_the_questions() -> None:
    examples = [example("a", "fox"), example("b"), example("c", "owl")]
    predictions = {"a": "fox", "b": "elk", "c": "owl"}
    scores = evaluate(examples, predictions, na_probs={"a": 0.9, "b": 0.8, "c": 0.1}, threshold=0.5)
    assert [(s.exact, s.f1, s.answered) for s in scores.questions] == [
        (0.0, 0.0, False),
        (1.0, 1.0, False),
        (1.0, 1.0, True),
    ]


def test_no_precision_recall_where_nothing_is_answerable() -> None:
    scores = evaluate([example("a")], {"a": "x"}, na_probs={"a": 0.5}, precision_recall=True)
    assert scores.average_precision is None
    assert scores.has_answer is None
    assert scores.as_dict()["best_exact"] == 100.0


# --- Strict mode ---------------------------------------------------------------------------------


def test_strict_takes_only_the_empty_text_as_no_answer() -> None:
    examples, predictions = [example("a"), example("b")], {"a": "the", "b": ""}
    assert evaluate(examples, predictions).exact == 100.0
    assert evaluate(examples, predictions, strict=True).exact == 50.0


def test_strict_puts_no_threshold_between_equal_scores() -> None:
    examples = [example("a", "fox"), example("b")]
    predictions, na_probs = {"a": "fox", "b": "elk"}, {"a": 0.5, "b": 0.5}
    official = evaluate(examples, predictions, na_probs=na_probs)
    strict = evaluate(examples, predictions, na_probs=na_probs, strict=True)
    assert official.best is not None and strict.best is not None
    assert (official.best.exact, official.best.exact_threshold) == (100.0, 0.5)  # out of reach
    assert (strict.best.exact, strict.best.exact_threshold) == (50.0, 0.0)


def test_strict_says_which_threshold_gives_no_answer_anywhere() -> None:
    # At threshold 0, a question whose null score is 0 is answered.
    scores = question_scores([example("a"), example("b")], {"a": "elk", "b": "owl"})
    assert best_thresholds(scores, {"a": 0.0, "b": 0.5}).exact_threshold == 0.0
    strict = best_thresholds(scores, {"a": 0.0, "b": 0.5}, strict=True)
    assert (strict.exact, strict.exact_threshold < 0.0) == (100.0, True)


@settings(deadline=None, max_examples=150)
@given(evaluations())
def test_strict_best_threshold_is_reached_and_is_the_best_of_all(
    case: tuple[list[Example], dict[str, str], dict[str, float]],
) -> None:
    examples, predictions, na_probs = case
    raw = question_scores(examples, predictions, strict=True)
    best = best_thresholds(raw, na_probs, strict=True)

    def figures(threshold: float) -> tuple[float, float]:
        shown = {i: "" if na_probs[i] > threshold else text for i, text in predictions.items()}
        scores = question_scores(examples, shown, strict=True)
        # With nothing to say, an answerable question is wrong, whatever its references.
        scores = tuple(
            replace(s, exact=0.0, f1=0.0) if s.has_answer and na_probs[s.id] > threshold else s
            for s in scores
        )
        return (
            100 * sum(s.exact for s in scores) / len(scores),
            100 * sum(s.f1 for s in scores) / len(scores),
        )

    every = [figures(threshold) for threshold in (*na_probs.values(), -1e9)]
    assert figures(best.exact_threshold)[0] == pytest.approx(best.exact)
    assert figures(best.f1_threshold)[1] == pytest.approx(best.f1)
    assert best.exact == pytest.approx(max(exact for exact, _ in every))
    assert best.f1 == pytest.approx(max(f1 for _, f1 in every))


ONE = [example("a", "fox")]


@pytest.mark.parametrize(
    ("predictions", "na_probs", "sentence"),
    [
        ({"a": "x", "b": "y"}, None, r"prediction for 1 question \('b'\) that the data"),
        ({"a": "x"}, {"a": 0.5, "c": 0.5}, r"no answer for 1 question \('c'\) that the data"),
        ({"a": "x"}, {"a": 3.2}, r"outside 0 to 1 for 1 question \('a'\)"),
        ({"a": "x"}, {"a": -1e-9}, "convert them to probabilities"),
        ({}, None, r"no prediction for 1 question \('a'\)"),
    ],
)
def test_strict_refuses_with_a_sentence(
    predictions: dict[str, str], na_probs: dict[str, float] | None, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        evaluate(ONE, predictions, na_probs=na_probs, strict=True)


# --- What the scripts stop on --------------------------------------------------------------------


def test_evaluation_refuses_with_a_sentence() -> None:
    many = [example(f"q{i}", "fox") for i in range(9)]
    with pytest.raises(DataError, match=r"9 questions \('q0', 'q1', 'q2', \.\.\.\)"):
        evaluate(many, {})
    with pytest.raises(DataError, match="no probability of no answer for 1 question"):
        evaluate(ONE, {"a": "x"}, na_probs={})
    with pytest.raises(DataError, match="that the data does not have"):
        evaluate(ONE, {"a": "x"}, na_probs={"a": 0.1, "b": 0.1}, precision_recall=True)
    with pytest.raises(RecipeError, match="precision_recall needs na_probs"):
        evaluate(ONE, {"a": "x"}, precision_recall=True)
    with pytest.raises(DataError, match="no question to score"):
        evaluate([], {})
    with pytest.raises(DataError, match=r"no reference answers for 1 question \('a'\)"):
        evaluate([replace(ONE[0], labelled=False)], {"a": "x"})
    with pytest.raises(DataError, match="score such data as SQuAD"):
        evaluate_v1([example("a")], {"a": ""})
    with pytest.raises(DataError, match="no scored question"):
        best_thresholds([], {})


def test_the_first_question_without_a_prediction_is_named_whatever_it_is_called() -> None:
    with pytest.raises(DataError, match=r"'\\ud800'") as caught:
        evaluate([example("\ud800", "fox")], {})
    assert str(caught.value).isascii()


# --- Around the figures --------------------------------------------------------------------------


def test_leaky_scoring_forgives_the_unanswerable_and_forgets_references() -> None:
    examples = [
        example("a"),
        example("b", "fox", "owl"),
        example("c", "The elk"),
        example("d", "x"),
    ]
    predictions = {"a": "wrong", "b": "owl", "c": "elk"}
    assert leaky_exact(examples, predictions) == 50.0
    assert evaluate(examples, {**predictions, "d": ""}).exact == 50.0
    with pytest.raises(DataError, match="no question"):
        leaky_exact([], {})


def test_signatures_tell_apart_what_can_differ() -> None:
    assert signature(evaluate(ONE, {"a": "fox"})) == (
        f"metric:squad2.0|questions:1|null_scores:no|threshold:1|mode:official|spanqa:{__version__}"
    )
    strict = evaluate(ONE, {"a": "fox"}, na_probs={"a": 0.1}, threshold=0.25, strict=True)
    assert "null_scores:yes|threshold:0.25|mode:strict" in signature(strict)
    assert signature(evaluate_v1(ONE, {})).startswith("metric:squad1.1|questions:1|mode:official")


@pytest.mark.parametrize("read", [read_predictions, read_na_probs])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b" \r\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b'{"a": "x", "b', "not valid JSON"),
        (b"[1, 2]", "holds a list"),
        (b'"text"', "holds text"),
        (b"null", "holds null"),
        (b"\xff\xfe{", "not UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": null}', "'a' is null"),
        (b'{"a": ["x"]}', "'a' is a list"),
        (b'{"a": {"text": "x"}}', "'a' is an object"),
        (b'{"a": true}', "'a' is true or false"),
    ],
)
def test_bad_files_end_in_one_sentence(
    tmp_path: Path, read: Any, content: bytes, sentence: str
) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=sentence) as caught:
        read(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_of_the_wrong_kind_and_missing_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_text('{"q1": 0.5}')
    with pytest.raises(DataError, match="prediction of question 'q1' is a number"):
        read_predictions(file)
    file.write_text('{"q1": "0.5"}')
    with pytest.raises(DataError, match="probability of no answer for question 'q1' is text"):
        read_na_probs(file)
    for number in ("NaN", "1" + "0" * 400):
        file.write_text(f'{{"q1": {number}}}')
        with pytest.raises(DataError, match="'q1' is not a usable number"):
            read_na_probs(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path / "none.json")


def test_odd_but_valid_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_bytes(b'\xef\xbb\xbf{"q1": "\\ud800",\r\n "q2": ""}\r\n')
    predictions = read_predictions(file)
    assert predictions == {"q1": "\ud800", "q2": ""}
    assert evaluate([example("q1", "\ud800"), example("q2")], predictions).exact == 100.0
    file.write_text('{"q1": 1, "q2": -Infinity, "q3": 1e-3}')
    assert read_na_probs(file) == {"q1": 1, "q2": float("-inf"), "q3": 0.001}
