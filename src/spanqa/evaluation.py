"""Files of questions answered by a checkpoint: evaluated, predicted, calibrated on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from spanqa.abstention import Rule, rule_for
from spanqa.calibration import calibrate as fit
from spanqa.calibration import store
from spanqa.choice import is_checkpoint
from spanqa.data import Corpus, load, require_labels
from spanqa.decoding import Prediction
from spanqa.errors import ModelError, WriteError
from spanqa.figure import risk_coverage_curve
from spanqa.folders import replace_file
from spanqa.manifest import ANSWERING, EXPORTS, exports_of, is_export
from spanqa.metrics import Scores
from spanqa.model import SpanQAConfig
from spanqa.prediction import figures, score_windows, write_predictions
from spanqa.reader import BATCH_SIZE, Reader
from spanqa.records import dump, parse, read_json, write_atomic
from spanqa.reliability import Reliability, reliability
from spanqa.run import Calibration
from spanqa.windows import Windows
from spanqa.writing import is_free


@dataclass(frozen=True)
class Evaluation:
    """What a checkpoint's answers to labelled questions are worth."""

    scores: Scores
    reliability: Reliability
    predictions: tuple[Prediction, ...] = field(repr=False)
    rule: Rule
    calibrated_on_these: bool
    """Whether the checkpoint was calibrated on these very questions, so that figures flatter."""
    backend: str = ""
    """Name of what ran the model."""

    def write(self, folder: Path) -> None:
        """Write predictions, n-best, null odds, reliability.json and risk_coverage.png."""
        write_predictions(self.predictions, folder, self.rule)
        write_atomic(folder / "reliability.json", dump(asdict(self.reliability), indent=1))
        write_atomic(folder / "risk_coverage.png", risk_coverage_curve(*self.outcomes()))

    def outcomes(self) -> tuple[list[float], list[bool]]:
        """Of every question, the probability of what was said, and whether it was right."""
        return outcomes(self.scores, self.predictions)


def outcomes(scores: Scores, predictions: tuple[Prediction, ...]) -> tuple[list[float], list[bool]]:
    """Of every question, the probability of the answer or "no answer", and whether it is right."""
    pairs = list(zip(scores.questions, predictions, strict=True))
    chances = [
        p.spans[0].probability if score.answered else p.null_probability for score, p in pairs
    ]
    return chances, [score.exact == 1.0 for score, _ in pairs]


def evaluate_windows(
    windows: Windows, predictions: list[Prediction], rule: Rule, *, calibrated_on_these: bool
) -> Evaluation:
    """Official metrics and reliability of decoded predictions."""
    scores, found = figures(windows, predictions, rule), tuple(predictions)
    return Evaluation(
        scores,
        reliability(
            *outcomes(scores, found),
            [score.answered for score in scores.questions],
            [p.null_odds for p in found],
            [score.has_answer for score in scores.questions],
        ),
        found,
        rule,
        calibrated_on_these,
    )


def evaluate(
    model: str,
    data: str,
    *,
    output: Path | None = None,
    batch_size: int = BATCH_SIZE,
    min_precision: float | None = None,
    backend: str = "auto",
) -> Evaluation:
    """Answer labelled questions, score them officially, and write the predictions if wanted.

    Args:
        model: folder or hub id of a checkpoint.
        data: a source that `spanqa.data.load` takes.
        output: folder for what `Evaluation.write` writes.
        batch_size: windows of the longest kind in a batch.
        min_precision: as in `Reader`.
        backend: as in `Reader.from_pretrained`.

    Raises:
        SpanQAError: model or data cannot be used, or the data has no answers to score by.
    """
    corpus = _labelled(data)
    reader = Reader.from_pretrained(
        model, backend=backend, batch_size=batch_size, min_precision=min_precision
    )
    windows = reader.windows(corpus.examples)
    seen = reader.calibration is not None and reader.calibration.fingerprint == corpus.fingerprint
    predictions = reader.decode(windows, reader.score(windows))
    found = evaluate_windows(windows, predictions, reader.rule, calibrated_on_these=seen)
    found = replace(found, backend=reader.backend.name)
    if output is not None:
        found.write(output)
    return found


def predict(
    model: str,
    data: str,
    output: Path,
    *,
    batch_size: int = BATCH_SIZE,
    min_precision: float | None = None,
    backend: str = "auto",
) -> str:
    """Answer questions and write predictions, n-best and null odds into a folder.

    Args:
        model: folder or hub id of a checkpoint.
        data: a source that `spanqa.data.load` takes; needs no answers.
        output: folder for the prediction files.
        batch_size: windows of the longest kind in a batch.
        min_precision: as in `Reader`.
        backend: as in `Reader.from_pretrained`.

    Returns:
        Name of the backend that ran the model.

    Raises:
        SpanQAError: model or data cannot be used.
    """
    corpus = load(data, misaligned="keep")
    reader = Reader.from_pretrained(
        model, backend=backend, batch_size=batch_size, min_precision=min_precision
    )
    write_predictions(reader.predict(corpus.examples), output, reader.rule)
    return reader.backend.name


def calibrate(
    model: str,
    data: str,
    *,
    output: Path | None = None,
    objective: Literal["exact", "f1"] = "exact",
    min_precision: float | None = None,
    batch_size: int = BATCH_SIZE,
) -> Calibration:
    """Fit temperature and null threshold on labelled questions and store them in a checkpoint.

    Args:
        model: folder of a checkpoint, whose exports follow, or of an export; any checkpoint where
            `output` is given, also from the hub.
        data: questions that are not to be reported on; a source that `spanqa.data.load` takes.
        output: new or empty folder for the calibrated checkpoint; `model` itself if left out.
        objective: what the null threshold is to be best for.
        min_precision: what the checkpoint goes by from now on, in place of the null threshold.
        batch_size: windows of the longest kind in a batch.

    Raises:
        SpanQAError: model or data cannot be used, or the model cannot be changed where it lies.
    """
    if output is not None and is_export(Path(model)):
        raise ModelError(
            f"{model}: is an export, which is calibrated where it lies; leave out --output, or "
            "name the checkpoint that it was made of"
        )
    if min_precision is not None:
        rule_for(min_precision, ())  # refuses what is out of range
    if output is not None and not is_free(output):
        raise WriteError(f"{output}: holds other things; name a new folder with --output")
    corpus = _labelled(data, "error")  # it is fitted on where the answers stand
    kind = "auto" if is_export(Path(model)) else "torch"
    reader = Reader.from_pretrained(model, backend=kind, batch_size=batch_size)
    if output is None and not is_checkpoint(Path(model)):
        raise ModelError(
            f"{model}: is not the folder of a spanqa checkpoint; name a folder for a calibrated "
            "copy with --output"
        )
    windows = reader.windows(corpus.examples)
    scored = score_windows(reader.backend, windows, batch_size=batch_size)
    calibration = fit(
        windows,
        scored.scores,
        max_answer_length=reader.config.max_answer_length,
        objective=objective,
    )
    store(calibration, reader.config)
    reader.config.min_precision = min_precision
    if output is None:
        exports = (Path(model) / EXPORTS / kind for kind in exports_of(Path(model)))
        for folder in (Path(model), *exports):
            _restate(folder / "config.json", reader.config)
    else:
        reader.save_pretrained(output)
    return calibration


def _restate(path: Path, config: SpanQAConfig) -> None:
    """Write into a config.json how to answer, and leave the rest as it is.

    What else `config` says need not be what the file says: that of an adapter's encoder is read
    from the encoder's own folder.
    """
    said = parse(config.to_json_string(), str(path))
    written = read_json(path) | {name: said[name] for name in ANSWERING}
    replace_file(path, dump(written, indent=2))


def _labelled(data: str, misaligned: Literal["keep", "error"] = "keep") -> Corpus:
    corpus = load(data, misaligned=misaligned)
    require_labels(corpus)
    return corpus
