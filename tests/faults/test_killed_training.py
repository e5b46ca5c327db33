"""A training that is killed goes on, and ends with the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.commands import Commands, left_behind
from faults.kills import (
    FIRST_FILE,
    SAME_COMMAND,
    TRIALS,
    Job,
    kill_before_first_file,
    kill_until_done,
)


@pytest.fixture(scope="module")
def job(
    commands: Commands,
    training: tuple[object, ...],
    tmp_path_factory: pytest.TempPathFactory,
    undisturbed: Path,
    killed_at_7: Path,
) -> Job:
    largest = max(path.stat().st_size for path in killed_at_7.rglob("*"))
    folder = tmp_path_factory.mktemp("measured") / "run"
    ended = commands.run(*training, folder, root=folder)
    assert left_behind(folder) == left_behind(undisturbed)
    return Job(training, len(ended.names), ended.seconds, largest)


@pytest.mark.fault("kill -9 at a random moment of training", "goes on, same bits at the end")
@pytest.mark.parametrize("trial", TRIALS)
def test_the_same_bits(
    trial: int, commands: Commands, job: Job, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    kill_until_done(commands, job, folder, trial)
    assert left_behind(folder) == left_behind(undisturbed)


@pytest.mark.fault(FIRST_FILE, SAME_COMMAND)
def test_before_its_first_file_is_in_place(
    commands: Commands, training: tuple[object, ...], undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    kill_before_first_file(commands, training, folder, "recipe.yaml")
    assert left_behind(folder) == left_behind(undisturbed)
