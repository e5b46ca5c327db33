"""Files as they come: each loads right, or ends in one sentence that says where and what."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanqa.check import check
from spanqa.data import load, require_labels
from spanqa.errors import DataError

CONTEXT = "The mill on the Lenna was built in 1887 by Ada Mbeki."
ANSWER = {"text": "1887", "answer_start": 35}


def nested(**question: Any) -> dict[str, Any]:
    """A SQuAD file of one question, `q1`, with some of its keys replaced."""
    context = question.pop("context", CONTEXT)
    title = question.pop("title", "Lenna")
    qa = {"id": "q1", "question": "When was the mill built?", "answers": [ANSWER], **question}
    qa = {key: value for key, value in qa.items() if value is not ...}
    return {"data": [{"title": title, "paragraphs": [{"context": context, "qas": [qa]}]}]}


def dump(value: Any) -> bytes:
    return json.dumps(value).encode()


ROW = {"id": "q1", "question": "When?", "context": CONTEXT, "title": "Lenna", "answers": [ANSWER]}
AT = "(data[0].paragraphs[0].qas[0])"
TWICE = nested()
TWICE["data"] *= 2

# name, file name, content, the sentence behind the file's path
REFUSED: list[tuple[str, str, bytes, str]] = [
    (
        "truncated JSON",
        "a.json",
        dump(nested())[:90],
        ": is not valid JSON: Unterminated string starting at line 1 column 57; is it cut off?",
    ),
    (
        "truncated between values",
        "a.json",
        dump(nested())[:-3],
        ": is not valid JSON: Expecting ',' delimiter at line 1 column 228; is it cut off?",
    ),
    ("empty file", "a.json", b"", ": is empty"),
    ("blank file", "a.json", b" \n", ": is empty"),
    ("empty JSONL", "a.jsonl", b"", ": holds no question"),
    ("empty CSV", "a.csv", b"", ": holds no question"),
    ("empty Parquet", "a.parquet", b"", ": is not a Parquet file, or is cut off"),
    ("no question", "a.json", b'{"version": "v2.0", "data": []}', ": holds no question"),
    ("CSV header alone", "a.csv", b"id,context,question\n", ": holds no question"),
    (
        "not SQuAD",
        "a.json",
        b'{"articles": []}',
        ": is not in SQuAD format: it has no list of articles under 'data'",
    ),
    (
        "dict where the list belongs",
        "a.json",
        b'{"data": {"title": "x"}}',
        ": is not in SQuAD format: it has no list of articles under 'data'",
    ),
    ("wrong nesting", "a.json", b'{"data": [{"title": "x"}]}', ": data[0]: has no 'paragraphs'"),
    (
        "paragraphs one level up",
        "a.json",
        b'{"data": [{"paragraphs": {"context": "x", "qas": []}}]}',
        ": data[0]: 'paragraphs' must be a list, not an object",
    ),
    (
        "list where an article belongs",
        "a.json",
        b'{"data": [[]]}',
        ": data[0]: an object with 'paragraphs' belongs here, not a list",
    ),
    (
        "list where a paragraph belongs",
        "a.json",
        b'{"data": [{"paragraphs": [["x"]]}]}',
        ": data[0].paragraphs[0]: an object with 'qas' belongs here, not a list",
    ),
    (
        "list where a question belongs",
        "a.json",
        b'{"data": [{"paragraphs": [{"context": "x", "qas": [["q"]]}]}]}',
        ": data[0].paragraphs[0].qas[0]: a question must be an object, not a list",
    ),
    (
        "paragraph without context",
        "a.json",
        b'{"data": [{"paragraphs": [{"qas": [{"id": "q1", "question": "?"}]}]}]}',
        f": question 'q1' {AT}: has no 'context'",
    ),
    (
        "answer_start as text",
        "a.json",
        dump(nested(answers=[{"text": "1887", "answer_start": "35"}])),
        f": question 'q1' {AT}: 'answer_start' must be a whole number, not the text '35'",
    ),
    (
        "answer_start true",
        "a.json",
        dump(nested(answers=[{"text": "1887", "answer_start": True}])),
        f": question 'q1' {AT}: 'answer_start' must be a whole number, not true",
    ),
    (
        "answer_start with a fraction",
        "a.json",
        dump(nested(answers=[{"text": "1887", "answer_start": 35.5}])),
        f": question 'q1' {AT}: 'answer_start' must be a whole number, not the number 35.5",
    ),
    (
        "no answer_start",
        "a.json",
        dump(nested(answers=[{"text": "1887"}])),
        f": question 'q1' {AT}: an answer has no 'answer_start'",
    ),
    (
        "answers as texts",
        "a.json",
        dump(nested(answers=["1887"])),
        f": question 'q1' {AT}: an answer must have 'text' and 'answer_start', not the text '1887'",
    ),
    (
        "answers as one text",
        "a.json",
        dump(nested(answers="1887")),
        f": question 'q1' {AT}: 'answers' must be a list, not the text '1887'",
    ),
    (
        "answers in columns of two lengths",
        "a.json",
        dump(nested(answers={"text": ["1887"], "answer_start": []})),
        f": question 'q1' {AT}: 'answers' must have as many 'answer_start' as 'text'",
    ),
    (
        "negative answer_start",
        "a.json",
        dump(nested(answers=[{"text": "beki", "answer_start": -5}])),
        f": question 'q1' {AT}: answer 'beki' at answer_start -5 is outside the context of 53 "
        "characters; correct it, or set misaligned to drop or realign (keep for scoring alone)",
    ),
    (
        "answer behind the end",
        "a.json",
        dump(nested(answers=[{"text": "1887", "answer_start": 10**30}])),
        f": question 'q1' {AT}: answer '1887' at answer_start {10**30} is outside the context of "
        "53 characters; correct it, or set misaligned to drop or realign (keep for scoring alone)",
    ),
    (
        "answer elsewhere",
        "a.json",
        dump(nested(answers=[{"text": "1887", "answer_start": 34}])),
        f": question 'q1' {AT}: answer '1887' is not at answer_start 34, where ' 188' stands; "
        "correct it, or set misaligned to drop or realign (keep for scoring alone)",
    ),
    (
        "empty answer",
        "a.json",
        dump(nested(answers=[{"text": "", "answer_start": 0}])),
        f": question 'q1' {AT}: an answer is an empty text; an unanswerable question has no "
        "answers; correct it, or set misaligned to drop or realign (keep for scoring alone)",
    ),
    (
        "number of 5,000 digits",
        "a.json",
        dump(nested()).replace(b"35", b"3" * 5000),
        ": is not SQuAD data: a number has thousands of digits",
    ),
    (
        "duplicate ids",
        "a.json",
        dump(TWICE),
        ": question 'q1' (data[1].paragraphs[0].qas[0]): the id is used twice "
        "(first at data[0].paragraphs[0].qas[0]); give every question an id of its own",
    ),
    (
        "number and text of the same id",
        "a.jsonl",
        dump({**ROW, "id": 7}) + b"\n" + dump({**ROW, "id": "7"}),
        ": question '7' (line 2): the id is used twice (first at line 1); "
        "give every question an id of its own",
    ),
    (
        "lone surrogate in a question",
        "a.json",
        dump(nested(question="When\ud83d?")),
        f": question 'q1' {AT}: 'question' has half a surrogate pair (U+D83D) at character 4, "
        "which no encoding can write; replace it",
    ),
    (
        "lone surrogate in an answer",
        "a.json",
        dump(nested(answers=[{"text": "\udc00", "answer_start": 0}])),
        f": question 'q1' {AT}: 'answers[0]' has half a surrogate pair (U+DC00) at character 0, "
        "which no encoding can write; replace it",
    ),
    (
        "lone surrogate in an id",
        "a.json",
        dump(nested(id="q\ud800")),
        f": question 'q\\ud800' {AT}: 'id' has half a surrogate pair (U+D800) at character 1, "
        "which no encoding can write; replace it",
    ),
    (
        "surrogate written as UTF-8",
        "a.jsonl",
        b'\n{"question": "\xed\xa0\x80"}',
        ": line 2: byte 0xed is not UTF-8; save the file as UTF-8",
    ),
    (
        "Latin-1",
        "a.csv",
        "id,question,context\n1,Où?,Là\n".encode("latin-1"),
        ": line 2: byte 0xf9 is not UTF-8; save the file as UTF-8",
    ),
    (
        "binary file",
        "a.json",
        b"\x89PNG\r\n\x1a\n\x00\x00",
        ": line 1: byte 0x89 is not UTF-8; save the file as UTF-8",
    ),
    (
        "zero bytes",
        "a.json",
        bytes(100),
        ": is not valid JSON: Expecting value at line 1 column 1",
    ),
    (
        "zero bytes as CSV",
        "a.csv",
        bytes(100),
        ": has no column 'context'; the columns are id, title, context, question, answers",
    ),
    (
        "JSON as Parquet",
        "a.parquet",
        dump(nested()),
        ": is not a Parquet file, or is cut off",
    ),
    (
        "one bad line",
        "a.jsonl",
        dump(ROW) + b'\n\n{"id": "q2", \n',
        ": line 3: is not valid JSON: Expecting property name enclosed in double quotes "
        "at column 14; is it cut off?",
    ),
    (
        "line that is a list",
        "a.jsonl",
        b'["q1"]',
        ": line 1: a line must be an object, not a list",
    ),
    (
        "JSON lines named .json",
        "a.json",
        dump(ROW) + b"\n" + dump(ROW),
        ": is not valid JSON: Extra data at line 2 column 1; "
        "if each line is a question, name the file .jsonl",
    ),
    (
        "JSON bomb",
        "a.json",
        b"[" * 100_000,
        ": is not SQuAD data: its JSON is nested too deeply",
    ),
    (
        "JSON bomb in a line",
        "a.jsonl",
        b'{"a":' * 100_000,
        ": line 1: is not SQuAD data: its JSON is nested too deeply",
    ),
    (
        "NaN for a question",
        "a.json",
        dump(nested(question=float("nan"))),
        f": question 'q1' {AT}: 'question' must be a text, not the number nan",
    ),
    (
        "true for a title",
        "a.json",
        dump(nested(title=True)),
        f": question 'q1' {AT}: 'title' must be a text, not true",
    ),
    (
        "null for a context",
        "a.json",
        dump(nested(context=None)),
        f": question 'q1' {AT}: 'context' must be a text, not null",
    ),
    (
        "null for an answer's text",
        "a.json",
        dump(nested(answers=[{"text": None, "answer_start": 0}])),
        f": question 'q1' {AT}: 'text' must be a text, not null",
    ),
    (
        "NaN for an id",
        "a.json",
        dump(nested(id=float("nan"))),
        ": data[0].paragraphs[0].qas[0]: 'id' must be a text, not the number nan",
    ),
    (
        "text for is_impossible",
        "a.json",
        dump(nested(is_impossible="no")),
        f": question 'q1' {AT}: 'is_impossible' must be true or false, not the text 'no'",
    ),
    (
        "empty context",
        "a.json",
        dump(nested(context=" \n", answers=[])),
        f": question 'q1' {AT}: the context is empty",
    ),
    (
        "CSV without a column",
        "a.csv",
        b"id,context\n1,x\n",
        ": has no column 'question'; the columns are id, title, context, question, answers",
    ),
    (
        "CSV line too short",
        "a.csv",
        b"id,question,context\n1,Who?,Ada\n2,Who?\n",
        ": line 3: has not the 3 fields of the header",
    ),
    (
        "CSV line too long",
        "a.csv",
        b"id,question,context\n1,Who?,Ada,Mbeki\n",
        ": line 2: has not the 3 fields of the header",
    ),
    (
        "CSV quote left open",
        "a.csv",
        b'id,question,context\n1,Who?,"Ada\n',
        ": line 2: is not valid CSV: unexpected end of data",
    ),
    (
        "CSV with Python's own notation",
        "a.csv",
        b"question,context,answers\nWho?,Ada,\"{'text': ['Ada']}\"\n",
        ": line 2: column 'answers' is not valid JSON: Expecting property name enclosed in "
        "double quotes at column 2",
    ),
    (
        "CSV with a start in words",
        "a.csv",
        b"question,context,answer_text,answer_start\nWho?,Ada,Ada,zero\n",
        ": question 'question-0' (line 2): 'answer_start' must be a whole number, "
        "not the text 'zero'",
    ),
]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(path)
    assert str(caught.value) == f"{path}{sentence}"
    assert "\n" not in sentence
    findings = check(path)  # the same is found, not raised
    assert not findings.ok
    found = [problem.sentence for problem in findings.problems]
    assert sentence.removeprefix(": ").split("; correct it, or set")[0] in found


# name, file name, content, how to read it
READ: list[tuple[str, str, bytes, Callable[[Any], Any], Any]] = [
    ("BOM", "a.json", b"\xef\xbb\xbf" + dump(nested()), lambda e: e[0].answers[0].text, "1887"),
    (
        "BOM before a CSV header",
        "a.csv",
        b"\xef\xbb\xbfid,question,context\nq9,Who?,Ada\n",
        lambda e: e[0].id,
        "q9",
    ),
    (
        "CRLF inside a context",
        "a.json",
        dump(nested(context="One.\r\nTwo.", answers=[{"text": "Two", "answer_start": 6}])),
        lambda e: e[0].context[6:9],
        "Two",
    ),
    (
        "CRLF between lines",
        "a.jsonl",
        dump(ROW) + b"\r\n" + dump({**ROW, "id": "q2"}) + b"\r\n",
        lambda e: [example.id for example in e],
        ["q1", "q2"],
    ),
    (
        "line separators inside a line",
        "a.jsonl",
        json.dumps({**ROW, "context": "a\u2028b\x85c", "answers": []}, ensure_ascii=False).encode(),
        lambda e: e[0].context,
        "a\u2028b\x85c",
    ),
    (
        "CRLF around and inside CSV",
        "a.csv",
        b'question,context,answer_text,answer_start\r\nWho?,"By\r\nAda.",Ada,4\r\n',
        lambda e: (e[0].context, e[0].answers[0].start),
        ("By\r\nAda.", 4),
    ),
    (
        "context of 100,000 characters",
        "a.json",
        dump(nested(context="x " * 49_998 + "1887", answers=[{**ANSWER, "answer_start": 99_996}])),
        lambda e: (len(e[0].context), e[0].answers[0].end),
        (100_000, 100_000),
    ),
    (
        "200,000 characters in CSV",
        "a.csv",
        b"question,context\nWho?," + b"x" * 200_000 + b"\n",
        lambda e: len(e[0].context),
        200_000,
    ),
    (
        "surrogate pair as two escapes",
        "a.json",
        dump(nested(question="\U0001f642?")),
        lambda e: e[0].question,
        "\U0001f642?",
    ),
    (
        "one answer without a list",
        "a.json",
        dump(nested(answers=ANSWER)),
        lambda e: [answer.text for answer in e[0].answers],
        ["1887"],
    ),
    ("id missing", "a.json", dump(nested(id=...)), lambda e: e[0].id, "question-0"),
    ("id null", "a.json", dump(nested(id=None)), lambda e: e[0].id, "question-0"),
    ("id a number", "a.json", dump(nested(id=17)), lambda e: e[0].id, "17"),
    ("title null", "a.json", dump(nested(title=None)), lambda e: e[0].title, ""),
    ("answers missing", "a.json", dump(nested(answers=...)), lambda e: e[0].labelled, False),
    ("answers null", "a.json", dump(nested(answers=None)), lambda e: e[0].labelled, False),
    ("answers empty", "a.json", dump(nested(answers=[])), lambda e: e[0].labelled, True),
    ("empty question", "a.json", dump(nested(question="")), lambda e: e[0].question, ""),
    (
        "unknown keys",
        "a.json",
        dump({**nested(source="x"), "n": 1}),
        lambda e: e[0].answers[0].start,
        35,
    ),
]


@pytest.mark.parametrize(
    ("name", "content", "read", "expected"), [case[1:] for case in READ], ids=[c[0] for c in READ]
)
def test_loads_right(
    tmp_path: Path, name: str, content: bytes, read: Callable[[Any], Any], expected: object
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    corpus = load(path)
    assert read(corpus.examples) == expected
    for example in corpus:
        for answer in example.answers:
            assert example.context[answer.start : answer.end] == answer.text


def test_eval_file_without_answers(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    path.write_bytes(dump(nested(answers=...)))
    with pytest.raises(DataError) as caught:
        require_labels(load(path))
    assert str(caught.value) == (
        f"{path}: no question has an 'answers' key; figures need a file with answers "
        "(an empty list where a question has none)"
    )


def test_eval_file_that_lacks_some_answers(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    rows = [ROW, *({**ROW, "id": name, "answers": None} for name in ("q2", "q3"))]
    path.write_bytes(b"\n".join(map(dump, rows)))
    with pytest.raises(DataError, match="question 'q2' and 1 more have no 'answers' key;"):
        require_labels(load(path))


def test_label_may_be_is_impossible_alone(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    path.write_bytes(dump(nested(answers=..., is_impossible=True)))
    corpus = load(path)
    require_labels(corpus)
    assert corpus.examples[0].answers == ()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("missing.json", "missing.json: no such file"),
        ("folder", "folder: is a folder; name a file in it, or a split of it as in folder:train"),
        (
            "squad_v2",
            "squad_v2: no such file; if it is a dataset, name its split, "
            "as in squad_v2:train or squad_v2:train[:1000]",
        ),
        (
            "notes.txt",
            "notes.txt: give a file that ends in .json, .jsonl, .ndjson, .csv, .parquet",
        ),
        (
            "synthetic:dev",
            "synthetic:dev: give synthetic:train, synthetic:eval or synthetic:train:5000",
        ),
    ],
)
def test_source_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("notes.txt").write_text("x")
    for read in (load, check):
        with pytest.raises(DataError) as caught:
            read(source)
        assert str(caught.value) == sentence
