"""Commands that tests start: one that hangs is ended, and fails with what it has said."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

SECONDS = 300


@contextmanager
def started(words: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A command in a session of its own, which is killed when the block ends, or after `SECONDS`.

    So nobody who reads what it says waits for longer.
    """
    with _open(words, options) as process:
        timer = threading.Timer(SECONDS, kill_session, [process])
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            kill_session(process)


def run(words: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """How a command ended, and what it said; one that does not end in `SECONDS` fails the test."""
    with _open(words, options) as process:
        try:
            out, err = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            kill_session(process)
            out, err = process.communicate()
            pytest.fail(f"{words} has not ended after {SECONDS} s; it said:\n{out}\n{err}")
        finally:
            kill_session(process)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def kill_session(process: subprocess.Popen[str]) -> None:
    """End a process that leads a session, if it is there, and all that it has started there."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _open(words: Sequence[str], options: dict[str, Any]) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, start_new_session=True, **(pipes | options))
