"""Targets: each takes any bytes, and raises AssertionError where a promise is broken.

The promises: a file is used, or refused with a SpanQAError of one line that names it; nothing else
is raised. A request is answered or refused, and no refusal is an error of the server.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from test_bad_files import READ, REFUSED, ROW, dump, nested

from spanqa import console
from spanqa.check import check
from spanqa.data import load
from spanqa.errors import DataError, RecipeError, SpanQAError
from spanqa.metrics import evaluate, evaluate_v1, read_na_probs, read_predictions
from spanqa.recipe import SHIPPED, Recipe
from spanqa.request import Refusal, read_job
from spanqa.settings import ServerSettings

Target = Callable[[bytes], None]
STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069]")
"""Characters that steer a terminal, or end a line."""
LONGEST = 2_000
"""Characters of the longest sentence that an error may be, the file's path left out."""
LIMITS = ServerSettings(max_texts=5, max_text_length=500, max_questions=5, max_reading=2_000)


@contextlib.contextmanager
def written(content: bytes, name: str) -> Iterator[Path]:
    """A file with a content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        yield path


def require_sentence(error: SpanQAError, path: Path) -> str:
    """The sentence of an error behind the path that it has to begin with."""
    said = str(error)
    assert said.startswith(str(path)), said
    sentence = said.removeprefix(str(path))
    assert sentence.isprintable(), repr(sentence)
    assert 5 < len(sentence) < LONGEST, sentence
    return sentence


def data(content: bytes, kind: str) -> None:
    """A file of questions: `load` in every way, and `check`, whose verdict it must share."""
    with written(content, f"a.{kind}") as path:
        fine = {way: _loads(path, way) for way in ("error", "drop", "realign", "keep")}
        findings = check(path)
        for problem in findings.problems:
            assert problem.sentence.isprintable(), repr(problem.sentence)
            assert len(problem.sentence) < LONGEST
        assert fine["error"] or not findings.ok, "load refuses what check finds nothing wrong with"
        assert fine["keep"] or not fine["error"], "only keep refuses it"
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            console.print_findings(findings)
        assert not STEERING.search(shown.getvalue().replace("\n", "")), repr(shown.getvalue())


def _loads(path: Path, way: Any) -> bool:
    try:
        corpus = load(path, misaligned=way)
    except DataError as error:
        require_sentence(error, path)
        return False
    assert len({example.id for example in corpus}) == len(corpus) > 0
    for example in corpus:
        "".join((example.id, example.title, example.question, example.context)).encode()
        for answer in example.answers if way != "keep" else ():
            assert example.context[answer.start : answer.end] == answer.text != ""
    return True


def recipe(content: bytes) -> None:
    """A recipe: made, written and read again, the same."""
    with written(content, "a.yaml") as path:
        try:
            found = Recipe.from_yaml(path)
        except RecipeError as error:
            require_sentence(error, path)
            return
        path.write_bytes(found.to_yaml().encode())
        assert Recipe.from_yaml(path) == found
        assert Recipe.from_dict(yaml.safe_load(found.to_yaml())) == found


def predictions(content: bytes) -> None:
    """A file of predictions, scored by both scripts."""
    with written(content, "a.json") as path:
        try:
            texts = read_predictions(path)
        except DataError as error:
            require_sentence(error, path)
            return
        for strict in (False, True):
            with contextlib.suppress(DataError):
                evaluate(_EXAMPLES, texts, strict=strict)
            with contextlib.suppress(DataError):
                evaluate_v1(_EXAMPLES, texts, strict=strict)


def na_probs(content: bytes) -> None:
    """A file of null scores, with right predictions."""
    with written(content, "a.json") as path:
        try:
            found = read_na_probs(path)
        except DataError as error:
            require_sentence(error, path)
            return
        texts = {example.id: example.answers[0].text for example in _EXAMPLES}
        for strict in (False, True):
            with contextlib.suppress(DataError):
                scores = evaluate(
                    _EXAMPLES, texts, na_probs=found, strict=strict, precision_recall=True
                )
                assert 0 <= scores.exact <= 100


def request(content: bytes) -> None:
    """The body of a request."""
    try:
        job = read_job(content, LIMITS)
    except Refusal as refusal:
        assert 400 <= refusal.status < 500, refusal
        assert refusal.sentence.isprintable(), repr(refusal.sentence)
        assert len(refusal.sentence) < LONGEST
        return
    assert 1 <= len(job.questions) <= LIMITS.max_questions
    assert 1 <= len(job.texts) <= LIMITS.max_texts
    assert job.characters <= LIMITS.max_reading
    "".join((*job.questions, *job.texts, *job.texts.values())).encode()


def _files(kind: str) -> list[bytes]:
    cases = [case[1:3] for case in READ] + [case[1:3] for case in REFUSED]
    return [content for name, content in cases if name.endswith(f".{kind}")]


def _parquet() -> list[bytes]:
    import pyarrow
    from pyarrow import parquet

    made = []
    for compression in ("snappy", "none"):
        sink = io.BytesIO()
        rows = [ROW | {"id": f"q{n}"} for n in range(3)]
        parquet.write_table(pyarrow.Table.from_pylist(rows), sink, compression=compression)
        made.append(sink.getvalue())
    for days in (1, 10**15 // 86_400):  # the other is a date that Python has none for
        sink = io.BytesIO()
        id = pyarrow.array([days * 86_400], pyarrow.timestamp("s"))
        table = pyarrow.table({"id": id, "question": ["?"], "context": ["a"]})
        parquet.write_table(table, sink, coerce_timestamps=None)
        made.append(sink.getvalue())
    return made


with written(dump(nested()), "a.json") as _path:
    _EXAMPLES = load(_path).examples

TARGETS: dict[str, Target] = {
    "json": lambda content: data(content, "json"),
    "jsonl": lambda content: data(content, "jsonl"),
    "csv": lambda content: data(content, "csv"),
    "parquet": lambda content: data(content, "parquet"),
    "recipe": recipe,
    "predictions": predictions,
    "na-probs": na_probs,
    "request": request,
}
SEEDS: dict[str, list[bytes]] = {
    "json": _files("json"),
    "jsonl": _files("jsonl"),
    "csv": _files("csv"),
    "parquet": _parquet(),
    "recipe": [path.read_bytes() for path in sorted(SHIPPED.glob("*.yaml"))],
    "predictions": [b'{"q1": "1887"}', b'{"q1": "", "q2": "in 1887"}', b"\xef\xbb\xbf{}"],
    "na-probs": [b'{"q1": 0.25}', b'{"q1": 1, "q2": -3.5e2}', b"{}"],
    "request": [
        b'{"question": "Who?", "context": "Ada Mbeki."}',
        b'{"question": ["Who?", "When?"], "context": ["Ada.", "In 1887."], "top_k": 3}',
        '{"question": "Où?", "context": {"é": "À Vík."}}'.encode(),
    ],
}
"""Valid examples of every target, and for data those that other tests know to be refused."""
DICTIONARY = (
    *("{", "}", "[", "]", ":", ",", '"', "null", "true", "NaN", "-Infinity", "1e999", "\\ud800"),
    *("\\u0000", "\r\n", "\u2028", "\ufeff", "\x1b[31m", "9" * 30, "-1", "&a", "*a", "<<: ", "!!"),
    *("data", "paragraphs", "qas", "answers", "answer_start", "is_impossible", "context", "id"),
)
"""What mutations put in."""
