"""Fine-tuning: batches, validation, the best checkpoint, and going on after a kill."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import bounded
import numpy as np
import pytest
from recipes import eight_steps
from safetensors.numpy import load_file

from spanqa.batches import FILLER, IGNORED, LengthGroupedSampler, Rows
from spanqa.comparison import claim, train_one
from spanqa.errors import DataError
from spanqa.preparation import prepare
from spanqa.recipe import Recipe
from spanqa.run import Run
from spanqa.training import mean_over_step, require_as_many

KILLER = """
import os, signal, sys
from pathlib import Path
from spanqa import comparison, training
from spanqa.recipe import Recipe

moment, folder = sys.argv[1], Path(sys.argv[2])
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)

if moment == "in the middle of an epoch":
    step_end = training.Clock.on_step_end
    def on_step_end(self, args, state, control, **kwargs):
        step_end(self)
        if state.global_step == 5:
            die()
    training.Clock.on_step_end = on_step_end
elif moment == "while a checkpoint is written":
    save = training.SpanTrainer._save_rng_state
    def save_rng_state(self, output_dir):
        if self.state.global_step >= 6:
            die()
        save(self, output_dir)
    training.SpanTrainer._save_rng_state = save_rng_state
elif moment == "after the last epoch":
    comparison.one_run.__globals__["_evaluate"] = die
recipe = Recipe.from_yaml(folder / "asked.yaml")
comparison.train_one(recipe, "crf", 7, folder / "run", say=lambda line: None)
"""
MOMENTS = ("in the middle of an epoch", "while a checkpoint is written", "after the last epoch")


@pytest.fixture(scope="module")
def recipe(tiny_encoder_folder: Path) -> Recipe:
    return eight_steps(tiny_encoder_folder)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not killed."""
    folder = tmp_path_factory.mktemp("whole")
    train_one(recipe, "crf", 7, folder, say=lambda line: None)
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_ends_with_the_same_weights_bit_for_bit(
    moment: str, recipe: Recipe, whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "asked.yaml").write_text(recipe.to_yaml())
    killed = bounded.run([sys.executable, "-c", KILLER, moment, str(tmp_path)])
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert not (tmp_path / "run" / "run.json").exists()

    said: list[str] = []
    resumed = train_one(recipe, "crf", 7, tmp_path / "run", say=said.append)

    assert any("going on from checkpoint" in line for line in said)
    ours = load_file(tmp_path / "run" / "model" / "model.safetensors")
    theirs = load_file(whole / "model" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    uninterrupted = Run.load(whole)
    assert resumed.metrics == uninterrupted.metrics
    assert resumed.epochs == uninterrupted.epochs
    assert resumed.losses == uninterrupted.losses
    assert resumed.null_odds == uninterrupted.null_odds


def test_a_run_records_its_curves_costs_and_provenance(whole: Path, recipe: Recipe) -> None:
    run = Run.load(whole)
    # Every third step, at every checkpoint, and at the end of an epoch.
    first, second, third, *later = run.losses
    assert [point.step for point in run.losses] == [2, 3, 4, 6, 8]
    assert run.epochs[0].train_loss == pytest.approx(
        (2 * first.loss + second.loss + third.loss) / 4
    )
    assert run.epochs[1].train_loss == pytest.approx(sum(point.loss for point in later) / 2)
    assert [point.epoch for point in run.epochs] == [1.0, 2.0]
    assert run.best_epoch == max(run.epochs, key=lambda point: point.exact).epoch
    assert run.losses[-1].loss < run.losses[0].loss
    assert run.cost.train_seconds > 0
    assert run.cost.peak_memory_mb > 50
    assert run.cost.head_parameters == 32 * 3 + 3 + 9
    assert run.environment["recipe"] == recipe.signature()
    assert set(run.environment["data"]) == {"train", "calibration", "eval"}
    assert sorted(path.name for path in whole.iterdir() if path.is_dir()) == ["model"]


def test_a_finished_run_is_not_trained_again(recipe: Recipe, whole: Path) -> None:
    before = (whole / "run.json").stat().st_mtime_ns
    said: list[str] = []
    train_one(recipe, "crf", 7, whole, say=said.append)
    assert said == []
    assert (whole / "run.json").stat().st_mtime_ns == before


def test_a_run_does_not_go_on_over_other_questions(recipe: Recipe, tmp_path: Path) -> None:
    train_one(recipe, "softmax", 1, tmp_path / "run", say=lambda line: None)
    (tmp_path / "run" / "run.json").unlink()  # as if it had been killed before the end
    began = json.loads((tmp_path / "run" / "data.json").read_text())
    (tmp_path / "run" / "data.json").write_text(json.dumps(began | {"train": "0" * 64}))
    with pytest.raises(DataError, match=r"data.json: the questions of data.train are others"):
        train_one(recipe, "softmax", 1, tmp_path / "run", say=lambda line: None)


def test_a_folder_with_other_things_is_not_trained_in(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(DataError, match="holds other things"):
        train_one(recipe, "softmax", 1, tmp_path, say=lambda line: None)
    assert list((tmp_path / "model").iterdir()) == []


def test_what_was_killed_at_its_first_write_begins_again(recipe: Recipe, tmp_path: Path) -> None:
    for name in (".lock", ".lock.json", ".lock.json.tmp", "recipe.yaml.tmp"):
        (tmp_path / name).write_text("half")
    claim(recipe, tmp_path)
    assert Recipe.from_yaml(tmp_path / "recipe.yaml") == recipe
    assert not (tmp_path / "recipe.yaml.tmp").exists()


def test_the_threshold_is_stored_in_the_checkpoint(whole: Path) -> None:
    from spanqa.reader import Reader

    run, reader = Run.load(whole), Reader.from_pretrained(whole / "model")
    assert reader.rule.null_threshold == run.calibration.null_threshold
    assert reader.config.temperature == run.calibration.temperature


def test_validation_on_the_eval_part_is_what_the_recipe_asks_for(
    recipe: Recipe, tmp_path: Path
) -> None:
    training = replace(recipe.training, validate_on="eval", epochs=1)
    run = train_one(
        replace(recipe, training=training), "softmax", 7, tmp_path / "r", say=lambda line: None
    )
    assert run.epochs[-1].exact == pytest.approx(run.uncalibrated["exact"])


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_the_sampler_visits_every_row_once_and_groups_by_length(batch_size: int) -> None:
    lengths = np.random.default_rng(0).integers(10, 400, 997)
    sampler = LengthGroupedSampler(lengths, batch_size, seed=1)
    rows = list(sampler)
    assert sorted(rows) == list(range(997))
    assert len(sampler) == 997
    batches = [lengths[rows[i : i + batch_size]] for i in range(0, 997, batch_size)]
    padded = sum(batch.max() * len(batch) for batch in batches)
    assert padded <= 1.1 * lengths.sum()
    assert list(sampler) == rows
    sampler.set_epoch(1)
    assert list(sampler) != rows


def test_as_many_processes_go_on_as_wrote_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in (0, 1):
        (tmp_path / f"rng_state_{rank}.pth").touch()
    with pytest.raises(DataError, match="was written by 2 processes, and one process would take"):
        require_as_many(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    require_as_many(tmp_path)


def test_a_sampler_fills_up_what_processes_lack() -> None:
    lengths = np.random.default_rng(0).integers(10, 400, 37)
    alone = list(LengthGroupedSampler(lengths, 8, seed=1))
    shared = LengthGroupedSampler(lengths, 8, seed=1, multiple_of=8)
    assert list(shared) == [*alone, FILLER, FILLER, FILLER]
    assert len(shared) == 40


def test_a_step_counts_every_window_alike(recipe: Recipe) -> None:
    """Batches of 3, 1 and no windows, as processes or accumulation may cut a step of 4."""
    import torch

    from spanqa.model import SpanQAOutput

    rows = Rows(prepare(recipe, say=lambda line: None).train)
    batches = [rows.collate(taken) for taken in ([5, 6, 7], [8, FILLER], [FILLER, FILLER])]
    assert [batch["labels"].tolist() for batch in batches] == [[0, 0, 0], [0], [IGNORED]]
    assert [len(batch["input_ids"]) for batch in batches] == [3, 1, 1]
    losses = (2.0, 6.0, 100.0)
    shares = [
        mean_over_step(SpanQAOutput(torch.tensor(loss)), batch["labels"], torch.tensor(4))
        for loss, batch in zip(losses, batches, strict=True)
    ]
    assert sum(shares).item() == (3 * 2.0 + 6.0) / 4  # type: ignore[union-attr]
