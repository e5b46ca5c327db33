"""SIGKILL at random moments, and going on until the work is done."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.commands import Commands, Ended, assert_nothing_half_written

AT_EVENTS, AT_TIMES, IN_WRITES = 14, 4, 2
TRIALS = range(AT_EVENTS + AT_TIMES + IN_WRITES)
"""Fourteen before a random step or change of the disk, four at a random time, two in a write."""


@dataclass(frozen=True)
class Job:
    """A command and what it does when nothing happens to it."""

    words: Sequence[object]
    """But for the folder."""
    events: int
    seconds: float
    largest: int
    """Bytes of the largest file that it writes on the way."""


def kill_until_done(commands: Commands, job: Job, folder: Path, trial: int) -> None:
    """Kill once, twice in every third trial, start again each time, and see the end."""
    chance = random.Random(trial)
    for _ in range(1 + (trial % 3 == 0)):
        killed = _killed(commands, job, folder, trial, chance)
        if killed.status == 0:  # started again, it had less to do than until its second kill
            break
        assert killed.status in (-9, -25), killed.said  # SIGXFSZ ends as abruptly, within a write
        assert_nothing_half_written(folder)
    ended = commands.run(*job.words, folder, root=folder)
    assert ended.status == 0, ended.said
    assert_nothing_half_written(folder)


def _killed(commands: Commands, job: Job, folder: Path, trial: int, chance: random.Random) -> Ended:
    if trial < AT_EVENTS:
        part = (trial + chance.random()) / AT_EVENTS  # spread over the whole of the work
        at = 1 + int(part * job.events)
        return _run(commands, job, folder, fault="kill", at=at)
    if trial < AT_EVENTS + AT_TIMES:
        seconds = chance.uniform(0.05, 0.9) * job.seconds
        return _run(commands, job, folder, seconds=seconds)
    size = int(chance.uniform(0.05, 0.95) * job.largest)
    return _run(commands, job, folder, fault="kill", size=size)


def _run(commands: Commands, job: Job, folder: Path, **fault: Any) -> Ended:
    return commands.run(*job.words, folder, root=folder, **fault)
