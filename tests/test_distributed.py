"""Training by two processes that torchrun started: the batches, weights and figures of one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from spanqa.comparison import train_one
from spanqa.preparation import prepare
from spanqa.recipe import (
    DataRecipe,
    DecodingRecipe,
    EncoderRecipe,
    Recipe,
    TrainingRecipe,
    WindowRecipe,
)
from spanqa.run import Run

PROCESS = """
import json, os, signal, sys
from pathlib import Path
from spanqa import training
from spanqa.cli import main

rank, notes, die_at = os.environ.get("RANK", "0"), Path(sys.argv[1]), int(sys.argv[2])
if rank != "0":
    os.umask(0)  # shows in its files who wrote them
collate = training.Rows.collate
def noted(self, rows):
    with (notes / f"rows-{rank}.jsonl").open("a") as file:
        file.write(json.dumps(list(rows)) + "\\n")
    return collate(self, rows)
training.Rows.collate = noted
step_end = training.Clock.on_step_end
def on_step_end(self, args, state, control, **kwargs):
    step_end(self)
    if rank == "1" and state.global_step == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
training.Clock.on_step_end = on_step_end
sys.exit(main(sys.argv[3:]))
"""
"""`spanqa`, with notes of the rows that a process takes; the second one may kill itself."""
TOGETHER = ("--standalone", "--nproc-per-node", "2")


@dataclass(frozen=True)
class Launched:
    """What was left of a command that a launcher ran."""

    folder: Path
    code: int
    said: str

    def batches(self, rank: int) -> list[list[int]]:
        """Rows of each batch that a process took."""
        lines = (self.folder / f"rows-{rank}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def launch(
    folder: Path, recipe: Recipe, options: Sequence[str] = TOGETHER, *, die_at: int = -1
) -> Launched:
    """Run `spanqa train` of a recipe into `folder / "run"` under torchrun."""
    done = subprocess.run(
        command(folder, recipe, options, die_at=die_at),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return Launched(folder, done.returncode, done.stderr)


def command(folder: Path, recipe: Recipe, options: Sequence[str], *, die_at: int = -1) -> list[str]:
    """The command line that `launch` runs."""
    script, asked = folder / "process.py", folder / "asked.yaml"
    script.write_text(PROCESS)
    asked.write_text(recipe.to_yaml())
    return [
        *(sys.executable, "-m", "torch.distributed.run", *options),
        *(str(script), str(folder), str(die_at)),
        *("train", str(asked), "--head", recipe.heads[0], "--seed", str(recipe.seeds[0])),
        *("--output", str(folder / "run")),
    ]


@pytest.fixture(scope="module")
def recipe(tiny_encoder_folder: Path) -> Recipe:
    """Two epochs of batches of 4 per process; the last one leaves the second process nothing."""
    return Recipe(
        name="tiny",
        heads=("crf",),
        seeds=(7,),
        data=DataRecipe(
            train="synthetic:train:40", eval="synthetic:eval:21", calibration_fraction=0.2
        ),
        windows=WindowRecipe(max_length=448, stride=16, max_question_length=32),
        encoder=EncoderRecipe(
            name=str(tiny_encoder_folder), hidden_dropout=0.0, attention_dropout=0.0
        ),
        training=TrainingRecipe(epochs=2, batch_size=4, learning_rate=1e-2, logging_steps=1),
        decoding=DecodingRecipe(batch_size=8),  # three batches
    )


@pytest.fixture(scope="module")
def pair(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """A run of two processes."""
    return launch(tmp_path_factory.mktemp("pair"), recipe)


@pytest.fixture(scope="module")
def alone(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one process, with batches of twice the size."""
    folder = tmp_path_factory.mktemp("alone")
    training = replace(recipe.training, batch_size=2 * recipe.training.batch_size)
    rows = folder / "rows.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spanqa.training.Rows.collate", _noting(rows))
        train_one(
            replace(recipe, training=training), "crf", 7, folder / "run", say=lambda line: None
        )
    return folder


def _noting(path: Path) -> object:
    from spanqa.training import Rows

    collate = Rows.collate

    def noted(self: Rows, rows: Sequence[int]) -> object:
        with path.open("a") as file:
            file.write(json.dumps(list(rows)) + "\n")
        return collate(self, rows)

    return noted


def test_two_processes_take_the_batches_of_one(recipe: Recipe, pair: Launched, alone: Path) -> None:
    assert pair.code == 0, pair.said
    whole = [json.loads(line) for line in (alone / "rows.jsonl").read_text().splitlines()]
    shares = list(zip(pair.batches(0), pair.batches(1), strict=True))
    together = [[row for row in first + second if row >= 0] for first, second in shares]
    assert together == whole
    windows = len(prepare(recipe, say=lambda line: None).train)
    assert sorted(row for batch in together for row in batch) == sorted([*range(windows)] * 2)
    assert windows % 8 == 1
    assert shares[-1][1] == [-1] * 4  # nothing was left for the second process


def test_two_processes_end_where_one_does(pair: Launched, alone: Path) -> None:
    ours, theirs = Run.load(pair.folder / "run"), Run.load(alone / "run")
    assert ours.predictions == theirs.predictions
    for name, value in theirs.metrics.items():  # all but thresholds are counts of questions
        noise = 1e-4 if name.endswith("thresh") else 0.0
        assert ours.metrics[name] == pytest.approx(value, abs=noise, rel=0.0), name
    assert ours.calibration.null_threshold == pytest.approx(
        theirs.calibration.null_threshold, abs=1e-3
    )
    for point, other in zip(ours.losses, theirs.losses, strict=True):
        assert point.step == other.step
        assert point.loss == pytest.approx(other.loss, rel=1e-4)
        assert point.grad_norm == pytest.approx(other.grad_norm, rel=1e-3)
    assert ours.environment["processes"] == 2
    assert theirs.environment["processes"] == 1
    assert _largest_difference(pair.folder / "run", alone / "run") < 1e-3


def _largest_difference(one: Path, other: Path) -> float:
    """Over all weights of two runs."""
    ours, theirs = (load_file(run / "model" / "model.safetensors") for run in (one, other))
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)


def test_every_question_is_scored_once_as_one_process_scores_it(
    recipe: Recipe, pair: Launched
) -> None:
    from spanqa.reader import Reader

    run, reader = Run.load(pair.folder / "run"), Reader.from_pretrained(pair.folder / "run/model")
    windows = prepare(recipe, say=lambda line: None).eval
    expected = reader.decode(windows, n_best=1, batch_size=recipe.decoding.batch_size)
    assert list(run.null_odds) == [example.id for example in windows.examples]
    assert list(run.null_odds.values()) == [prediction.null_odds for prediction in expected]


def test_only_the_first_process_writes(pair: Launched) -> None:
    written = [path for path in (pair.folder / "run").rglob("*") if path.is_file()]
    assert {"run.json", "predictions.json", "model.safetensors"} <= {p.name for p in written}
    assert [path for path in written if path.stat().st_mode & 0o022] == []
    assert pair.said.count("evaluation: exact") == 1


@pytest.mark.slow
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
    assert _largest_difference(tmp_path / "killed" / "run", tmp_path / "whole" / "run") == 0.0
    assert Run.load(tmp_path / "killed" / "run").metrics == Run.load(tmp_path / "whole/run").metrics


@pytest.mark.slow
def test_two_machines_are_two_agents(recipe: Recipe, pair: Launched, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    options = [
        *("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"),
        *("--rdzv-id", "spanqa", "--rdzv-endpoint", f"localhost:{port}"),
    ]
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
    assert _largest_difference(tmp_path / "run", pair.folder / "run") == 0.0
    assert Run.load(tmp_path / "run").predictions == Run.load(pair.folder / "run").predictions
