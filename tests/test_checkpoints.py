"""Which checkpoint is gone on from, and which are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spanqa.checkpoints import best_folder, discard, keep, last_checkpoint
from spanqa.folders import SEAL, write_sealed

LOG: list[dict[str, Any]] = [
    {"step": 2, "loss": 1.0},
    {"step": 4, "eval_exact": 50.0},
    {"step": 6, "loss": 0.5},
    {"step": 8, "eval_exact": 40.0},
    {"step": 12, "eval_exact": 60.0},
]


def write(run: Path, step: int) -> None:
    """A checkpoint that is not sealed yet, and the best weights where it ends the best epoch."""
    for point in LOG:
        if point["step"] == step and point.get("eval_exact", 0) >= 50:
            write_sealed(best_folder(run, step), lambda path: _weights(Path(path)))
    folder = run / "checkpoints" / f"checkpoint-{step}"
    _weights(folder)
    history = [point for point in LOG if point["step"] <= step]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))


def _weights(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")


def run_to(run: Path, last: int) -> Path:
    """A run with a checkpoint every second step."""
    for step in range(2, last + 1, 2):
        write(run, step)
        keep(run, step, [point for point in LOG if point["step"] <= step])
    return run


def names(run: Path) -> list[str]:
    kept = sorted((run / "checkpoints").iterdir(), key=lambda p: int(p.name.partition("-")[2]))
    return [path.name for path in kept] + sorted(path.name for path in run.glob("best-*"))


def resume(run: Path) -> tuple[str | None, list[str]]:
    said: list[str] = []
    found = last_checkpoint(run, said.append)
    return found.name if found else None, said


def test_two_are_kept_with_the_best_weights_that_they_go_with(tmp_path: Path) -> None:
    expected = {
        2: ["checkpoint-2"],
        4: ["checkpoint-2", "checkpoint-4", "best-4"],
        10: ["checkpoint-8", "checkpoint-10", "best-4"],
        12: ["checkpoint-10", "checkpoint-12", "best-12", "best-4"],
        14: ["checkpoint-12", "checkpoint-14", "best-12"],
    }
    for last, kept in expected.items():
        assert names(run_to(tmp_path / str(last), last)) == kept


def test_the_newest_is_gone_on_from(tmp_path: Path) -> None:
    assert resume(run_to(tmp_path, 10)) == ("checkpoint-10", [])
    assert resume(tmp_path / "nothing") == (None, [])


def test_one_that_was_being_written_goes_without_a_word(tmp_path: Path) -> None:
    run_to(tmp_path, 8)
    write(tmp_path, 10)
    assert resume(tmp_path) == ("checkpoint-8", [])
    assert not (tmp_path / "checkpoints" / "checkpoint-10").exists()
    alone = tmp_path / "alone"
    write(alone, 2)
    assert resume(alone) == (None, [])


def test_a_damaged_one_is_named(tmp_path: Path) -> None:
    newest = run_to(tmp_path, 8) / "checkpoints" / "checkpoint-8"
    (newest / "model.safetensors").write_bytes(b"Weights")
    found, said = resume(tmp_path)
    assert found == "checkpoint-6"
    assert said == [
        f"  warning: checkpoint-8 cannot be used: {newest / 'model.safetensors'}: is damaged or "
        f"was changed: its SHA-256 is not the one in {SEAL}"
    ]
    assert not newest.exists()


def test_where_all_are_damaged_training_starts_anew(tmp_path: Path) -> None:
    for path in (run_to(tmp_path, 8) / "checkpoints").iterdir():
        (path / "trainer_state.json").unlink()
    found, said = resume(tmp_path)
    assert found is None
    assert [line.split(":")[1][:25] for line in said[:2]] == [
        " checkpoint-8 cannot be u",
        " checkpoint-6 cannot be u",
    ]
    assert said[2:] == ["  warning: no checkpoint is whole; training starts anew"]


def test_a_checkpoint_is_worth_nothing_without_its_best_weights(tmp_path: Path) -> None:
    run = run_to(tmp_path, 12)
    (best_folder(run, 12) / "model.safetensors").write_bytes(b"Weights")
    found, said = resume(run)
    assert found == "checkpoint-10" and len(said) == 1
    (best_folder(run, 4) / SEAL).unlink()
    found, said = resume(run)
    assert found is None
    assert said[0] == f"  warning: checkpoint-10 cannot be used: {best_folder(run, 4)}: is missing"


def test_before_the_first_epoch_has_ended_there_are_none(tmp_path: Path) -> None:
    assert resume(run_to(tmp_path, 2)) == ("checkpoint-2", [])


def test_a_finished_run_keeps_neither(tmp_path: Path) -> None:
    discard(run_to(tmp_path, 12))
    assert not list(tmp_path.iterdir())
    discard(tmp_path)
