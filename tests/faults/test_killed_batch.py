"""Batch answering that is killed: every row is answered once, and to the same bits."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray is imported
pytest.importorskip("ray", reason="needs the ray extra")
pytest.importorskip("spanqa.batch")

import bounded
from conftest import CORPUS

from faults.commands import Commands, Ended
from faults.kills import FIRST_FILE, SAME_COMMAND, kill_before_first_file, kill_in_time
from spanqa.folders import sha256

ray, dying = import_module("ray"), import_module("dying")

ROWS, SHARD_ROWS = 120, 5
SHARDS = ROWS // SHARD_ROWS
FAULT = "kill -9 at a random moment of batch answering, "
ALONE, ON_RAY = FAULT + "shard by shard", FAULT + "command or worker on a Ray cluster"
OUTCOME = "goes on, every row answered once, same bits"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of which every tenth cannot be answered."""
    path = tmp_path_factory.mktemp("corpus") / "a.jsonl"
    rows = (
        {
            "id": f"q{n}",
            "question": "Who?" if n % 10 else None,
            "context": CORPUS[n % len(CORPUS)],
        }
        for n in range(ROWS)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def batch(tiny_model_folder: Path, corpus: Path) -> list[str]:
    """The words of a batch, but for the folder and how it is run."""
    return ["batch", str(tiny_model_folder), str(corpus)]


@pytest.fixture(scope="module")
def undisturbed(
    commands: Commands, batch: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tuple[str, ...], float]:
    """The folder of a batch that nothing happened to, its events, and its seconds.

    It is the second one: the first one is slower.
    """
    first, folder = (tmp_path_factory.mktemp("undisturbed") / "out" for _ in range(2))
    _alone(commands, batch, first)
    ended = _alone(commands, batch, folder)
    assert ended.status == 0, ended.said
    assert answers(folder) == answers(first)
    return folder, ended.names, ended.seconds


def _alone(commands: Commands, batch: list[str], folder: Path, **fault: Any) -> Ended:
    """A batch whose shards are answered in the process itself, without Ray in between."""
    size = ("--shard-rows", SHARD_ROWS)
    return commands.run(*batch, folder, *size, root=folder, alone=True, **fault)


def answers(folder: Path) -> dict[str, Any]:
    """All that a finished batch holds, by name: hashes; the reports of shards without seconds."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        assert not name.endswith(".unfinished")
        if path.parent.name == "done":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k != "seconds"}
        else:
            found[name] = sha256(path)
    return found


@pytest.mark.fault(ALONE, OUTCOME)
@pytest.mark.parametrize("trial", range(14))
def test_a_worker_that_is_killed(
    trial: int,
    commands: Commands,
    batch: list[str],
    undisturbed: tuple[Path, tuple[str, ...], float],
    tmp_path: Path,
) -> None:
    """Ten before a random change of the disk, four at a random time."""
    reference, names, seconds = undisturbed
    chance = random.Random(trial)
    if trial < 10:
        at = 1 + int((trial + chance.random()) / 10 * len(names))
        killed = _alone(commands, batch, tmp_path / "out", fault="kill", at=at)
    else:
        killed = kill_in_time(
            lambda after: _alone(commands, batch, tmp_path / "out", seconds=after),
            tmp_path / "out",
            chance.uniform(0.2, 0.9) * seconds,
        )
    assert killed.status == -signal.SIGKILL, killed.said
    before = _finished(tmp_path / "out")
    ended = _alone(commands, batch, tmp_path / "out")
    assert ended.status == 0, ended.said
    assert answers(tmp_path / "out") == answers(reference)
    assert before.items() <= _finished(tmp_path / "out").items()


@pytest.mark.fault(FIRST_FILE, SAME_COMMAND)
def test_before_its_first_file_is_in_place(
    commands: Commands,
    batch: list[str],
    undisturbed: tuple[Path, tuple[str, ...], float],
    tmp_path: Path,
) -> None:
    words = [batch[0], "--shard-rows", SHARD_ROWS, *batch[1:]]
    kill_before_first_file(commands, words, tmp_path / "out", "job.json", alone=True)
    assert answers(tmp_path / "out") == answers(undisturbed[0])


def _finished(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of the answers of finished shards, which are not answered again."""
    done = sorted(path.stem for path in (folder / "done").glob("*.json"))
    stats = {name: (folder / "answers" / f"{name}.jsonl").stat() for name in done}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster of one node with two cores; this process is connected to it."""
    node = {"num_cpus": 2, "include_dashboard": False}
    started = import_module("ray.cluster_utils").Cluster(initialize_head=True, head_node_args=node)
    ray.init(started.address, log_to_driver=False, logging_level=logging.WARNING)
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.mark.fault(ON_RAY, OUTCOME)
@pytest.mark.parametrize("trial", range(3))
def test_a_driver_that_is_killed(
    trial: int,
    cluster: Any,
    batch: list[str],
    undisturbed: tuple[Path, tuple[str, ...], float],
    tmp_path: Path,
) -> None:
    words = [*batch, str(tmp_path / "out"), "--shard-rows", str(SHARD_ROWS), "--workers", "1"]
    words += ["--address", cluster.address]
    last = random.Random(trial).randrange(SHARDS // 2)
    killed = bounded.run(dying.driver(last, words))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = bounded.run([sys.executable, "-m", "spanqa.cli", *words])
    assert again.returncode == 0, again.stderr
    assert answers(tmp_path / "out") == answers(undisturbed[0])


@pytest.mark.fault(ON_RAY, OUTCOME)
@pytest.mark.parametrize(("trial", "written"), [(0, "tries"), (1, "answers"), (2, "done")])
def test_a_worker_of_ray_that_is_killed(
    trial: int,
    written: str,
    cluster: Any,
    batch: list[str],
    undisturbed: tuple[Path, tuple[str, ...], float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray starts another one, and the job goes on by itself."""
    module, settings = import_module("spanqa.batch"), import_module("spanqa.settings")
    shard, died = random.Random(trial).randrange(SHARDS), tmp_path / "died"
    monkeypatch.setattr(module, "Worker", dying.dying_worker(shard, written, died))
    totals = module.answer_corpus(
        batch[1],
        batch[2],
        str(tmp_path / "out"),
        settings.BatchSettings(shard_rows=SHARD_ROWS, workers=1),
    )
    assert died.exists()
    assert (totals.done, totals.answered, totals.rejected) == (SHARDS, ROWS * 9 // 10, ROWS // 10)
    assert answers(tmp_path / "out") == answers(undisturbed[0])
