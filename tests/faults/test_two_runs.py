"""Two processes on one folder: the second is refused, and told who has it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from faults.commands import Commands, left_behind, sentence


@pytest.mark.fault(
    "a second run on a folder that is worked on",
    "refused with the other's process id, exit 2; the first one is not disturbed",
)
@pytest.mark.parametrize("of", ["step", "rename", "mkdir"])
def test_the_second_is_refused(
    of: str,
    commands: Commands,
    training: tuple[object, ...],
    comparing: tuple[object, ...],
    undisturbed: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    stopped = commands.run(*training, folder, root=folder, fault="stop", of=of, at=3)
    assert stopped.status is None, stopped.said
    for words in (training, comparing):
        before = _files(folder)
        refused = commands.run(*words, folder, root=folder)
        assert refused.status == 2
        assert sentence(refused) == (
            f"{folder}: process {stopped.pid} on {socket.gethostname()} is working on it; wait "
            "until that has ended, or name another folder"
        )
        assert _files(folder) == before
    assert commands.kill(stopped).status == -9
    assert commands.run(*training, folder, root=folder).status == 0
    assert left_behind(folder) == left_behind(undisturbed)


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
