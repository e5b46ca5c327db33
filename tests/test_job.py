"""A job's folder: whose it is, and what counts as finished."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spanqa.errors import DataError
from spanqa.job import Job, Output, Report, model_sha256
from spanqa.shards import Columns, Limits
from spanqa.storage import Place

JOB = Job(
    model="/models/a",
    backend="torch",
    batch_size=8,
    min_precision=None,
    top_k=1,
    shard_rows=10,
    columns=Columns(keep=("lang",)),
    limits=Limits(2_000, 1_000_000),
    model_sha256="aa",
    input="file:///in",
    input_sha256="bb",
    kind="jsonl",
    shards=3,
)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(Place.of(str(tmp_path / "out")), "jsonl")


def test_the_same_job_goes_on(output: Output) -> None:
    output.begin(JOB)
    output.begin(replace(JOB, model="/elsewhere/a", input="s3://b/in", spanqa="9.9"))
    assert list(output.finished()) == []
    report = Report(2, 8, 2, 1.5, "torch fp32")
    output.finish(report)
    assert list(output.finished()) == [report]
    assert output.report(2) == report
    assert output.report(1) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_sha256": "cc"}, "another model"),
        ({"input_sha256": "cc"}, "another input"),
        ({"top_k": 3}, "top_k 1, not 3"),
        ({"backend": "auto"}, "backend torch, not auto"),
        ({"batch_size": 4}, "batch_size 8, not 4"),
        ({"min_precision": 0.9}, "min_precision nothing, not 0.9"),
        ({"shard_rows": 20}, "shard_rows 10, not 20"),
        ({"limits": Limits(2_000, 10)}, "limits.text 1000000, not 10"),
        ({"columns": Columns()}, "columns.keep lang, not nothing"),
    ],
)
def test_other_settings_are_refused_in_one_sentence(
    output: Output, change: dict[str, Any], words: str
) -> None:
    output.begin(JOB)
    with pytest.raises(DataError) as caught:
        output.begin(replace(JOB, **change))
    assert str(caught.value).startswith(f"{output.place}: was begun with {words}")
    assert str(caught.value).endswith("give what it was begun with, or name another folder")


def test_a_folder_of_something_else_is_left_alone(output: Output) -> None:
    output.place.make_folder()
    (output.place / "thesis.txt").write(b"mine")
    with pytest.raises(DataError, match="holds other files; name an empty folder or a new one"):
        output.begin(JOB)
    assert [place.name for place in output.place.files()] == ["thesis.txt"]


def test_what_was_killed_at_its_first_write_begins_again(output: Output) -> None:
    output.place.make_folder()
    writing = (output.place / "job.json").writing()
    writing.__enter__().write(b"{")
    for name in (".lock", ".lock.json", ".lock.json.tmp"):
        (output.place / name).write(b"")
    output.begin(JOB)
    output.tidy(alone=True)
    assert [place.name for place in output.place.files() if "lock" not in place.name] == [
        "job.json"
    ]


def test_another_job_at_a_url_is_left_alone() -> None:
    place = Place.of("memory://job")
    ours, others = (Output(place.started(), "jsonl") for _ in range(2))
    with others.answers(1).writing() as file, suppress(KeyboardInterrupt):
        file.write(b"half")
        with suppress(KeyboardInterrupt), ours.answers(2).writing():
            ours.begin(JOB)
            ours.tried(2), others.tried(1)
            ours.tidy(alone=False)
            assert others.tried(1) == 2
            assert ours.tried(2) == 1
            raise KeyboardInterrupt
    assert others.answers(1).read() == b"half"
    place.remove_folder()


def test_damaged_files_are_named(output: Output) -> None:
    output.begin(JOB)
    output.done(1).write(b'{"shard": 1')
    with pytest.raises(DataError, match=r"done/000001\.json is damaged"):
        list(output.finished())
    (output.place / "job.json").write(b'{"model": "a"}')
    with pytest.raises(DataError, match=r"job\.json is damaged: 'backend' is missing"):
        output.begin(JOB)


def test_a_model_is_known_by_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    (tmp_path / "config.json").write_text("{}")
    found = [model_sha256(tmp_path)]
    for name in ("exports/model.onnx", "config.json"):
        (tmp_path / name).write_text("other")
        found.append(model_sha256(tmp_path))
    assert len(set(found)) == 3
    assert model_sha256(tmp_path) == found[-1]
