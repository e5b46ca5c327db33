"""`spanqa evaluate` and `spanqa calibrate` on files: figures, what is stored, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spanqa.adapter import SETTINGS, WEIGHTS, Adapter, add_lora
from spanqa.calibration import stored
from spanqa.cli import main
from spanqa.data import Example, load
from spanqa.folders import SEAL, damage, seal
from spanqa.manifest import EXPORTS, checkpoint_sha256
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
    seal(model)
    weights, sealed = (model / "model.safetensors").read_bytes(), (model / SEAL).read_bytes()
    status, out, _ = spanqa("calibrate", model, "--data", OTHER)
    assert status == 0
    assert damage(model) is None and (model / SEAL).read_bytes() != sealed
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
    assert damage(tmp_path / "ours") is None and (tmp_path / "ours" / SEAL).is_file()


def test_another_checkpoint_is_not_calibrated_over(spanqa: Run, model: Path, adapter: Path) -> None:
    before = {path.name: path.read_bytes() for path in adapter.iterdir()}
    status, _, error = spanqa("calibrate", model, "--data", "no.json", "--output", adapter)
    assert status == 2
    assert error == f"spanqa: {adapter}: holds other things; name a new folder with --output\n"
    assert {path.name: path.read_bytes() for path in adapter.iterdir()} == before


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
    # Before anything is read or scored: there is no such file.
    status, _, error = spanqa("calibrate", model, "--data", "no.json", "--min-precision", 80)
    assert status == 2
    assert error == "spanqa: min_precision must be between 0 and 1, got 80.0\n"
    assert (model / "config.json").read_bytes() == before


@pytest.fixture
def adapter(tiny_encoder_folder: Path, tmp_path: Path) -> Path:
    """The folder of an adapter, trained with another dropout than its encoder comes with."""
    model = SpanQAModel.from_encoder(
        str(tiny_encoder_folder),
        "softmax",
        hidden_dropout_prob=0.25,
        max_length=64,
        stride=16,
        max_question_length=16,
    )
    add_lora(model, 2, 4.0)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for name, parameter in model.encoder.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn_like(parameter) / 10)
    folder = tmp_path / "adapter"
    Adapter.of(model, str(tiny_encoder_folder)).save(folder)
    model.config.save_pretrained(folder)
    return folder


def test_an_adapter_is_calibrated_where_it_lies(spanqa: Run, adapter: Path) -> None:
    before = {path.name: path.read_bytes() for path in adapter.iterdir()}
    sealed = checkpoint_sha256(adapter)
    assert spanqa("calibrate", adapter, "--data", OTHER, "--min-precision", 0.5)[0] == 0
    after = {path.name: path.read_bytes() for path in adapter.iterdir()}
    assert after.keys() == before.keys() == {SETTINGS, WEIGHTS, "config.json"}
    assert {name for name in before if before[name] != after[name]} == {"config.json"}
    assert checkpoint_sha256(adapter) == sealed
    reader = Reader.from_pretrained(adapter)
    assert reader.calibration is not None
    assert reader.config.null_threshold == reader.calibration.null_threshold
    assert reader.config.min_precision == 0.5
    written = json.loads(after["config.json"])
    assert written["encoder_config"]["hidden_dropout_prob"] == 0.25


def test_an_adapter_is_calibrated_into_a_whole_checkpoint(
    spanqa: Run, adapter: Path, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in adapter.iterdir()}
    assert spanqa("calibrate", adapter, "--data", OTHER, "--output", tmp_path / "whole")[0] == 0
    assert {path.name: path.read_bytes() for path in adapter.iterdir()} == before
    whole, adapted = (Reader.from_pretrained(each) for each in (tmp_path / "whole", adapter))
    assert whole.calibration is not None and adapted.calibration is None
    asked = [Example("q", "Who built it?", "The bridge was built by Ada in 1887.")]
    first, second = (each.predict(asked, n_best=4)[0] for each in (whole, adapted))
    assert [(s.start, s.end) for s in first.spans] == [(s.start, s.end) for s in second.spans]
    assert first.null_odds == pytest.approx(second.null_odds, abs=1e-4)


def test_an_export_is_calibrated_by_itself(
    spanqa: Run, tiny_exported_folder: Path, tmp_path: Path
) -> None:
    checkpoint = Path(shutil.copytree(tiny_exported_folder, tmp_path / "model"))
    export = checkpoint / EXPORTS / "onnx"
    before = {path.name: path.read_bytes() for path in export.iterdir()}
    own = (checkpoint / "config.json").read_bytes()
    status, _, error = spanqa("calibrate", export, "--data", OTHER, "--output", tmp_path / "copy")
    assert status == 2
    assert error.startswith(f"spanqa: {export}: is an export, which is calibrated where it lies")
    assert spanqa("calibrate", export, "--data", OTHER)[0] == 0
    after = {path.name: path.read_bytes() for path in export.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"config.json"}
    assert (checkpoint / "config.json").read_bytes() == own
    alone = Reader.from_pretrained(export)
    assert alone.backend.name == "ONNX Runtime fp32"
    assert alone.calibration is not None
    assert alone.calibration.fingerprint == load(OTHER).fingerprint
    # Beside its checkpoint it answers by the checkpoint's configuration, as torch does.
    assert Reader.from_pretrained(checkpoint, backend="onnx").calibration is None


def test_what_ran_the_model_is_said_and_written_nowhere_else(
    spanqa: Run, tiny_exported_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outs = []
    for name, backend in (("ONNX Runtime fp32", "onnx"), ("torch fp32", "torch")):
        words = ("evaluate", str(tiny_exported_folder), DATA, "--backend", backend, "--json")
        assert main([*words, "--output", str(tmp_path / backend)]) == 0
        captured = capsys.readouterr()
        assert f"backend: {name}" in captured.err
        outs.append(json.loads(captured.out))
    assert outs[0] == pytest.approx(outs[1], abs=1e-3)
    written = [
        json.loads((tmp_path / b / "predictions.json").read_text()) for b in ("onnx", "torch")
    ]
    assert written[0] == written[1]
