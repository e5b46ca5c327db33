"""The commands of the command line: parse, call one function, print.

Whatever a command needs is imported inside it, so that help and errors are quick.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.types import PositiveInt

from spanqa import __version__, answering
from spanqa.arguments import (
    AS_TRAINED,
    DEFAULTS,
    AsJson,
    MaybeOutput,
    Output,
    Reading,
    RunValues,
    Values,
    fill_from_recipe,
    shown,
)
from spanqa.errors import RecipeError

if TYPE_CHECKING:
    from spanqa.metrics import Scores
    from spanqa.run import Comparison

app = App(
    name="spanqa",
    help="Extractive question answering: fine-tune span heads, compare them honestly, ask them.",
    help_epilogue="`--debug` anywhere shows the traceback of an error.",
    version=__version__,
    version_flags=["--version"],
    default_parameter=Parameter(negative=(), show_default=shown),
    suppress_keyboard_interrupt=False,
)


for _command in (answering.ask, answering.batch, answering.predict, answering.serve):
    app.command(_command)


@app.command(config=fill_from_recipe)
def compare(
    recipe: str = "demo",
    /,
    *,
    output: Output,
    workers: PositiveInt = 1,
    address: str | None = None,
    values: Values = DEFAULTS,
) -> None:
    """Train every head with every seed under one recipe, evaluate them alike, write a report.

    Running the same command again goes on where it was.

    Args:
        recipe: A YAML file, or a shipped recipe: demo, minilm-squad2, reader, spanbert-squad2.
        output: Folder of the runs and the report.
        workers: Runs at a time; more than one need the `ray` extra, and a GPU or processors for
            each.
        address: Ray cluster that runs them, such as `auto` or `HOST:6379`, whose machines all see
            the folder; this machine alone if left out.
        values: The recipe with the values given on the command line.
    """
    from spanqa import comparison

    found = comparison.compare(values, output, workers=workers, address=address)
    _report(found, output)


@app.command(config=fill_from_recipe)
def train(
    recipe: str = "demo",
    /,
    *,
    head: str,
    seed: int = 42,
    output: Output,
    values: RunValues = DEFAULTS,
) -> None:
    """Train and evaluate one head with one seed.

    Running the same command again goes on where it was.

    Args:
        recipe: A YAML file, or a shipped recipe: demo, minilm-squad2, reader, spanbert-squad2.
        head: softmax, joint, crf or span-crf.
        seed: Seed of initialisation, order and dropout.
        output: Folder of the run; the model is in its folder `model`.
        values: The recipe with the values given on the command line.
    """
    from spanqa import comparison, console

    one = replace(values, heads=(head,), seeds=(seed,))
    run = comparison.train_one(one, head, seed, output)
    console.print_metrics(run.metrics)
    console.print_paths([output / "model"])


@app.command
def evaluate(
    model: str,
    data: str,
    /,
    *,
    output: MaybeOutput = None,
    reading: Reading = AS_TRAINED,
    as_json: AsJson = False,
) -> None:
    """Answer the questions of labelled data; print the official metrics and how far to trust them.

    Args:
        model: Folder or hub id of a checkpoint; `default` for the reader that comes with spanqa.
        data: A SQuAD JSON, JSONL, CSV or Parquet file, or a hub id with its split.
        output: Folder for predictions.json, nbest_predictions.json, null_odds.json,
            reliability.json and risk_coverage.png.
        reading: How the model answers.
        as_json: Print JSON with the official script's keys, and nothing else.
    """
    from spanqa import console, evaluation

    found = evaluation.evaluate(model, data, output=output, **vars(reading))
    console.print_backend(found.backend)
    if found.calibrated_on_these:
        console.complain(f"{model} was calibrated on these very questions; its figures flatter it")
    _print_scores(found.scores, as_json)
    if not as_json:
        console.print_reliability(found.reliability)


@app.command
def calibrate(
    model: str,
    /,
    *,
    data: str,
    objective: Literal["exact", "f1"] = "exact",
    min_precision: float | None = None,
    output: MaybeOutput = None,
    batch_size: PositiveInt = 8,
) -> None:
    """Fit temperature and null threshold on labelled questions and store them in a checkpoint.

    Args:
        model: Folder of a spanqa checkpoint; with --output any checkpoint, also from the hub.
        data: Questions that are not to be reported on: a SQuAD JSON, JSONL, CSV or Parquet file, or
            a hub id with its split.
        objective: What the null threshold is to be best for.
        min_precision: From now on give only answers of which at least this share are right, as far
            as these questions can show it.
        output: New folder for the calibrated checkpoint; it is changed where it lies if left out.
        batch_size: Windows of the longest kind in a batch.
    """
    from spanqa import console, evaluation

    found = evaluation.calibrate(
        model,
        data,
        output=output,
        objective=objective,
        min_precision=min_precision,
        batch_size=batch_size,
    )
    console.print_calibration(found)
    console.print_paths([output or model])


@app.command
def export(
    model: str = "default",
    /,
    *,
    format: Literal["onnx", "openvino"],
    int8: bool = False,
    data: str,
    questions: PositiveInt = 500,
    output: MaybeOutput = None,
    min_agreement: float | None = None,
    max_em_loss: float | None = None,
    batch_size: PositiveInt = 8,
) -> None:
    """Export a model for ONNX Runtime or OpenVINO, and keep it if it answers as the model does.

    Args:
        model: Folder or hub id of a checkpoint; `default` for the reader that comes with spanqa.
        format: What is to run it.
        int8: Quantise the encoder to eight bits.
        data: Labelled questions to compare on: a SQuAD JSON, JSONL, CSV or Parquet file, or a hub
            id with its split.
        questions: How many of them, drawn with a fixed seed.
        output: Folder to write, which is all that answering needs; `exports/` and the format's name
            in the model's own if left out.
        min_agreement: Least share of questions answered as torch does in fp32; 0.999, and 0.97 for
            int8 and bf16.
        max_em_loss: Most points of exact match that may be lost; 0.1, and 0.3 for int8 and bf16.
        batch_size: Windows of the longest kind in a batch.
    """
    from spanqa import console
    from spanqa.export import export as write

    folder, manifest = write(
        model,
        format=format,
        int8=int8,
        data=data,
        questions=questions,
        output=output,
        min_agreement=min_agreement,
        max_em_loss=max_em_loss,
        batch_size=batch_size,
    )
    console.print_trials(manifest)
    console.print_paths([folder])


@app.command
def score(
    data: str,
    predictions: Path,
    /,
    *,
    metric: Literal["squad2.0", "squad1.1"] = "squad2.0",
    na_prob: Path | None = None,
    na_prob_thresh: float = 1.0,
    precision_recall: bool = False,
    strict: bool = False,
    as_json: AsJson = False,
) -> None:
    """Score a file of predictions as the official SQuAD script does.

    Args:
        data: A SQuAD JSON, JSONL, CSV or Parquet file, or a hub id with its split.
        predictions: JSON file of question ids and answer texts, "" for no answer.
        metric: Which of the two official scripts.
        na_prob: JSON file of question ids and probabilities of no answer (SQuAD 2.0).
        na_prob_thresh: No answer is taken where that probability exceeds this (SQuAD 2.0).
        precision_recall: Add the average precisions; needs the probabilities (SQuAD 2.0).
        strict: Refuse what the script lets pass: questions without a prediction, foreign ids,
            scores that are no probabilities, and more.
        as_json: Print exactly what the script prints.
    """
    from spanqa import console, metrics
    from spanqa.data import load

    for option, given in (
        ("--na-prob", na_prob is not None),
        ("--na-prob-thresh", na_prob_thresh != 1.0),
        ("--precision-recall", precision_recall),
    ):
        if given and metric == "squad1.1":
            raise RecipeError(f"{option} is for SQuAD 2.0; leave it out with --metric squad1.1")
    examples = load(data, misaligned="keep").examples
    texts = metrics.read_predictions(predictions)
    if metric == "squad1.1":
        first = metrics.evaluate_v1(examples, texts, strict=strict)
        if first.missing:
            console.complain(f"{len(first.missing)} questions without a prediction score 0")
        if as_json:
            console.print_json(first.as_dict(), indent=None)
        else:
            console.print_metrics(first.as_dict(), metrics.signature(first))
        return
    scores = metrics.evaluate(
        examples,
        texts,
        na_probs=metrics.read_na_probs(na_prob) if na_prob else None,
        threshold=na_prob_thresh,
        strict=strict,
        precision_recall=precision_recall,
    )
    _print_scores(scores, as_json)


@app.command
def check(
    file: str,
    /,
    *,
    eval: str | None = None,
    encoder: str | None = None,
    max_length: int = 384,
    every: Annotated[bool, Parameter(name="--all")] = False,
) -> int:
    """List what is wrong with a file of questions; exit 1 where something is.

    Args:
        file: A SQuAD JSON, JSONL, CSV or Parquet file, or a hub id with its split.
        eval: Evaluation questions, whose contexts must not occur in the file.
        encoder: Folder or hub id of an encoder to count tokens with; words are counted without.
        max_length: Tokens in a window.
        every: List every problem, not the first ten of each kind.
    """
    from spanqa import console
    from spanqa.check import check as find

    found = find(file, eval_source=eval, tokenizer=_tokenizer(encoder), max_length=max_length)
    console.print_findings(found, every=every)
    return 0 if found.ok else 1


@app.command
def report(folder: Path, /) -> None:
    """Write the report of a comparison again, as far as its runs are finished.

    Args:
        folder: The folder that `spanqa compare` wrote.
    """
    from spanqa.run import Comparison

    _report(Comparison.load(folder), folder)


def _report(comparison: Comparison, folder: Path) -> None:
    from spanqa import console
    from spanqa.report import comparison_rows, write_report

    written = write_report(comparison, folder)
    console.print_comparison(comparison_rows(comparison))
    console.print_paths([written.html])


def _print_scores(scores: Scores, as_json: bool) -> None:
    from spanqa import console, metrics

    if as_json:
        console.print_json(scores.as_dict())
    else:
        console.print_metrics(scores.as_dict(), metrics.signature(scores))


def _tokenizer(encoder: str | None) -> Any:
    if encoder is None:
        return None
    from spanqa.model import resolve_encoder
    from spanqa.tokenizer import load_tokenizer

    return load_tokenizer(resolve_encoder(encoder))
