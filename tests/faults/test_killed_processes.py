"""Processes of a group and workers of a comparison that are killed, and machines that meet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import bounded
import pytest
from launched import command, largest_difference, launch, small_recipe
from recipes import eight_steps
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from spanqa.cli import main
from spanqa.cluster import connected
from spanqa.recipe import Recipe
from spanqa.run import Run
from spanqa.workers import Job

pytest.importorskip("ray", reason="needs the ray extra")
psutil = pytest.importorskip("psutil")
pytestmark = pytest.mark.slow

ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def recipe(tiny_encoder_folder: Path) -> Recipe:
    return small_recipe(tiny_encoder_folder)


def test_a_killed_process_ends_the_job_and_it_goes_on(recipe: Recipe, tmp_path: Path) -> None:
    """With dropout, so that each process has to go on with its own random numbers."""
    dropping = replace(
        recipe,
        encoder=replace(recipe.encoder, hidden_dropout=0.1),
        training=replace(recipe.training, save_steps=2),
    )
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = launch(tmp_path / "whole", dropping)
    assert whole.code == 0, whole.said
    killed = launch(tmp_path / "killed", dropping, die_at=5)
    assert killed.code == 1
    assert "Signal 9 (SIGKILL)" in killed.said
    assert not (tmp_path / "killed" / "run" / "run.json").exists()

    written = tmp_path / "killed" / "run" / "checkpoints"
    files = (path for path in written.rglob("*") if path.is_file())
    theirs = {path.name for path in files if path.stat().st_mode & 0o022}
    assert theirs == {"rng_state_1.pth"}
    refused = launch(tmp_path / "killed", dropping, ("--standalone", "--nproc-per-node", "1"))
    assert "was written by 2 processes" in refused.said

    resumed = launch(tmp_path / "killed", dropping)
    assert resumed.code == 0, resumed.said
    assert "going on from checkpoint at step 4" in resumed.said
    assert largest_difference(tmp_path / "killed" / "run", tmp_path / "whole" / "run") == 0.0
    assert Run.load(tmp_path / "killed" / "run").metrics == Run.load(tmp_path / "whole/run").metrics


def test_two_machines_are_two_agents(recipe: Recipe, tmp_path: Path) -> None:
    # The meeting point is held by the test, as a free port could be taken before an agent binds it.
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    options = [
        *("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"),
        *("--rdzv-id", "spanqa", "--rdzv-endpoint", f"localhost:{store.port}"),
        *("--rdzv-conf", "is_host=false"),
    ]
    (tmp_path / "one").mkdir()
    one = launch(tmp_path / "one", recipe)
    assert one.code == 0, one.said
    words = command(tmp_path, recipe, options)
    with ThreadPoolExecutor(2) as pool:
        agents = list(pool.map(lambda words: bounded.run(words, env=ONE_THREAD), [words] * 2))
    assert [agent.returncode for agent in agents] == [0, 0], [agent.stderr for agent in agents]
    assert largest_difference(tmp_path / "run", tmp_path / "one" / "run") == 0.0
    ours, theirs = Run.load(tmp_path / "run"), Run.load(tmp_path / "one" / "run")
    assert ours.predictions == theirs.predictions


def test_ctrl_c_ends_a_comparison_and_its_workers(recipe: Recipe, tmp_path: Path) -> None:
    long = replace(recipe, heads=("crf", "softmax"), training=replace(recipe.training, epochs=500))
    words = _comparing(long, tmp_path)
    # In a session of its own, whose processes all get the signal, as a terminal would send it.
    with bounded.started(words, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        waiting = {"crf-seed7: epoch 1:", "softmax-seed7: epoch 1:"}
        for line in process.stderr:
            waiting = {begin for begin in waiting if not line.startswith(begin)}
            if not waiting:
                break
        begun = psutil.Process(process.pid).children(recursive=True)
        workers = [each for each in begun if _title(each).startswith("ray::_run_one")]
        assert len(workers) == 2
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate()
        _, left = psutil.wait_procs(begun, timeout=bounded.SECONDS)
    assert process.returncode == 130, said
    assert "interrupted; the same command goes on where it was" in said
    assert "Traceback" not in said
    assert not left
    assert not list((tmp_path / "out" / "runs").glob("*/run.json"))


def _comparing(recipe: Recipe, folder: Path) -> list[str]:
    """The command line of a comparison with two workers."""
    asked = folder / "asked.yaml"
    asked.write_text(recipe.to_yaml())
    words = [sys.executable, "-m", "spanqa.cli", "compare", str(asked)]
    return [*words, "--output", str(folder / "out"), "--workers", "2"]


def _title(process: Any) -> str:
    """What a process says of itself in the list of processes; nothing once it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture
def one_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ray on this machine, which the commands of a test share: starting it takes its time."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with connected(None, num_cpus=2):
        yield


def test_a_killed_worker_of_a_comparison_leaves_the_others_alone(
    one_cluster: None,
    tiny_encoder_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = _comparing(eight_steps(tiny_encoder_folder, ("softmax", "crf")), tmp_path)[3:]
    healthy, killed = (tmp_path / "out" / "runs" / f"{head}-seed7" for head in ("softmax", "crf"))
    with monkeypatch.context() as patch:
        patch.setattr("spanqa.workers._run_one", _dying("crf", 5))
        assert main(words) == 2
    said = capsys.readouterr().err
    assert "crf-seed7: failed: its process has ended (" in said
    assert said.endswith(
        "spanqa: 1 of 2 runs failed: crf-seed7; the same command tries them again and keeps the "
        "others\n"
    )
    assert not (killed / "run.json").exists()
    before = (healthy / "run.json").stat()
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "crf-seed7: going on from checkpoint at step 4 of 8" in said
    assert "softmax-seed7" not in said
    assert (killed / "run.json").exists()
    after = (healthy / "run.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def _dying(head: str, step: int) -> Callable[..., str]:
    """What a worker does, which is killed after a step of one head's training."""

    def run_one(job: Job, prepared: Any, lines: Any) -> str:
        from spanqa import training, workers

        step_end = training.Clock.on_step_end

        def on_step_end(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            step_end(self)
            if (job.head, state.global_step) == (head, step):
                os.kill(os.getpid(), signal.SIGKILL)

        training.Clock.on_step_end = on_step_end  # type: ignore[method-assign]
        return workers._run_one(job, prepared, lines)

    return run_one  # pickled as it is, as Ray's workers cannot import it
