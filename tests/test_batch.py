"""Batch answering on a real Ray cluster of this machine: every row once, whatever is killed."""

from __future__ import annotations

import gzip
import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray is imported
pytest.importorskip("ray", reason="needs the ray extra")

import bounded
import dying
import ray
from conftest import CORPUS
from faults.child import answered_alone
from ray.cluster_utils import Cluster

from spanqa import batch
from spanqa.batch import Totals, answer_corpus
from spanqa.cli import main
from spanqa.errors import DataError, MissingExtraError, ModelError, SpanQAError
from spanqa.lock import locked
from spanqa.reader import Reader
from spanqa.settings import BatchSettings

SMALL = BatchSettings(shard_rows=5, workers=2)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A cluster whose first node has one core; the driver is connected to it."""
    quiet = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=quiet)
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.WARNING)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are answered in this process: for what does not depend on who answers them."""
    monkeypatch.setattr(batch, "_reports", answered_alone)


def corpus(path: Path, rows: int) -> Path:
    """Rows of which every tenth cannot be answered."""
    content = [
        {
            "id": f"q{n}",
            "question": "Who?" if n % 10 else None,
            "context": CORPUS[n // 3 % len(CORPUS)],
            "n": n,
        }
        for n in range(rows)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


def found(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All answers and all rejected rows, in the order of the files."""
    answered, rejected = (
        [
            json.loads(line)
            for path in sorted((folder / name).iterdir())
            for line in path.read_bytes().splitlines()
        ]
        for name in ("answers", "rejected")
    )
    return answered, rejected


def require_every_row_once(folder: Path, rows: int) -> None:
    answered, rejected = found(folder)
    assert [row["id"] for row in answered] == [f"q{n}" for n in range(rows) if n % 10]
    assert [row["id"] for row in rejected] == [f"q{n}" for n in range(rows) if not n % 10]
    assert not list(folder.rglob("*.unfinished"))


def test_every_row_is_answered_in_order_as_the_reader_does(
    nodes: Cluster, tiny_model_folder: Path, tmp_path: Path
) -> None:
    path = corpus(tmp_path / "a.jsonl", 23)
    said: list[Totals] = []
    settings = BatchSettings(shard_rows=5, workers=2, keep=("n",), top_k=2)
    totals = answer_corpus(
        str(tiny_model_folder), str(path), str(tmp_path / "out"), settings, say=said.append
    )
    assert totals == Totals(shards=5, done=5, answered=20, rejected=3)
    assert said[0] == Totals(5, 0, 0, 0) and said[-1] == totals
    assert [each.done for each in said] == [0, 1, 2, 3, 4, 5]
    require_every_row_once(tmp_path / "out", 23)
    answered, rejected = found(tmp_path / "out")
    reader = Reader.from_pretrained(tiny_model_folder)
    for row in answered:
        own = reader.answer("Who?", CORPUS[row["n"] // 3 % len(CORPUS)], top_k=2)
        assert [answer["text"] for answer in row["answers"]] == [answer.text for answer in own]
        chances = [answer["probability"] for answer in row["answers"]]
        assert chances == pytest.approx([answer.probability for answer in own], rel=1e-3)
    assert {row["reason"] for row in rejected} == {"'question' must be a text, not null"}
    # Again: nothing is left to do, and nothing is touched.
    before = {
        p: (p.stat().st_ino, p.stat().st_mtime_ns)
        for p in (tmp_path / "out").rglob("*")
        if p.name != "tries"
    }
    again = answer_corpus(str(tiny_model_folder), str(path), str(tmp_path / "out"), settings)
    assert again == totals
    assert before == {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in before}


def test_other_settings_are_refused(
    without_ray: None, tiny_model_folder: Path, tmp_path: Path
) -> None:
    path, out = corpus(tmp_path / "a.jsonl", 3), str(tmp_path / "out")
    answer_corpus(str(tiny_model_folder), str(path), out, SMALL)
    with pytest.raises(DataError, match=r"out: was begun with top_k 1, not 2; give what"):
        answer_corpus(str(tiny_model_folder), str(path), out, BatchSettings(shard_rows=5, top_k=2))
    corpus(path, 4)
    with pytest.raises(DataError, match=r"out: was begun with another input; give what"):
        answer_corpus(str(tiny_model_folder), str(path), out, SMALL)


def test_urls_and_compressed_files(
    without_ray: None, tiny_model_folder: Path, tmp_path: Path
) -> None:
    path = corpus(tmp_path / "a.jsonl", 12)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    answer_corpus(
        str(tiny_model_folder), f"file://{tmp_path}/in/*.gz", f"file://{tmp_path}/out", SMALL
    )
    require_every_row_once(tmp_path / "out", 12)
    assert {row["file"] for row in found(tmp_path / "out")[0]} == {"a.jsonl.gz"}


@pytest.mark.cluster
def test_a_killed_node_loses_no_row(
    nodes: Cluster, tiny_model_folder: Path, tmp_path: Path
) -> None:
    rows = 100
    second = nodes.add_node(num_cpus=1)
    path = corpus(tmp_path / "a.jsonl", rows)

    def kill(totals: Totals) -> None:
        if totals.done == 4 and second in nodes.list_all_nodes():
            nodes.remove_node(second, allow_graceful=False)

    totals = answer_corpus(
        str(tiny_model_folder), str(path), str(tmp_path / "out"), SMALL, say=kill
    )
    assert totals == Totals(20, 20, rows - rows // 10, rows // 10)
    assert second not in nodes.list_all_nodes()
    require_every_row_once(tmp_path / "out", rows)


@pytest.mark.cluster
def test_a_job_that_was_killed_goes_on(
    nodes: Cluster, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = 200
    corpus(tmp_path / "a.jsonl", rows)
    out = tmp_path / "out"
    words = ["batch", str(tiny_model_folder), str(tmp_path / "a.jsonl"), str(out)]
    words += ["--shard-rows", "5", "--workers", "1"]
    killed = bounded.run(dying.driver(2, words))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = [path.name.split(".")[0] for path in sorted((out / "done").iterdir())]
    assert 2 <= len(done) < 40
    before = {n: (out / "answers" / f"{n}.jsonl").stat() for n in done}
    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.out.endswith(f"{out}\n")  # Ray says there what became of the node before
    assert "40 of 40 shards: 180 rows answered, 20 rejected\nspanqa: 20 rows" in shown.err
    require_every_row_once(out, rows)
    for n, stat in before.items():
        now = (out / "answers" / f"{n}.jsonl").stat()
        assert (now.st_ino, now.st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)


def test_what_stops_a_worker_is_one_sentence(
    nodes: Cluster, tiny_model_folder: Path, tmp_path: Path
) -> None:
    path, out = corpus(tmp_path / "a.jsonl", 12), tmp_path / "out"

    def break_it(totals: Totals) -> None:
        (out / "answers").rmdir()

    with pytest.raises(DataError, match=r"answers/00000.\.jsonl: "):
        answer_corpus(str(tiny_model_folder), str(path), str(out), SMALL, say=break_it)


@pytest.mark.parametrize(
    ("source", "output", "kind", "sentence"),
    [
        ("none.jsonl", "out", DataError, r"none\.jsonl: there is no file there"),
        (".", "out", DataError, r"out: lies in the input; name a folder outside of "),
    ],
)
def test_what_cannot_be_begun(
    tiny_model_folder: Path,
    tmp_path: Path,
    source: str,
    output: str,
    kind: type[SpanQAError],
    sentence: str,
) -> None:
    corpus(tmp_path / "a.jsonl", 2)
    with pytest.raises(kind, match=sentence):
        answer_corpus(str(tiny_model_folder), str(tmp_path / source), str(tmp_path / output))


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.jsonl", 2)
    with pytest.raises(ModelError, match="no-such-model"):
        answer_corpus(str(tmp_path / "no-such-model"), str(path), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_shards_go_several_to_a_portion(
    nodes: Cluster, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "BLOCKS", 2)
    path, out = corpus(tmp_path / "a.jsonl", 23), tmp_path / "out"
    totals = answer_corpus(str(tiny_model_folder), str(path), str(out), SMALL)
    assert totals == Totals(shards=5, done=5, answered=20, rejected=3)
    require_every_row_once(out, 23)


def test_a_second_job_is_refused(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = corpus(tmp_path / "a.jsonl", 2), tmp_path / "out"
    with locked(out):
        assert main(["batch", str(tiny_model_folder), str(path), str(out)]) == 2
        said = capsys.readouterr().err
        assert f"spanqa: {out}: process {os.getpid()} on " in said
        assert said.endswith(
            "is working on it; wait until that has ended, or name another folder\n"
        )
        assert sorted(path.name for path in out.iterdir()) == [".lock", ".lock.json"]


def test_a_pattern_does_not_find_its_own_answers(
    without_ray: None, tiny_model_folder: Path, tmp_path: Path
) -> None:
    corpus(tmp_path / "a.jsonl", 12)
    words = (str(tiny_model_folder), f"{tmp_path}/**/*.jsonl", str(tmp_path / "out"), SMALL)
    first = answer_corpus(*words)
    assert answer_corpus(*words) == first
    require_every_row_once(tmp_path / "out", 12)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("spanqa.cluster.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'spanqa\[ray\]'"):
        answer_corpus("default", str(tmp_path), str(tmp_path / "out"))
