"""A clock that jumps changes nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from faults.commands import Commands, left_behind
from spanqa.run import Run

FUTURE, PAST = 4_000_000_000, 1


def shift(folder: Path, moment: int) -> None:
    """Give a folder and all in it another date."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (moment, moment))


@pytest.mark.fault(
    "checkpoints dated into the future or past", "the newest by step is used and kept, same bits"
)
@pytest.mark.parametrize("dates", [(FUTURE, PAST), (PAST, FUTURE), (FUTURE, FUTURE), (PAST, PAST)])
def test_checkpoints_go_by_step(
    dates: tuple[int, int],
    commands: Commands,
    training: tuple[object, ...],
    killed_at_7: Path,
    undisturbed: Path,
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(killed_at_7, tmp_path / "run"))
    for step, date in zip((4, 6), dates, strict=True):
        shift(folder / "checkpoints" / f"checkpoint-{step}", date)
    # Killed once more, before it is finished and its checkpoints go.
    ended = commands.run(*training, folder, root=folder, fault="kill", name="run.json", at=1)
    assert ended.status == -9, ended.said
    assert "going on from checkpoint at step 6 of 8" in ended.said
    found = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert found == ["checkpoint-6", "checkpoint-8"]
    ended = commands.run(*training, folder, root=folder)
    assert ended.status == 0 and "going on from checkpoint at step 8 of 8" in ended.said
    assert left_behind(folder) == left_behind(undisturbed)


@pytest.mark.fault("a clock that runs backwards during training", "same bits, sane durations")
@pytest.mark.parametrize("resumed", [False, True])
def test_a_clock_that_runs_backwards(
    resumed: bool,
    commands: Commands,
    training: tuple[object, ...],
    killed_at_7: Path,
    undisturbed: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    if resumed:
        shutil.copytree(killed_at_7, folder)
    ended = commands.run(*training, folder, root=folder, clock="backwards")
    assert ended.status == 0, ended.said
    assert left_behind(folder) == left_behind(undisturbed)
    cost, usual = Run.load(folder).cost, Run.load(undisturbed).cost
    assert 0 < cost.train_seconds < 100 * usual.train_seconds
    assert 0 < cost.eval_seconds < 100 * usual.eval_seconds
