"""Processes of a group and workers of a comparison that are killed, and machines that meet."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from launched import command, largest_difference, launch, small_recipe

from spanqa.recipe import Recipe
from spanqa.run import Run

pytestmark = pytest.mark.slow


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
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    options = [
        *("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"),
        *("--rdzv-id", "spanqa", "--rdzv-endpoint", f"localhost:{port}"),
    ]
    (tmp_path / "one").mkdir()
    one = launch(tmp_path / "one", recipe)
    assert one.code == 0, one.said
    agents = [
        subprocess.Popen(
            command(tmp_path, recipe, options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]
    said = [agent.communicate()[1] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    assert largest_difference(tmp_path / "run", tmp_path / "one" / "run") == 0.0
    ours, theirs = Run.load(tmp_path / "run"), Run.load(tmp_path / "one" / "run")
    assert ours.predictions == theirs.predictions


def test_ctrl_c_ends_a_comparison_and_its_workers(recipe: Recipe, tmp_path: Path) -> None:
    asked = tmp_path / "asked.yaml"
    long = replace(recipe, training=replace(recipe.training, epochs=500))
    asked.write_text(long.to_yaml())
    # In a session of its own, whose processes all get the signal, as a terminal would send it.
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "spanqa.cli", "compare", str(asked)),
            *("--output", str(tmp_path / "out"), "--workers", "2"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "epoch 1:" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert "interrupted; the same command goes on where it was" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "out" / "runs").glob("*/run.json"))
