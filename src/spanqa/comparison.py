"""Heads x seeds under one recipe, into one folder; what was killed goes on where it was."""

from __future__ import annotations

import logging
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from spanqa.calibration import calibrate
from spanqa.data import Corpus, load, require_labels, sample, split_by_article
from spanqa.decoding import decode_all
from spanqa.environment import PeakMemory, describe_environment
from spanqa.errors import DataError
from spanqa.example import Example
from spanqa.metrics import leaky_exact
from spanqa.model import SpanQAModel, resolve_encoder
from spanqa.prediction import best_text, figures, score_windows, write_predictions
from spanqa.recipe import Recipe
from spanqa.records import write_atomic
from spanqa.run import Comparison, Cost, Question, Run, run_folder, write_questions
from spanqa.tokenizer import load_tokenizer
from spanqa.training import Say, computes_bf16, train, write_folder
from spanqa.windows import Windows, cut


@dataclass(frozen=True)
class Prepared:
    """Windows of the three parts, the same for every head and seed."""

    train: Windows
    calibration: Windows
    eval: Windows
    tokenizer: Any
    fingerprints: dict[str, str]


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def compare(recipe: Recipe, output: Path, *, say: Say = say) -> Comparison:
    """Train and evaluate every head with every seed; finished runs in `output` are kept.

    Args:
        recipe: what to compare.
        output: folder; made if it is not there, continued if it holds the same recipe.
        say: prints a line of progress.

    Raises:
        SpanQAError: data, encoder or recipe cannot be used, or `output` holds another recipe.
    """
    claim(recipe, output)
    wanted = [(head, seed) for seed in recipe.seeds for head in recipe.heads]
    missing = [(h, s) for h, s in wanted if not (run_folder(output, h, s) / "run.json").exists()]
    if missing:
        prepared = prepare(recipe, say)
        write_questions(output / "questions.jsonl", _questions(prepared.eval))
        for head, seed in wanted:
            if (head, seed) in missing:
                say(f"{head}, seed {seed}")
                one_run(recipe, head, seed, prepared, run_folder(output, head, seed), say=say)
    return Comparison.load(output)


def train_one(recipe: Recipe, head: str, seed: int, output: Path, *, say: Say = say) -> Run:
    """Train and evaluate one head with one seed, as `compare` would, in the folder `output`.

    Raises:
        SpanQAError: as `compare`.
    """
    claim(recipe, output)
    if (output / "run.json").exists():
        return Run.load(output)
    return one_run(recipe, head, seed, prepare(recipe, say), output, say=say)


def claim(recipe: Recipe, output: Path) -> None:
    """Write the recipe into the folder, or see that the one there is the same.

    Raises:
        DataError: the folder holds another recipe's runs.
    """
    path = output / "recipe.yaml"
    if path.exists():
        if Recipe.from_yaml(path).signature() != recipe.signature():
            raise DataError(
                f"{path} is another recipe than the one asked for; "
                "give --output another folder, or remove this one"
            )
        return
    output.mkdir(parents=True, exist_ok=True)
    write_atomic(path, recipe.to_yaml().encode())


def prepare(recipe: Recipe, say: Say) -> Prepared:
    """Load, split, sample, tokenise and cut; all that heads and seeds have in common."""
    data = recipe.data
    source = load(data.train, misaligned=data.misaligned)
    require_labels(source)
    training, calibration = _split(recipe, source)
    corpus = load(data.eval, misaligned="keep")
    require_labels(corpus)
    evaluation = corpus.examples
    if data.eval_sample is not None:
        evaluation = sample(evaluation, data.eval_sample, data.sample_seed)
    _say_what_was_loaded(source, training, calibration, evaluation, say)

    tokenizer = load_tokenizer(resolve_encoder(recipe.encoder.name), recipe.encoder.revision)
    parts = [cut(part, tokenizer, recipe.windows) for part in (training, calibration, evaluation)]
    if parts[0].lost:
        say(f"  {len(parts[0].lost)} training answers fit into no window and train as unanswerable")
    fingerprints = {"train": source.fingerprint, "eval": corpus.fingerprint}
    return Prepared(*parts, tokenizer, fingerprints)


def _split(recipe: Recipe, source: Corpus) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Training and calibration questions, both drawn down to the wanted sample."""
    data = recipe.data
    if data.calibration is not None:
        named = load(data.calibration, misaligned=data.misaligned)
        require_labels(named)
        training, calibration = source.examples, named.examples
    else:
        training, calibration = split_by_article(
            source.examples, data.calibration_fraction, data.sample_seed
        )
    if data.sample is not None:
        training = sample(training, data.sample, data.sample_seed)
        wanted = max(1, round(data.sample * data.calibration_fraction))
        if data.calibration is None and wanted < len(calibration):
            calibration = sample(calibration, wanted, data.sample_seed)
    return training, calibration


def _say_what_was_loaded(
    source: Corpus,
    training: tuple[Example, ...],
    calibration: tuple[Example, ...],
    evaluation: tuple[Example, ...],
    say: Say,
) -> None:
    if source.dropped or source.realigned:
        say(f"  {source.source}: {len(source.dropped)} dropped, {len(source.realigned)} realigned")
    parts = {"training": training, "calibration": calibration, "evaluation": evaluation}
    counts = (
        f"{len(part)} {name} ({sum(not e.answers for e in part)} unanswerable)"
        for name, part in parts.items()
    )
    say("questions: " + ", ".join(counts))
    shared = {e.context for e in training} & {e.context for e in evaluation}
    if shared:
        say(f"warning: {len(shared)} texts are in the training and in the evaluation part")


def one_run(
    recipe: Recipe, head: str, seed: int, prepared: Prepared, folder: Path, *, say: Say
) -> Run:
    """Train one head, calibrate it, evaluate it and write its run folder."""
    transformers.set_seed(seed)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    memory = PeakMemory()
    model = _new_model(recipe, head)
    validation = prepared.eval if recipe.training.validate_on == "eval" else prepared.calibration
    history = train(
        model,
        prepared.train,
        validation,
        recipe.training,
        recipe.decoding,
        seed=seed,
        folder=folder,
        say=say,
    )
    peak = memory.megabytes()
    device = model.device
    model = SpanQAModel.from_pretrained(folder / "best").to(device)
    run = _evaluate(recipe, head, seed, model, prepared, folder, history, peak)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    shutil.rmtree(folder / "best", ignore_errors=True)
    say(f"  evaluation: exact {run.metrics['exact']:.2f}, F1 {run.metrics['f1']:.2f}")
    return run


def _new_model(recipe: Recipe, head: str) -> SpanQAModel:
    dropouts = {
        "hidden_dropout_prob": recipe.encoder.hidden_dropout,
        "attention_probs_dropout_prob": recipe.encoder.attention_dropout,
    }
    return SpanQAModel.from_encoder(
        recipe.encoder.name,
        head,
        revision=recipe.encoder.revision,
        max_length=recipe.windows.max_length,
        stride=recipe.windows.stride,
        max_question_length=recipe.windows.max_question_length,
        max_answer_length=recipe.decoding.max_answer_length,
        **{name: value for name, value in dropouts.items() if value is not None},
    )


def _evaluate(
    recipe: Recipe,
    head: str,
    seed: int,
    model: SpanQAModel,
    prepared: Prepared,
    folder: Path,
    history: Any,
    peak: float,
) -> Run:
    decoding = recipe.decoding
    batching = {"batch_size": decoding.batch_size, "bf16": computes_bf16(recipe.training.precision)}
    scored = score_windows(model, prepared.calibration, **batching)
    calibration = calibrate(
        prepared.calibration, scored.scores, max_answer_length=decoding.max_answer_length
    )
    model.config.temperature = calibration.temperature
    model.config.null_threshold = calibration.null_threshold

    def save(path: str) -> None:
        model.save_pretrained(path)
        prepared.tokenizer.save_pretrained(path)

    write_folder(folder / "model", save)
    scored = score_windows(model, prepared.eval, **batching)
    decode = {"max_answer_length": decoding.max_answer_length, "temperature": calibration.temperature}
    predictions = decode_all(prepared.eval, scored.scores, n_best=decoding.n_best, **decode)
    first = decode_all(prepared.eval, scored.scores, n_best=1, first_window_only=True, **decode)
    threshold = calibration.null_threshold
    write_predictions(predictions, folder, null_threshold=threshold)
    head_parameters = sum(p.numel() for p in model.head.parameters())
    cost = Cost(
        train_seconds=history.seconds,
        train_windows=history.windows,
        train_batches_per_second=history.steps / history.seconds,
        train_questions_per_second=history.windows
        / history.seconds
        * (len(prepared.train.examples) / len(prepared.train)),
        eval_seconds=scored.seconds,
        eval_windows=len(prepared.eval),
        eval_batches_per_second=scored.batches / scored.seconds,
        eval_questions_per_second=len(prepared.eval.examples) / scored.seconds,
        peak_memory_mb=peak,
        head_parameters=head_parameters,
        total_parameters=sum(p.numel() for p in model.parameters()),
    )
    run = Run(
        head=head,
        seed=seed,
        losses=history.losses,
        epochs=history.epochs,
        best_epoch=history.best_epoch,
        metrics=figures(prepared.eval, predictions, null_threshold=threshold).as_dict(),
        uncalibrated=figures(prepared.eval, predictions).as_dict(),
        leaky_exact=leaky_exact(prepared.eval.examples, {p.id: p.answer() for p in first}),
        calibration=calibration,
        cost=cost,
        environment=describe_environment(recipe, prepared.fingerprints, batching["bf16"]),
        predictions={p.id: p.answer(threshold) for p in predictions},
        best_spans={p.id: best_text(p) for p in predictions},
        null_odds={p.id: p.null_odds for p in predictions},
    )
    run.save(folder)
    return run


def _questions(windows: Windows) -> list[Question]:
    return [
        Question(
            example.id,
            example.article,
            example.question,
            example.context,
            tuple(answer.text for answer in example.answers),
            int(windows.first[e + 1] - windows.first[e]),
        )
        for e, example in enumerate(windows.examples)
    ]
