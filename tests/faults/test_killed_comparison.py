"""A comparison that is killed goes on: no run is lost, none is trained twice to another end."""

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
from spanqa.run import Comparison


@pytest.fixture(scope="module")
def compared(
    commands: Commands, comparing: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Job, Path]:
    """A comparison that nothing happened to, run twice: the first one is slower."""
    first, folder = (tmp_path_factory.mktemp("undisturbed") / "compared" for _ in range(2))
    commands.run(*comparing, first, root=first)
    ended = commands.run(*comparing, folder, root=folder)
    assert ended.status == 0, ended.said
    assert left_behind(folder) == left_behind(first)
    largest = 2 * max(path.stat().st_size for path in folder.rglob("model.safetensors"))
    return Job(comparing, len(ended.names), ended.seconds, largest), folder


@pytest.mark.fault("kill -9 at a random moment of a comparison", "goes on, same bits at the end")
@pytest.mark.parametrize("trial", TRIALS)
def test_the_same_bits(
    trial: int, commands: Commands, compared: tuple[Job, Path], tmp_path: Path
) -> None:
    job, undisturbed = compared
    folder = tmp_path / "compared"
    kill_until_done(commands, job, folder, trial)
    assert left_behind(folder) == left_behind(undisturbed)
    assert (folder / "report.html").is_file()
    questions = Comparison.load(folder).questions
    assert questions == Comparison.load(undisturbed).questions


@pytest.mark.fault(FIRST_FILE, SAME_COMMAND)
def test_before_its_first_file_is_in_place(
    commands: Commands, compared: tuple[Job, Path], tmp_path: Path
) -> None:
    job, undisturbed = compared
    folder = tmp_path / "compared"
    kill_before_first_file(commands, job.words, folder, "recipe.yaml")
    assert left_behind(folder) == left_behind(undisturbed)
