"""`spanqa evaluate` and `spanqa calibrate` on files: figures, what is stored, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from spanqa.calibration import stored
from spanqa.cli import main
from spanqa.data import load
from spanqa.model import SpanQAConfig, SpanQAModel
from spanqa.reader import Reader
from spanqa.reliability import Reliability

DATA, OTHER = "synthetic:eval:30", "synthetic:train:60"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def spanqa(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line; exit status, standard output, and what spanqa says on standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        ours = (line for line in captured.err.splitlines(True) if line.startswith("spanqa:"))
        return status, captured.out, "".join(ours)

    return run


@pytest.fixture
def model(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def test_calibrate_changes_the_configuration_alone(spanqa: Run, model: Path) -> None:
    weights = (model / "model.safetensors").read_bytes()
    status, out, _ = spanqa("calibrate", model, "--data", OTHER)
    assert status == 0
    assert (model / "model.safetensors").read_bytes() == weights
    config = SpanQAConfig.from_pretrained(model)
    calibration = stored(config, "m")
    assert calibration is not None
    assert calibration.fingerprint == load(OTHER).fingerprint
    assert (config.temperature, config.null_threshold) == (
        calibration.temperature,
        calibration.null_threshold,
    )
    assert config.min_precision is None
    assert f"{calibration.temperature:.4f}" in out
    assert "min_precision 0.8  " in out
    reader = Reader.from_pretrained(model)
    assert reader.rule.null_threshold == calibration.null_threshold


def test_a_wanted_precision_is_stored(spanqa: Run, model: Path) -> None:
    assert spanqa("calibrate", model, "--data", OTHER, "--min-precision", 0.9)[0] == 0
    assert SpanQAConfig.from_pretrained(model).min_precision == 0.9
    # An untrained model's answers are not right nine times in ten at any probability.
    status, out, _ = spanqa("evaluate", model, DATA, "--json")
    assert status == 0
    printed = json.loads(out)
    assert (printed["HasAns_exact"], printed["NoAns_exact"]) == (0.0, 100.0)


def test_f1_is_another_objective(spanqa: Run, model: Path) -> None:
    assert spanqa("calibrate", model, "--data", OTHER, "--objective", "f1")[0] == 0
    calibration = stored(SpanQAConfig.from_pretrained(model), "m")
    assert calibration is not None and calibration.objective == "f1"


def test_a_foreign_checkpoint_is_calibrated_into_a_folder_of_ours(
    spanqa: Run, tiny_encoder_folder: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    model = SpanQAModel.from_encoder(str(tiny_encoder_folder), "softmax")
    model.to_question_answering().save_pretrained(theirs)
    Reader.from_pretrained(tiny_model_folder).tokenizer.save_pretrained(theirs)
    before = sorted((path.name, path.read_bytes()) for path in theirs.iterdir())
    status, _, error = spanqa("calibrate", theirs, "--data", OTHER)
    assert status == 2
    assert error == (
        f"spanqa: {theirs}: is not the folder of a spanqa checkpoint; name a folder for a "
        "calibrated copy with --output\n"
    )
    assert spanqa("calibrate", theirs, "--data", OTHER, "--output", tmp_path / "ours")[0] == 0
    assert sorted((path.name, path.read_bytes()) for path in theirs.iterdir()) == before
    assert Reader.from_pretrained(tmp_path / "ours").calibration is not None


def test_evaluate_says_how_far_to_trust_it(spanqa: Run, model: Path, tmp_path: Path) -> None:
    status, out, error = spanqa("evaluate", model, DATA, "--output", tmp_path / "out")
    assert (status, error) == (0, "")
    for line in ("expected calibration error", "Brier score", "AUROC of answerability"):
        assert line in out
    written = json.loads((tmp_path / "out" / "reliability.json").read_text())
    assert written.keys() == Reliability.__annotations__.keys()
    assert written["questions"] == 30
    assert (tmp_path / "out" / "risk_coverage.png").read_bytes().startswith(b"\x89PNG")
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    share = sum(text != "" for text in predictions.values()) / len(predictions)
    assert written["answered"] == pytest.approx(share)


def test_figures_on_the_calibration_questions_come_with_a_warning(spanqa: Run, model: Path) -> None:
    assert spanqa("calibrate", model, "--data", DATA)[0] == 0
    status, out, error = spanqa("evaluate", model, DATA, "--json")
    assert status == 0
    assert error == (
        f"spanqa: {model} was calibrated on these very questions; its figures flatter it\n"
    )
    assert set(json.loads(out)) >= {"exact", "f1", "total", "best_exact_thresh"}
    assert spanqa("evaluate", model, OTHER, "--json")[2] == ""


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_precision_that_nothing_supports(
    spanqa: Run, model: Path, tmp_path: Path, command: str
) -> None:
    words = (command, model, DATA, "--output", tmp_path / "out", "--min-precision", 0.8)
    status, _, error = spanqa(*words)
    assert status == 2
    assert error.startswith(f"spanqa: {model}: was never calibrated")
    assert not (tmp_path / "out").exists()
    assert spanqa("calibrate", model, "--data", OTHER)[0] == 0
    assert spanqa(*words)[0] == 0
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert set(predictions.values()) == {""}


def test_a_precision_out_of_range_stores_nothing(spanqa: Run, model: Path) -> None:
    before = (model / "config.json").read_bytes()
    status, _, error = spanqa("calibrate", model, "--data", OTHER, "--min-precision", 80)
    assert status == 2
    assert error == "spanqa: min_precision must be between 0 and 1, got 80.0\n"
    assert (model / "config.json").read_bytes() == before
