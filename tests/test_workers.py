"""Heads and seeds side by side: the results of a comparison that runs them in turn."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from spanqa import experiment, workers
from spanqa.cluster import connected
from spanqa.comparison import claim, compare
from spanqa.errors import MissingExtraError, RecipeError, RunError, WriteError
from spanqa.lock import locked
from spanqa.recipe import DataRecipe, EncoderRecipe, Recipe, TrainingRecipe, WindowRecipe
from spanqa.run import Run
from spanqa.workers import Share, fair_share


@pytest.fixture(scope="module")
def recipe(tiny_encoder_folder: Path) -> Recipe:
    """Two heads with one seed, an epoch each."""
    return Recipe(
        name="tiny",
        heads=("softmax", "crf"),
        seeds=(7,),
        data=DataRecipe(
            train="synthetic:train:40", eval="synthetic:eval:12", calibration_fraction=0.2
        ),
        windows=WindowRecipe(max_length=128, stride=16, max_question_length=32),
        encoder=EncoderRecipe(name=str(tiny_encoder_folder)),
        training=TrainingRecipe(epochs=1, batch_size=16, learning_rate=1e-2),
    )


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Here and in the workers."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def connection(one_thread: None) -> Iterator[None]:
    """To a Ray of two processors, which every comparison then uses.

    That a comparison starts and ends one by itself is tried where workers are killed.
    """
    with connected(None, num_cpus=2):
        yield


def test_runs_side_by_side_are_those_in_turn_bit_for_bit(
    recipe: Recipe, connection: None, tmp_path: Path
) -> None:
    said: list[str] = []
    blocked = tmp_path / "beside" / "runs" / "crf-seed7"
    blocked.parent.mkdir(parents=True)
    (tmp_path / "beside" / "recipe.yaml").write_text(recipe.to_yaml())
    blocked.write_text("in the way of a folder")
    with pytest.raises(RunError, match="1 of 2 runs failed: crf-seed7; the same command tries"):
        compare(recipe, tmp_path / "beside", workers=2, say=said.append)
    assert any(line.startswith("crf-seed7: failed: ") for line in said)
    assert any(line.startswith("softmax-seed7: evaluation: exact") for line in said)

    blocked.unlink()
    said.clear()
    beside = compare(recipe, tmp_path / "beside", workers=2, say=said.append)
    assert {line.partition(":")[0] for line in said[1:]} == {"crf-seed7"}

    in_turn = compare(recipe, tmp_path / "turn", say=lambda line: None)
    assert [(run.head, run.seed) for run in beside.runs] == [("softmax", 7), ("crf", 7)]
    for ours, theirs in zip(beside.runs, in_turn.runs, strict=True):
        assert _without_cost(ours) == _without_cost(theirs)
        name = f"runs/{ours.head}-seed7/model/model.safetensors"
        weights, others = load_file(tmp_path / "beside" / name), load_file(tmp_path / "turn" / name)
        assert weights.keys() == others.keys()
        assert all(np.array_equal(weights[key], others[key]) for key in others)


class Lines(list[str]):
    put = list.append


def test_a_worker_is_where_the_comparison_is_and_alone_in_its_folder(
    recipe: Recipe, tiny_encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_encoder_folder.parent)
    assert workers._start_of(str(tiny_encoder_folder)) is None
    assert workers._start_of("sentence-transformers/all-MiniLM-L6-v2") is None
    here = workers._start_of(tiny_encoder_folder.name)
    assert here == tiny_encoder_folder.parent
    recipe = recipe.override({"encoder.name": tiny_encoder_folder.name})
    found: list[Any] = []

    def one_run(recipe: Recipe, head: str, seed: int, _: Any, folder: Path, **__: Any) -> None:
        with pytest.raises(WriteError, match="is working on it"), locked(folder):
            pass
        found.append((Path(recipe.encoder.name).is_dir(), folder))

    monkeypatch.setattr(experiment, "one_run", one_run)
    monkeypatch.chdir(tmp_path)
    job = workers.Job(recipe, "crf", 7, tmp_path / "out", 1, here)
    folder = tmp_path / "out" / "runs" / "crf-seed7"
    with locked(tmp_path / "out"):  # by the comparison
        claim(recipe, tmp_path / "out")
        assert workers._run_one(job, None, Lines()) == ""  # type: ignore[arg-type]
        with locked(folder):
            assert "is working on it" in workers._run_one(job, None, Lines())  # type: ignore[arg-type]
    assert found == [(True, folder)]
    lost = replace(job, here=tmp_path / "none")
    assert "none is not seen on" in workers._run_one(lost, None, Lines())  # type: ignore[arg-type]


def _without_cost(run: Run) -> dict[str, object]:
    return {name: value for name, value in asdict(run).items() if name != "cost"}


@pytest.mark.parametrize(
    ("nodes", "workers", "share"),
    [
        ([{"CPU": 2}], 2, Share(1, 0)),
        ([{"CPU": 16}], 3, Share(5, 0)),
        ([{"CPU": 4}, {"CPU": 4}], 1, Share(4, 0)),
        ([{"CPU": 4}, {"CPU": 4}], 3, Share(2, 0)),
        ([{"CPU": 2}], 8, Share(1, 0)),
        ([{"CPU": 64, "GPU": 8}], 8, Share(8, 1)),
        ([{"CPU": 64, "GPU": 8}], 20, Share(8, 1)),
        ([{"CPU": 16, "GPU": 2}, {"CPU": 8}], 2, Share(8, 1)),
    ],
)
def test_workers_share_processors_and_devices_alike(
    nodes: list[dict[str, float]], workers: int, share: Share
) -> None:
    assert fair_share(nodes, workers) == share


def test_without_ray_the_extra_is_named(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"spanqa\[ray\]"):
        compare(recipe, tmp_path, workers=2, say=lambda line: None)


def test_torchrun_and_workers_exclude_each_other(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="without torchrun"):
        compare(recipe, tmp_path, workers=2, say=lambda line: None)
