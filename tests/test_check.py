"""`check` lists everything that is wrong, and measures lengths."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spanqa.check import KINDS, Bin, check
from spanqa.errors import DataError, RecipeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MILL = "The mill was built in 1887."


def row(id: str, **keys: Any) -> dict[str, Any]:
    good = {"id": id, "question": f"{id}?", "context": MILL, "title": "t", "answers": []}
    return {**good, **keys}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def answers(*pairs: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"text": text, "answer_start": start} for text, start in pairs]


FAULTY: list[tuple[Any, list[tuple[str, str]]]] = [
    (row("fine", answers=answers(("1887", 22))), []),
    (
        row("off", answers=answers(("1887", 22), ("1887", 21), ("mill", 5))),
        [("misaligned", "off")] * 2,
    ),
    (row("out", answers=answers(("1887", 40))), [("outside", "out")]),
    (row("before", answers=answers(("1887", -5))), [("outside", "before")]),
    (row("no text", answers=answers(("", 3))), [("empty-answer", "no text")]),
    (row("fine", question="Again?"), [("duplicate-id", "fine")]),
    (row("void", context="  "), [("empty-context", "void")]),
    (row("mute", question="\n"), [("empty-question", "mute")]),
    (
        row("torn", is_impossible=True, answers=answers(("1887", 22))),
        [("contradiction", "torn")],
    ),
    (row("bare", is_impossible=False), [("contradiction", "bare")]),
    (row("test", is_impossible=False, answers=None), []),
    (row("half", question="Why\ud800?"), [("lone-surrogate", "half")]),
    (row("odd", answers="1887"), [("malformed", "odd")]),
    (["list"], [("malformed", "")]),
    (row("twin", question=" FINE? "), [("duplicate-question", "twin")]),
]


def test_lists_every_problem(tmp_path: Path) -> None:
    findings = check(write(tmp_path / "a.jsonl", [record for record, _ in FAULTY]))
    expected = [problem for _, problems in FAULTY for problem in problems]
    assert [(problem.kind, problem.id) for problem in findings.problems] == expected
    assert not findings.ok
    assert sum(findings.counts.values()) == len(expected)
    assert findings.counts["outside"] == 2
    assert list(findings.counts) == [kind for kind in KINDS if kind in findings.counts]
    assert findings.questions == len(FAULTY) - 2
    places = [problem.place for problem in findings.problems if problem.kind == "malformed"]
    assert places == ["line 13", "line 14"]


def test_nothing_wrong(tmp_path: Path) -> None:
    findings = check(write(tmp_path / "a.jsonl", [row("q1"), row("q2")]))
    assert findings.ok
    assert (findings.problems, findings.counts, findings.questions) == ((), {}, 2)


def test_same_question_over_another_context_is_fine(tmp_path: Path) -> None:
    rows = [row("q1"), row("q2", question="q1?", context="Elsewhere.")]
    assert check(write(tmp_path / "a.jsonl", rows)).ok


def test_contexts_shared_with_the_evaluation_file(tmp_path: Path) -> None:
    train = write(
        tmp_path / "train.jsonl",
        [row("q1"), row("q2"), row("q3", context="Elsewhere."), row("q4", context="There.")],
    )
    evaluated = write(
        tmp_path / "eval.jsonl",
        [row("e1", context="The mill  was\nbuilt in 1887."), row("e2", context="There.")],
    )
    findings = check(train, eval_source=evaluated)
    assert findings.counts == {"shared-context": 2}
    assert [problem.sentence for problem in findings.problems] == [
        f"question 'q1': the context is in {evaluated}, too (question 'e1')",
        f"question 'q4': the context is in {evaluated}, too (question 'e2')",
    ]


def test_evaluation_file_that_cannot_be_read(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [row("q1")])
    (tmp_path / "eval.json").write_text("{")
    with pytest.raises(DataError, match=r"eval\.json: is not valid JSON"):
        check(train, eval_source=tmp_path / "eval.json")


def test_word_lengths(tmp_path: Path) -> None:
    lengths = [1, 9, 10, 11, 59, 60, 61, 120, 121, 500]  # one word of each is the question
    rows = [row(f"q{n}", context="x " * (n - 1) or ".") for n in lengths if n > 1]
    found = check(write(tmp_path / "a.jsonl", rows), max_length=60).lengths
    assert found.unit == "words"
    assert found.longest == 500
    assert found.bins == (
        Bin(0, 10, 2),
        Bin(10, 20, 1),
        Bin(20, 30, 0),
        Bin(30, 40, 0),
        Bin(40, 50, 0),
        Bin(50, 60, 2),
        Bin(60, 120, 2),
        Bin(120, 240, 1),
        Bin(240, 480, 0),
        Bin(480, 960, 1),
    )
    assert found.longer == 4


@pytest.mark.parametrize("max_length", [6, 7, 100, 384, 512])
def test_every_question_is_in_one_bin(tmp_path: Path, max_length: int) -> None:
    rows = [row(f"q{n}", context="x " * n + ".") for n in range(0, 900, 37)]
    found = check(write(tmp_path / "a.jsonl", rows), max_length=max_length).lengths
    assert sum(bin.count for bin in found.bins) == len(rows)
    assert found.bins[5].high == max_length
    assert all(low.high == high.low for low, high in pairwise(found.bins))
    assert found.longer == sum(n + 2 > max_length for n in range(0, 900, 37))


@pytest.mark.parametrize("kind", ["tiny_tokenizer", "tiny_bpe_tokenizer", "tiny_unigram_tokenizer"])
def test_token_lengths_are_the_tokenizers_own(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    tokenizer: PreTrainedTokenizerFast = request.getfixturevalue(kind)
    rows = [row(f"q{n}", context=f"{MILL} " * n) for n in range(1, 8)]
    rows.append(row("half", context="a\ud800"))  # counted nowhere: it cannot be encoded
    path = write(tmp_path / "a.jsonl", rows)
    found = check(path, tokenizer=tokenizer, max_length=60).lengths
    own = [len(tokenizer(f"q{n}?", f"{MILL} " * n)["input_ids"]) for n in range(1, 8)]
    assert found.unit == "tokens"
    assert found.longest == max(own)
    assert found.longer == sum(length > 60 for length in own) > 0
    assert sum(bin.count for bin in found.bins) == 7


def test_a_tokenizer_that_cuts_and_pads_is_left_as_it_is(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    from tokenizers import Tokenizer

    path = write(tmp_path / "a.jsonl", [row("q1", context=MILL * 9), row("q2")])
    plain = check(path, tokenizer=tiny_tokenizer).lengths
    cutting = Tokenizer.from_str(tiny_tokenizer.backend_tokenizer.to_str())
    cutting.enable_truncation(8)
    cutting.enable_padding(length=8)
    assert check(path, tokenizer=cutting).lengths == plain
    assert cutting.truncation is not None and cutting.padding is not None


def test_arguments() -> None:
    with pytest.raises(RecipeError, match="max_length is 5; give 6 or more"):
        check("a.json", max_length=5)


def test_a_slow_tokenizer_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row("q1")])
    with pytest.raises(RecipeError, match="tokenizer is a str; give a fast tokenizer"):
        check(path, tokenizer="bert")


def test_real_data(squad_data: Path) -> None:
    folder = squad_data / "squad2"
    findings = check(folder / "train-part.json", eval_source=folder / "dev-v2.0.json")
    assert findings.questions == 31_586
    assert set(findings.counts) == {"duplicate-question"}
