"""Disks that are full, read-only or forbidden: one sentence, nothing lost, and going on later."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import bounded
import pytest

from faults.commands import Commands, assert_nothing_half_written, left_behind, sentence

REFUSALS = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.EDQUOT)


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, path: Path, kilobytes: int) -> None:
        self.path = path
        path.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "spanqa-faults", str(path))

    def remount(self, options: str) -> None:
        _mount("-o", f"remount,{options}", str(self.path))

    def close(self) -> None:
        # Lazily: what was interrupted may still have files there.
        assert bounded.run(["umount", "--lazy", str(self.path)]).returncode == 0


def _mount(*words: str) -> None:
    done = bounded.run(["mount", *words])
    if done.returncode:
        raise OSError(done.stderr.strip())


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[list[Disk]]:
    """Those that a test makes, which are taken away after it."""
    made: list[Disk] = []
    yield made
    for disk in made:
        disk.close()


def _disk(disks: list[Disk], path: Path, kilobytes: int) -> Disk:
    try:
        disk = Disk(path, kilobytes)
    except OSError as error:
        pytest.skip(f"a file system for the test cannot be mounted: {error}")
    disks.append(disk)
    return disk


@pytest.mark.fault(
    "disk full during training", "one sentence, exit 2; with room it goes on, same bits at the end"
)
@pytest.mark.parametrize("kilobytes", [4, 16, 200, 500, 900, 1300, 1700, 2100])
def test_a_full_disk(
    kilobytes: int,
    commands: Commands,
    training: tuple[object, ...],
    undisturbed: Path,
    tmp_path: Path,
    disks: list[Disk],
) -> None:
    disk = _disk(disks, tmp_path / "disk", kilobytes)
    folder = disk.path / "run"
    ended = commands.run(*training, folder, root=folder)
    assert ended.status == 2, ended.said
    said = sentence(ended)
    assert said.startswith(f"{folder}") and "cannot be written: No space left on device" in said
    assert_nothing_half_written(folder)
    disk.remount("size=64m")
    assert commands.run(*training, folder, root=folder).status == 0
    assert left_behind(folder) == left_behind(undisturbed)


@pytest.mark.fault(
    "a file that the system lets grow no further",
    "one sentence, exit 2; without the limit it goes on, same bits at the end",
)
@pytest.mark.parametrize("trial", range(6))
def test_a_file_that_cannot_grow(
    trial: int,
    commands: Commands,
    training: tuple[object, ...],
    undisturbed: Path,
    killed_at_7: Path,
    tmp_path: Path,
) -> None:
    sizes = sorted({path.stat().st_size for path in killed_at_7.rglob("*") if path.is_file()})
    size = int(sizes[-1 - trial] * random.Random(trial).uniform(0.7, 0.99))
    folder = tmp_path / "run"
    ended = commands.run(*training, folder, root=folder, fault="error", size=size)
    assert ended.status == 2, ended.said
    said = sentence(ended)
    assert said.startswith(str(folder)) and "cannot be written: " in said
    assert_nothing_half_written(folder)
    assert commands.run(*training, folder, root=folder).status == 0
    assert left_behind(folder) == left_behind(undisturbed)


@pytest.mark.fault(
    "the system refuses a random open, rename or new folder of a training",
    "one sentence, exit 2; it goes on later, same bits at the end",
)
@pytest.mark.parametrize("kind", ["open", "rename", "mkdir"])
@pytest.mark.parametrize("code", REFUSALS, ids=[errno.errorcode[code] for code in REFUSALS])
def test_a_refusal(
    kind: str,
    code: int,
    commands: Commands,
    training: tuple[object, ...],
    undisturbed: Path,
    tmp_path: Path,
    measured: tuple[str, ...],
) -> None:
    at = random.Random(f"{kind} {code}").randint(1, measured.count(kind))
    folder = tmp_path / "run"
    ended = commands.run(*training, folder, root=folder, fault="error", errno=code, of=kind, at=at)
    assert ended.status == 2, ended.said
    said = sentence(ended)
    assert said.startswith(str(folder)) and os.strerror(code) in said
    assert_nothing_half_written(folder)
    assert commands.run(*training, folder, root=folder).status == 0
    assert left_behind(folder) == left_behind(undisturbed)


@pytest.fixture(scope="module")
def measured(
    commands: Commands, training: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ...]:
    """The events of a training that nothing happens to."""
    folder = tmp_path_factory.mktemp("measured") / "run"
    return commands.run(*training, folder, root=folder).names


@pytest.mark.fault(
    "a read-only run folder", "one sentence, exit 2; writable it goes on, same bits at the end"
)
@pytest.mark.parametrize("begun", [False, True])
def test_a_read_only_disk(
    begun: bool,
    commands: Commands,
    training: tuple[object, ...],
    undisturbed: Path,
    killed_at_7: Path,
    tmp_path: Path,
    disks: list[Disk],
) -> None:
    disk = _disk(disks, tmp_path / "disk", 65536)
    folder = disk.path / "run"
    if begun:
        shutil.copytree(killed_at_7, folder)
    disk.remount("ro")
    ended = commands.run(*training, folder, root=folder)
    assert ended.status == 2, ended.said
    said = sentence(ended)
    assert said.startswith(str(folder)) and "Read-only file system" in said
    disk.remount("rw")
    assert commands.run(*training, folder, root=folder).status == 0
    assert left_behind(folder) == left_behind(undisturbed)


@pytest.mark.fault("a run folder that others own", "one sentence, exit 2")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(
    commands: Commands, training: tuple[object, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o500)
    ended = commands.run(*training, folder, root=folder)
    assert ended.status == 2
    assert "Permission denied" in sentence(ended)


@pytest.mark.fault(
    "disk full while a model is saved or answers are written",
    "one sentence, exit 2, nothing that looks whole",
)
@pytest.mark.parametrize(
    ("command", "kilobytes"),
    [("predict", 4), ("predict", 24), ("calibrate", 4), ("calibrate", 24), ("calibrate", 96)],
)
def test_other_outputs(
    command: str,
    kilobytes: int,
    commands: Commands,
    undisturbed: Path,
    tmp_path: Path,
    disks: list[Disk],
) -> None:
    disk = _disk(disks, tmp_path / "disk", kilobytes)
    folder = disk.path / "out"
    model, data = undisturbed / "model", "synthetic:eval:200"
    words = (model, data) if command == "predict" else (model, "--data", data)
    ended = commands.run(command, *words, "--output", folder, root=folder)
    assert ended.status == 2, ended.said
    said = sentence(ended)
    assert said.startswith(f"{folder}") and "No space left on device" in said
    assert not list(folder.glob("checksums.json"))
