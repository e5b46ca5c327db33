"""Processes of a batch that end by SIGKILL at a stated moment, whatever else the machine does."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spanqa.job import Job, Output
from spanqa.worker import Worker

DRIVER = """
import os, signal, sys
from spanqa.batch import Totals
from spanqa.cli import main

plus, last = Totals.plus, int(sys.argv[1])
def plus_or_die(self, report):
    if self.done == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return plus(self, report)
Totals.plus = plus_or_die
sys.exit(main(sys.argv[2:]))
"""
"""`spanqa batch`, which dies when it has counted so many shards and is told of the next one."""


def driver(last: int, words: Sequence[str]) -> list[str]:
    """The command line of a batch that is killed after `last` shards."""
    return [sys.executable, "-c", DRIVER, str(last), *words]


def dying_worker(shard: int, folder: str, died: Path) -> type[Worker]:
    """A worker that is killed once, before it puts the file of a shard into a folder.

    Args:
        shard: its number.
        folder: tries, answers, rejected or done: a method of `Output`.
        died: a file that is made just before.
    """

    class DyingWorker(Worker):
        def __init__(self, job: Job, output: Output) -> None:
            super().__init__(job, output)
            place = str(getattr(output, folder)(shard))

            def die(event: str, args: tuple[Any, ...]) -> None:
                if event == "os.rename" and args[1] == place and not died.exists():
                    died.touch()
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(die)

    return DyingWorker  # pickled as it is, as Ray's workers cannot import it
