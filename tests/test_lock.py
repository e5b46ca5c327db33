"""A folder that one process works on."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import bounded
import pytest

from spanqa.errors import WriteError
from spanqa.lock import HOLDER, locked

HOLDING = """
import sys
from pathlib import Path
from spanqa.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_told_whose_folder_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [sys.executable, "-c", HOLDING, str(folder)]
    with bounded.started(words, stdin=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(WriteError) as caught, locked(folder):
            pass
        holder.kill()
    assert str(caught.value).startswith(
        f"{folder}: process {holder.pid} on {socket.gethostname()} is working on it; wait"
    )
    assert holder.returncode == -signal.SIGKILL
    with locked(folder):  # a lock ends with its process
        assert f'"pid": {os.getpid()}' in (folder / HOLDER).read_text()
    assert not (folder / HOLDER).exists()


def test_a_lock_ends_with_its_block(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path), locked(tmp_path / "another"):
        pass


def test_one_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(WriteError, match=f"process {os.getpid()} on"), locked(tmp_path):
            pass
        (tmp_path / HOLDER).unlink()  # as before it has written its name
        with pytest.raises(WriteError, match="another process is working"), locked(tmp_path):
            pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run"
    with pytest.raises(WriteError, match=f"^{re.escape(str(folder))}: cannot be"), locked(folder):
        pass
