"""SIGKILL at random moments, and going on until the work is done."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.commands import Commands, Ended, assert_nothing_half_written

AT_EVENTS, AT_TIMES, IN_WRITES = 14, 4, 2
TRIALS = range(AT_EVENTS + AT_TIMES + IN_WRITES)
"""Fourteen before a random step or change of the disk, four at a random time, two in a write."""
HALVINGS = 5
"""Times that a kill may come too late."""

FIRST_FILE = "kill -9 when the very first file is written, but not yet in its place"
SAME_COMMAND = "goes on, same bits at the end"


@dataclass(frozen=True)
class Job:
    """A command and what it does when nothing happens to it."""

    words: Sequence[object]
    """But for the folder."""
    events: int
    seconds: float
    """Both of a run after the first one, which has to import more than those that are killed."""
    largest: int
    """Bytes of the largest file that it writes on the way."""


def kill_until_done(commands: Commands, job: Job, folder: Path, trial: int) -> None:
    """Kill once, twice in every third trial, start again each time, and see the end."""
    chance = random.Random(trial)
    _assert_killed(_killed(commands, job, folder, trial, chance), folder)
    if trial % 3 == 0:
        again = _run(commands, job, folder, **_fault(job, trial, chance))
        if again.status != 0:  # it still had as much to do
            _assert_killed(again, folder)
    ended = commands.run(*job.words, folder, root=folder)
    assert ended.status == 0, ended.said
    assert_nothing_half_written(folder)


def kill_in_time(run: Callable[[float], Ended], folder: Path, seconds: float) -> Ended:
    """Kill after so long; where the work was done before, anew and after half as long."""
    for halvings in range(HALVINGS):
        ended = run(seconds / 2**halvings)
        if ended.status != 0:
            break
        shutil.rmtree(folder)
    return ended


def kill_before_first_file(
    commands: Commands, words: Sequence[object], folder: Path, name: str, **how: Any
) -> None:
    """Kill between writing the first file of a folder and renaming it, and start again."""
    fault = {"fault": "kill", "of": "rename", "name": f"/{name}", "at": 1}
    killed = commands.run(*words, folder, root=folder, **fault, **how)
    assert killed.status == -9, killed.said
    left = [path.name for path in folder.rglob("*") if path.is_file()]
    assert any(each.startswith(name) for each in left) and name not in left, left
    ended = commands.run(*words, folder, root=folder, **how)
    assert ended.status == 0, ended.said


def _assert_killed(ended: Ended, folder: Path) -> None:
    assert ended.status in (-9, -25), ended.said  # SIGXFSZ ends as abruptly, within a write
    assert_nothing_half_written(folder)


def _killed(commands: Commands, job: Job, folder: Path, trial: int, chance: random.Random) -> Ended:
    """The first kill, which has to hit."""
    fault = _fault(job, trial, chance)
    if "seconds" not in fault:
        return _run(commands, job, folder, **fault)
    return kill_in_time(
        lambda seconds: _run(commands, job, folder, seconds=seconds), folder, fault["seconds"]
    )


def _fault(job: Job, trial: int, chance: random.Random) -> dict[str, Any]:
    """When to kill; see `faults.child`."""
    if trial < AT_EVENTS:
        part = (trial + chance.random()) / AT_EVENTS  # spread over the whole of the work
        return {"fault": "kill", "at": 1 + int(part * job.events)}
    if trial < AT_EVENTS + AT_TIMES:
        return {"seconds": chance.uniform(0.05, 0.9) * job.seconds}
    return {"fault": "kill", "size": int(chance.uniform(0.05, 0.95) * job.largest)}


def _run(commands: Commands, job: Job, folder: Path, **fault: Any) -> Ended:
    return commands.run(*job.words, folder, root=folder, **fault)
