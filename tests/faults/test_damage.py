"""Checkpoints and models that were cut off or had a bit flipped on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.commands import Commands, left_behind, sentence

PARTS = (
    "config.json",
    "model.safetensors",
    "optimizer.pt",
    "rng_state.pth",
    "scheduler.pt",
    "trainer_state.json",
    "training_args.bin",
    "checksums.json",
)


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path: Path) -> None:
    """Flip one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {"truncated": truncate, "bit-flipped": flip}
damaged = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


@pytest.fixture
def run(killed_at_7: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed_at_7, tmp_path / "run"))


@pytest.mark.fault(
    "a file of the newest checkpoint truncated or bit-flipped",
    "said so, goes on from the one before, same bits at the end",
)
@damaged
@pytest.mark.parametrize("part", PARTS)
def test_the_checkpoint_before_is_used(
    part: str,
    damage: Callable[[Path], None],
    run: Path,
    commands: Commands,
    training: tuple[object, ...],
    undisturbed: Path,
) -> None:
    damage(run / "checkpoints" / "checkpoint-6" / part)
    ended = commands.run(*training, run, root=run)
    assert ended.status == 0, ended.said
    assert "warning: checkpoint-6 cannot be used: " in ended.said
    assert "going on from checkpoint at step 4 of 8" in ended.said
    assert left_behind(run) == left_behind(undisturbed)


@pytest.mark.fault(
    "a file of the newest checkpoint is missing",
    "goes on from the one before, same bits at the end",
)
@pytest.mark.parametrize("part", PARTS)
def test_a_checkpoint_with_a_file_missing(
    part: str, run: Path, commands: Commands, training: tuple[object, ...], undisturbed: Path
) -> None:
    path = run / "checkpoints" / "checkpoint-6" / part
    path.unlink()
    ended = commands.run(*training, run, root=run)
    assert ended.status == 0, ended.said
    # Without its seal it is one that was being written.
    assert (f"{path}: is missing" in ended.said) == (part != "checksums.json")
    assert "going on from checkpoint at step 4 of 8" in ended.said
    assert left_behind(run) == left_behind(undisturbed)


@pytest.mark.fault(
    "all checkpoints, or the best weights, damaged", "said so, trains anew, same bits at the end"
)
@damaged
@pytest.mark.parametrize("what", ["checkpoints", "best"])
def test_training_starts_anew(
    what: str,
    damage: Callable[[Path], None],
    run: Path,
    commands: Commands,
    training: tuple[object, ...],
    undisturbed: Path,
) -> None:
    folders = (run / "checkpoints").iterdir() if what == "checkpoints" else run.glob("best-*")
    for folder in list(folders):
        damage(folder / "model.safetensors")
    ended = commands.run(*training, run, root=run)
    assert ended.status == 0, ended.said
    assert "checkpoint-6 cannot be used" in ended.said
    assert "checkpoint-4 cannot be used" in ended.said
    assert "no checkpoint is whole; training starts anew" in ended.said
    assert left_behind(run) == left_behind(undisturbed)


@pytest.mark.fault("a file of a finished model truncated or bit-flipped", "refused by name, exit 2")
@damaged
@pytest.mark.parametrize("part", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("command", ["ask", "evaluate"])
def test_a_damaged_model_is_refused(
    command: str,
    part: str,
    damage: Callable[[Path], None],
    undisturbed: Path,
    commands: Commands,
    tmp_path: Path,
) -> None:
    model = Path(shutil.copytree(undisturbed / "model", tmp_path / "model"))
    text = tmp_path / "text"
    text.write_text("The river rises in the hills.")
    asked = ("-q", "Where?", "--context", text) if command == "ask" else ("synthetic:eval:4",)
    assert commands.run(command, model, *asked, root=model).status == 0
    damage(model / part)
    ended = commands.run(command, model, *asked, root=model)
    assert ended.status == 2
    assert sentence(ended).startswith(f"{model / part}: is damaged or was changed")


@pytest.mark.fault("a model without checksums, truncated", "refused by name, exit 2")
def test_a_truncated_model_without_a_seal_is_refused(
    undisturbed: Path, commands: Commands, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(undisturbed / "model", tmp_path / "model"))
    (model / "checksums.json").unlink()
    truncate(model / "model.safetensors")
    ended = commands.run("evaluate", model, "synthetic:eval:4", root=model)
    assert ended.status == 2
    assert str(model) in sentence(ended)
