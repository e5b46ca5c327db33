"""Commands under torchrun, with a tiny encoder, and what is left of them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bounded
import numpy as np
from safetensors.numpy import load_file

from spanqa.recipe import (
    DataRecipe,
    DecodingRecipe,
    EncoderRecipe,
    Recipe,
    TrainingRecipe,
    WindowRecipe,
)

PROCESS = """
import json, os, signal, sys
from pathlib import Path
from spanqa import batches, training
from spanqa.cli import main

rank, notes, die_at = os.environ.get("RANK", "0"), Path(sys.argv[1]), int(sys.argv[2])
if rank != "0":
    os.umask(0)  # shows in its files who wrote them
collate = batches.Rows.collate
def noted(self, rows):
    with (notes / f"rows-{rank}.jsonl").open("a") as file:
        file.write(json.dumps(list(rows)) + "\\n")
    return collate(self, rows)
batches.Rows.collate = noted
step_end = training.Clock.on_step_end
def on_step_end(self, args, state, control, **kwargs):
    step_end(self)
    if rank == "1" and state.global_step == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
training.Clock.on_step_end = on_step_end
sys.exit(main(sys.argv[3:]))
"""
"""`spanqa`, with notes of the rows that a process takes; the second one may kill itself."""
TORCHRUN = ("-m", "torch.distributed.run")
ACCELERATE = ("-m", "accelerate.commands.launch")
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
    folder: Path,
    recipe: Recipe,
    options: Sequence[str] = TOGETHER,
    *,
    launcher: Sequence[str] = TORCHRUN,
    die_at: int = -1,
) -> Launched:
    """Run `spanqa train` of a recipe into `folder / "run"` under torchrun, or another launcher."""
    done = bounded.run(
        command(folder, recipe, options, launcher=launcher, die_at=die_at),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return Launched(folder, done.returncode, done.stderr)


def command(
    folder: Path,
    recipe: Recipe,
    options: Sequence[str],
    *,
    launcher: Sequence[str] = TORCHRUN,
    die_at: int = -1,
) -> list[str]:
    """The command line that `launch` runs."""
    script, asked = folder / "process.py", folder / "asked.yaml"
    script.write_text(PROCESS)
    asked.write_text(recipe.to_yaml())
    return [
        *(sys.executable, *launcher, *options),
        *(str(script), str(folder), str(die_at)),
        *("train", str(asked), "--head", recipe.heads[0], "--seed", str(recipe.seeds[0])),
        *("--output", str(folder / "run")),
    ]


def small_recipe(encoder: Path) -> Recipe:
    """Two epochs of batches of 4 per process; the last one leaves the second process nothing."""
    return Recipe(
        name="tiny",
        heads=("crf",),
        seeds=(7,),
        data=DataRecipe(
            train="synthetic:train:40", eval="synthetic:eval:21", calibration_fraction=0.2
        ),
        windows=WindowRecipe(max_length=448, stride=16, max_question_length=32),
        encoder=EncoderRecipe(name=str(encoder), hidden_dropout=0.0, attention_dropout=0.0),
        training=TrainingRecipe(epochs=2, batch_size=4, learning_rate=1e-2, logging_steps=1),
        decoding=DecodingRecipe(batch_size=8),  # three batches
    )


def largest_difference(one: Path, other: Path) -> float:
    """Over all weights of two runs."""
    ours, theirs = (load_file(run / "model" / "model.safetensors") for run in (one, other))
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)
