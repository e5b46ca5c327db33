"""A worker: every row answered or rejected, in order, and a model's error stays with its row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from conftest import CORPUS
from fakes import random_reader
from transformers import PreTrainedTokenizerFast

from spanqa import worker
from spanqa.answer import Answer
from spanqa.asked import Asked, Rejected
from spanqa.errors import DataError, ModelError
from spanqa.job import Job, Output, model_sha256
from spanqa.reader import Reader, Texts
from spanqa.shards import Columns, Corpus, Limits, corpus_of
from spanqa.storage import Place
from spanqa.worker import Worker, answer_shard, groups, outcomes

QUESTION = "Who founded the observatory?"


class Failing(Reader):
    """Fails at questions that say so."""

    stopped = False

    def stream(
        self, asked: Iterable[tuple[str, Texts]], *, top_k: int = 1
    ) -> Iterator[tuple[Answer, ...]]:
        group = list(asked)
        if self.stopped or any("fail" in question for question, _ in group):
            raise RuntimeError("told  to\nfail")
        return super().stream(group, top_k=top_k)

    def answer(self, question: Any, context: Texts, *, top_k: int = 1) -> Any:
        if self.stopped or "fail" in question:
            raise RuntimeError("told  to\nfail")
        return super().answer(question, context, top_k=top_k)


@pytest.fixture
def reader(tiny_tokenizer: PreTrainedTokenizerFast) -> Failing:
    plain = random_reader(tiny_tokenizer)
    return Failing(plain.backend, plain.tokenizer, plain.config)


def job_over(path: Path, size: int = 100, **settings: Any) -> tuple[Job, Corpus, Output]:
    columns = Columns(keep=settings.pop("keep", ()))
    limits = Limits(1_000, 100_000)
    corpus = corpus_of(str(path), columns, limits, size)
    defaults: dict[str, Any] = {"backend": "torch", "batch_size": 8, "min_precision": None}
    job = Job(
        "m",
        top_k=settings.pop("top_k", 1),
        shard_rows=size,
        columns=columns,
        limits=limits,
        kind=corpus.kind,
        **defaults,
    )
    output = Output(Place.of(str(path.parent / "out")), corpus.kind)
    output.begin(job)
    return job, corpus, output


def write(path: Path, questions: Iterable[str]) -> Path:
    rows = [
        {"id": f"q{n}", "question": question, "context": CORPUS[n // 2 % 6], "n": n}
        for n, question in enumerate(questions)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(place: Place) -> list[dict[str, Any]]:
    return [json.loads(line) for line in place.read().splitlines()]


def test_a_shard_is_answered_in_order_as_the_reader_does(reader: Failing, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [QUESTION, "", QUESTION, "Where?"])
    job, corpus, output = job_over(path, keep=("n",), top_k=3)
    report = answer_shard(reader, job, corpus.shards[0], output)
    assert (report.answered, report.rejected, report.backend) == (3, 1, "random")
    found = lines(output.answers(0))
    assert [(row["id"], row["file"], row["row"], row["n"]) for row in found] == [
        ("q0", "a.jsonl", 1, 0),
        ("q2", "a.jsonl", 3, 2),
        ("q3", "a.jsonl", 4, 3),
    ]
    expected = reader.answer(QUESTION, CORPUS[0], top_k=3)
    for answer, own in zip(found[0]["answers"], expected, strict=True):
        assert answer == {
            "text": own.text,
            "start": own.start,
            "end": own.end,
            "probability": pytest.approx(own.probability),
            "null_probability": pytest.approx(own.null_probability),
            "window": list(own.window),
        }
    assert lines(output.rejected(0)) == [
        {"file": "a.jsonl", "row": 2, "id": "q1", "reason": "'question' is empty"}
    ]


def test_a_finished_shard_is_not_answered_again(reader: Failing, tmp_path: Path) -> None:
    job, corpus, output = job_over(write(tmp_path / "a.jsonl", [QUESTION]))
    first = answer_shard(reader, job, corpus.shards[0], output)
    reader.stopped = True
    assert answer_shard(reader, job, corpus.shards[0], output) == first


def test_a_models_error_stays_with_its_row(reader: Failing, tmp_path: Path) -> None:
    job, corpus, output = job_over(write(tmp_path / "a.jsonl", [QUESTION, "fail", QUESTION]))
    report = answer_shard(reader, job, corpus.shards[0], output)
    assert (report.answered, report.rejected) == (2, 1)
    assert [row["id"] for row in lines(output.answers(0))] == ["q0", "q2"]
    assert lines(output.rejected(0)) == [
        {
            "file": "a.jsonl",
            "row": 2,
            "id": "q1",
            "reason": "the model failed (RuntimeError: told to fail)",
        }
    ]


def test_a_model_that_answers_nothing_stops_the_job(reader: Failing, tmp_path: Path) -> None:
    job, corpus, output = job_over(write(tmp_path / "a.jsonl", [QUESTION, QUESTION]))
    reader.stopped = True
    with pytest.raises(ModelError, match="the model: answers nothing any more"):
        answer_shard(reader, job, corpus.shards[0], output)
    assert output.report(0) is None and not output.answers(0).exists()


def test_rows_that_end_their_worker_do_not_go_on_for_ever(reader: Failing, tmp_path: Path) -> None:
    job, corpus, output = job_over(write(tmp_path / "a.jsonl", [QUESTION, QUESTION]))
    for number in range(1, worker.TRIES + 1):
        assert output.tried(0) == number
    with pytest.raises(DataError, match=r"a\.jsonl: rows 1 to 2 ended their worker 5 times"):
        answer_shard(reader, job, corpus.shards[0], output)
    output.tidy(alone=True)
    assert answer_shard(reader, job, corpus.shards[0], output).answered == 2


def test_rows_that_an_earlier_try_rejected_are_answered_once(
    reader: Failing, tmp_path: Path
) -> None:
    job, corpus, output = job_over(write(tmp_path / "a.jsonl", [QUESTION, QUESTION]))
    (output.place / "rejected").make_folder()
    output.rejected(0).write(b'{"row": 1}\n')  # and it died before it said that it was done
    assert answer_shard(reader, job, corpus.shards[0], output).rejected == 0
    assert not output.rejected(0).exists()
    assert len(lines(output.answers(0))) == 2


def test_a_worker_of_a_killed_job_does_no_harm(reader: Failing, tmp_path: Path) -> None:
    job, corpus, _ = job_over(write(tmp_path / "a.jsonl", [QUESTION, QUESTION]))
    dead, alive = (Output(Place.of(str(tmp_path / "out")).started(), "jsonl") for _ in range(2))
    orphan = dead.answers(0).writing()
    orphan.__enter__().write(b"half")
    for _ in range(worker.TRIES):
        dead.tried(0)
    alive.begin(job)
    alive.tidy(alone=True)
    assert not [place for place in alive.place.files() if place.is_unfinished]
    assert alive.tried(0) == 1
    dead.tried(0)
    report = answer_shard(reader, job, corpus.shards[0], alive)
    with pytest.raises(DataError, match=r"answers/000000\.jsonl: no such file"):
        orphan.__exit__(None, None, None)
    assert answer_shard(reader, job, corpus.shards[0], dead) == report
    alive.tidy(alone=True)
    assert sorted(place.name for place in alive.place.files()) == [
        "000000.json", "000000.jsonl", "job.json"
    ]  # fmt: skip


def test_groups_are_bounded_by_rows_and_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanqa.reader.LOOK_AHEAD", 3)
    monkeypatch.setattr("spanqa.reader.LOOK_AHEAD_CHARACTERS", 10)
    rows: list[Asked | Rejected] = [Rejected(1, "", "bad")]
    rows += [Asked(n, "", "?", "x" * size, {}) for n, size in enumerate((1, 1, 9, 1, 30, 2), 2)]
    sizes = [[row.row for row in group] for group in groups(iter(rows))]
    assert sizes == [[1, 2, 3], [4, 5], [6], [7]]
    assert list(groups([])) == []


def test_rows_are_taken_as_they_are_answered(
    reader: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanqa.reader.LOOK_AHEAD", 2)
    taken = []

    def rows() -> Iterator[Asked]:
        for n in range(6):
            taken.append(n)
            yield Asked(n, str(n), QUESTION, CORPUS[n], {})

    found = outcomes(reader, rows(), 1)
    next(found)
    assert taken == [0, 1]
    assert [row.row for row, _ in found] == [1, 2, 3, 4, 5]


def test_parquet_in_parquet_out(
    reader: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ROW_GROUP", 2)
    table = pyarrow.table(
        {
            "id": pyarrow.array([10, 11, None, 13], pyarrow.int16()),
            "question": [QUESTION, None, QUESTION, QUESTION],
            "context": pyarrow.array(CORPUS[:4]).dictionary_encode(),
            "when": pyarrow.array([1, 2, None, 4], pyarrow.timestamp("us", "UTC")),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    job, corpus, output = job_over(tmp_path / "a.parquet", keep=("when",), top_k=2)
    answer_shard(reader, job, corpus.shards[0], output)
    found = pyarrow.parquet.read_table(tmp_path / "out" / "answers" / "000000.parquet")
    assert found.schema.field("when").type == table.schema.field("when").type
    assert found["id"].to_pylist() == ["10", "a.parquet:3", "13"]
    assert found["row"].to_pylist() == [1, 3, 4]
    assert found["when"].to_pylist() == [table["when"].to_pylist()[n] for n in (0, 2, 3)]
    expected = reader.answer(QUESTION, CORPUS[3], top_k=2)
    assert [a["text"] for a in found["answers"].to_pylist()[2]] == [a.text for a in expected]
    assert [row["row"] for row in lines(output.rejected(0))] == [2]


def test_what_is_kept_counts_where_memory_is_bounded(
    reader: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"a": "x" * 10, "b": ["y" * 5, {"c": "z" * 4}], "n": 1}
    assert Asked(1, "", "?", "text", kept).size == 4 + 11 + 1 + 5 + 1 + 4 + 1 + 8
    monkeypatch.setattr(worker, "ROW_GROUP_CHARACTERS", 2_000)
    table = pyarrow.table(
        {"question": [QUESTION] * 6, "context": CORPUS[:6], "beside": ["x" * 1_000] * 6}
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    job, corpus, output = job_over(tmp_path / "a.parquet", keep=("beside",))
    answer_shard(reader, job, corpus.shards[0], output)
    found = pyarrow.parquet.ParquetFile(tmp_path / "out" / "answers" / "000000.parquet")
    assert found.metadata.num_rows == 6
    assert found.metadata.num_row_groups >= 3


def test_no_row_of_parquet_can_be_answered(reader: Failing, tmp_path: Path) -> None:
    table = pyarrow.table({"question": ["", ""], "context": ["a", "b"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    job, corpus, output = job_over(tmp_path / "a.parquet")
    assert answer_shard(reader, job, corpus.shards[0], output).rejected == 2
    found = pyarrow.parquet.read_table(tmp_path / "out" / "answers" / "000000.parquet")
    assert len(found) == 0 and found.column_names == ["id", "file", "row", "answers"]


def test_answers_that_cannot_be_written_stop_the_job(reader: Failing, tmp_path: Path) -> None:
    job, corpus, output = job_over(write(tmp_path / "a.jsonl", [QUESTION]))
    (tmp_path / "out" / "answers").rmdir()
    with pytest.raises(DataError, match=r"answers/000000\.jsonl: "):
        answer_shard(reader, job, corpus.shards[0], output)
    assert output.report(0) is None


def test_a_worker_says_what_stops_it(tiny_model_folder: Path, tmp_path: Path) -> None:
    job, corpus, output = job_over(write(tmp_path / "a.jsonl", [QUESTION]))
    shard = asdict(corpus.shards[0])
    good = replace(job, model=str(tiny_model_folder), model_sha256=model_sha256(tiny_model_folder))
    other = replace(good, model_sha256="0" * 64)
    assert Worker(other, output)(shard) == {
        "error": f"{tiny_model_folder}: is not the same model on all machines",
        "report": "",
    }
    well = Worker(good, output)(shard)
    assert well["error"] == "" and json.loads(well["report"])["answered"] == 1
    (tmp_path / "a.jsonl").unlink()
    shard["number"] = 1
    gone = Worker(good, output)(shard)
    assert gone == {"error": f"{tmp_path}/a.jsonl: no such file", "report": ""}


def test_an_error_that_nobody_has_foreseen_is_a_sentence(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, corpus, output = job_over(write(tmp_path / "a.jsonl", [QUESTION]))
    job = replace(job, model=str(tiny_model_folder))

    def fail(*_: object) -> None:
        raise MemoryError("no\nmore")

    made = Worker(job, output)
    monkeypatch.setattr(worker, "answer_shard", fail)
    monkeypatch.setattr(worker, "load", fail)
    shard = asdict(corpus.shards[0])
    assert made(shard)["error"] == "a.jsonl, rows 1 to 1: MemoryError: no more"
    assert Worker(job, output)(shard)["error"] == f"{tiny_model_folder}: MemoryError: no more"
