"""Training by two processes that torchrun started: the batches, weights and figures of one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from launched import ACCELERATE, Launched, largest_difference, launch, small_recipe

from spanqa.comparison import train_one
from spanqa.preparation import prepare
from spanqa.recipe import Recipe
from spanqa.run import Run


@pytest.fixture(scope="module")
def recipe(tiny_encoder_folder: Path) -> Recipe:
    return small_recipe(tiny_encoder_folder)


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
        patch.setattr("spanqa.batches.Rows.collate", _noting(rows))
        train_one(
            replace(recipe, training=training), "crf", 7, folder / "run", say=lambda line: None
        )
    return folder


def _noting(path: Path) -> object:
    from spanqa.batches import Rows

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
    assert largest_difference(pair.folder / "run", alone / "run") < 1e-3


def test_accelerate_launch_ends_where_torchrun_does(
    recipe: Recipe, pair: Launched, tmp_path: Path
) -> None:
    options = ("--multi_gpu", "--num_processes", "2", "--main_process_port", "0")
    launched = launch(tmp_path, recipe, options, launcher=ACCELERATE)
    assert launched.code == 0, launched.said
    run = Run.load(tmp_path / "run")
    assert run.environment["processes"] == 2
    assert largest_difference(tmp_path / "run", pair.folder / "run") == 0.0
    assert run.predictions == Run.load(pair.folder / "run").predictions


def test_every_question_is_scored_once_as_one_process_scores_it(
    recipe: Recipe, pair: Launched
) -> None:
    from spanqa.reader import Reader

    run, reader = Run.load(pair.folder / "run"), Reader.from_pretrained(pair.folder / "run/model")
    windows = prepare(recipe, say=lambda line: None).eval
    expected = reader.decode(windows, reader.score(windows, recipe.decoding.batch_size), n_best=1)
    assert list(run.null_odds) == [example.id for example in windows.examples]
    assert list(run.null_odds.values()) == [prediction.null_odds for prediction in expected]


def test_only_the_first_process_writes(pair: Launched) -> None:
    written = [path for path in (pair.folder / "run").rglob("*") if path.is_file()]
    assert {"run.json", "predictions.json", "model.safetensors"} <= {p.name for p in written}
    assert [path for path in written if path.stat().st_mode & 0o022] == []
    assert pair.said.count("evaluation: exact") == 1
