"""Command lines of spanqa that are run with a fault, and what they leave on disk."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bounded
import pytest

from spanqa.folders import damage, is_sealed, sha256

VARIES = ("run.json", "report.html", "results.csv", "training_results.png", ".lock", ".lock.json")
"""Files with times or process ids in them; `run.json` is compared without its costs."""
UNFINISHED = ("checkpoints", "best-", ".new", ".old", ".tmp", ".probe")
"""In names of what a finished run leaves nothing of."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int | None
    """Exit status, minus the signal that ended it, or None where it is only stopped."""
    pid: int
    seconds: float
    said: str
    """Standard output and error."""
    names: tuple[str, ...] = ()
    """Kinds of its events, where it ended by itself."""


class Commands:
    """Runs command lines of spanqa, each in a process of its own that has imported it already."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        child = Path(__file__).with_name("child.py")
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, str(child)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            start_new_session=True,  # so that it can be ended with what it has forked
        )

    def run(self, *words: object, root: Path, **fault: Any) -> Ended:
        """Run one to its end, its fault, or its stop; see `faults.child`."""
        asked = {"argv": [str(word) for word in words], "root": str(root), "log": str(self.log)}
        return self._ask(asked | fault)

    def kill(self, stopped: Ended) -> Ended:
        """End a process that is stopped, by SIGKILL."""
        return self._ask({"pid": stopped.pid})

    def _ask(self, asked: dict[str, Any]) -> Ended:
        given, taken = self.process.stdin, self.process.stdout
        assert given is not None and taken is not None
        given.write(json.dumps(asked) + "\n")
        given.flush()
        if not select.select([taken], [], [], bounded.SECONDS)[0]:
            bounded.kill_session(self.process)
            pytest.fail(f"{asked} has not ended; it said:\n{self.log.read_text()}")
        line = taken.readline()
        assert line, "the process that forks has ended"
        found = json.loads(line)
        names = tuple(found.get("names", ()))
        said = self.log.read_text()
        return Ended(found["status"], found["pid"], found["seconds"], said, names)

    def close(self) -> None:
        """End the process that forks."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def left_behind(folder: Path) -> dict[str, Any]:
    """All that a finished run or comparison holds, by name: hashes; `run.json` without cost."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        assert not any(word in name for word in UNFINISHED), name
        if path.name == "run.json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k != "cost"}
        elif path.is_file() and path.name not in VARIES:
            found[name] = sha256(path)
    return found


def assert_nothing_half_written(folder: Path) -> None:
    """What counts as whole right after a kill is whole."""
    finished = {run.parent for run in folder.rglob("run.json")}
    for run in finished:
        json.loads((run / "run.json").read_text())
        assert is_sealed(run / "model")
    for seal in folder.rglob("checksums.json"):
        # Those of a finished run may be half removed, those of a folder that is not in place half
        # written; nobody reads either.
        of_finished = seal.parent.name != "model" and bool(finished & set(seal.parents))
        if not of_finished and not seal.parent.name.endswith((".new", ".old")):
            assert damage(seal.parent) is None


def sentence(ended: Ended) -> str:
    """The one sentence that a command ended with."""
    lines = [line for line in ended.said.splitlines() if line.startswith("spanqa: ")]
    assert "Traceback" not in ended.said, ended.said
    assert len(lines) == 1, ended.said
    assert ended.said.rstrip().endswith(lines[0]), ended.said
    return lines[0].removeprefix("spanqa: ")
