"""Checkpoints of a training that is under way: which are whole, which are kept.

In a run folder lie `checkpoints/checkpoint-<step>`, written by the trainer, and `best-<step>`, the
weights of the best epoch. A checkpoint counts with its seal, which is written last, and with the
best weights that its history names. Everything goes by step number, nothing by the clock.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spanqa.folders import damage, is_sealed, seal, unseal
from spanqa.records import read_json

History = Sequence[dict[str, Any]]
"""The trainer's log; a point with `eval_exact` ends an epoch."""

KEPT = 2
"""Checkpoints that are kept: if the newest is damaged, there is another one to go on from."""


def best_folder(run: Path, step: int) -> Path:
    """Where the best weights lie if `step` was the end of the best epoch."""
    return run / f"best-{step}"


def last_checkpoint(run: Path, say: Callable[[str], None]) -> Path | None:
    """The newest whole checkpoint; those that are unfinished or damaged are removed.

    Args:
        run: run folder.
        say: told of those that are damaged.
    """
    damaged = False
    for step in reversed(_steps(run)):
        path, problem = _checkpoint(run, step), _problem(run, step)
        if problem is None:
            return path
        if problem:
            damaged = True
            say(f"  warning: {path.name} cannot be used: {problem}")
        shutil.rmtree(path)
    if damaged:
        say("  warning: no checkpoint is whole; training starts anew")
    return None


def keep(run: Path, step: int, history: History) -> None:
    """Seal the checkpoint that was just written, and remove what is not needed any more.

    Args:
        run: run folder.
        step: of the checkpoint.
        history: the trainer's log up to that step.
    """
    seal(_checkpoint(run, step))
    old, kept = _steps(run)[:-KEPT], _steps(run)[-KEPT:]
    needed = {_best(run, history, each) for each in kept}
    unneeded = [path for path in run.glob("best-*") if path not in needed]
    for path in (*(_checkpoint(run, each) for each in old), *unneeded):
        unseal(path)  # half removed, it would look damaged
        shutil.rmtree(path)


def discard(run: Path) -> None:
    """Remove checkpoints and best weights of a run that is finished."""
    for path in (run / "checkpoints", *run.glob("best-*")):
        shutil.rmtree(path, ignore_errors=True)


def _checkpoint(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"checkpoint-{step}"


def _steps(run: Path) -> list[int]:
    """Steps of the checkpoints, rising."""
    found = (run / "checkpoints").glob("checkpoint-*")
    return sorted(int(m[1]) for p in found if (m := re.fullmatch(r"checkpoint-(\d+)", p.name)))


def _problem(run: Path, step: int) -> str | None:
    """What is damaged; "" where it was being written when the run was killed; None if it is whole.

    Best weights without a seal are damaged too: they are written before the checkpoint is.
    """
    path = _checkpoint(run, step)
    if not is_sealed(path):
        return ""
    problem = damage(path)
    if problem is None:
        best = _best(run, read_json(path / "trainer_state.json")["log_history"], step)
        if best is not None:
            problem = damage(best) if is_sealed(best) else f"{best}: is missing"
    return problem


def _best(run: Path, history: History, step: int) -> Path | None:
    """The best weights that a checkpoint goes with; None before the first epoch has ended."""
    epochs = [point for point in history if "eval_exact" in point and point["step"] <= step]
    if not epochs:
        return None
    return best_folder(run, max(epochs, key=lambda point: point["eval_exact"])["step"])
