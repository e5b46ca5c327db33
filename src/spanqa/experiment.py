"""One head with one seed: trained, calibrated, evaluated, and written into its run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from spanqa import group
from spanqa.abstention import AT_ZERO, Rule
from spanqa.adapter import Adapter, add_lora
from spanqa.backends import TorchBackend
from spanqa.calibration import calibrate, store
from spanqa.checkpoints import best_folder, discard
from spanqa.decoding import decode_all
from spanqa.environment import PeakMemory, describe_environment
from spanqa.folders import write_sealed
from spanqa.metrics import leaky_exact
from spanqa.model import SpanQAModel
from spanqa.prediction import (
    Scored,
    best_text,
    decode_with,
    figures,
    score_windows,
    write_predictions,
)
from spanqa.preparation import Prepared
from spanqa.recipe import EncoderRecipe, Recipe
from spanqa.run import Calibration, Cost, Run
from spanqa.training import History, Say, computes_bf16, train
from spanqa.windows import Windows


def one_run(
    recipe: Recipe, head: str, seed: int, prepared: Prepared, folder: Path, *, say: Say
) -> Run | None:
    """Train one head, calibrate it, evaluate it and write its run folder.

    Args:
        recipe: the setting, the same for all heads.
        head: a name in `spanqa.heads.HEADS`.
        seed: of the head's first weights, of shuffling and of dropout.
        prepared: windows of the three parts.
        folder: run folder; a run that was killed there goes on.
        say: prints a line of progress.

    Returns:
        The run; None in a process that only helps another one to train.
    """
    transformers.set_seed(seed)
    memory = PeakMemory()
    model = _new_model(recipe, head)
    _make_trainable(model, recipe.encoder)
    history = train(
        model,
        prepared.train,
        prepared.eval if recipe.training.validate_on == "eval" else prepared.calibration,
        recipe.training,
        recipe.decoding,
        seed=seed,
        folder=folder,
        save=_saver(model, recipe.encoder),
        say=say,
    )
    peak = memory.megabytes()
    group.wait()  # the best weights are written by one and read by all
    best = _best_model(recipe, head, best_folder(folder, history.best_step))
    torch.nn.Module.to(best, model.device)
    run = _evaluate(recipe, head, seed, best, prepared, folder, history, peak)
    group.wait()  # nobody reads what is removed now
    if run is None:
        return None
    discard(folder)
    say(f"  evaluation: exact {run.metrics['exact']:.2f}, F1 {run.metrics['f1']:.2f}")
    return run


def _new_model(recipe: Recipe, head: str) -> SpanQAModel:
    return SpanQAModel.from_encoder(
        recipe.encoder.name,
        head,
        revision=recipe.encoder.revision,
        max_length=recipe.windows.max_length,
        stride=recipe.windows.stride,
        max_question_length=recipe.windows.max_question_length,
        max_answer_length=recipe.decoding.max_answer_length,
        hidden_dropout=recipe.encoder.hidden_dropout,
        attention_dropout=recipe.encoder.attention_dropout,
    )


def _make_trainable(model: SpanQAModel, encoder: EncoderRecipe) -> None:
    """Leave untrained what the recipe wants untrained."""
    model.freeze_lowest(encoder.frozen_layers)
    if encoder.lora_rank is not None:
        add_lora(model, encoder.lora_rank, encoder.lora_alpha or 2 * encoder.lora_rank)


def _saver(model: SpanQAModel, encoder: EncoderRecipe) -> Callable[[str], Any]:
    """What writes the weights that are trained now into a folder."""
    if encoder.lora_rank is None:
        return model.save_pretrained
    return lambda folder: Adapter.of(model, encoder.name, encoder.revision).save(folder)


def _best_model(recipe: Recipe, head: str, folder: Path) -> SpanQAModel:
    """The model with the best weights, an adapter merged into its encoder."""
    if recipe.encoder.lora_rank is None:
        return SpanQAModel.from_pretrained(folder)
    model = _new_model(recipe, head)
    Adapter.load(folder).merge_into(model)
    return model


def _evaluate(
    recipe: Recipe,
    head: str,
    seed: int,
    model: SpanQAModel,
    prepared: Prepared,
    folder: Path,
    history: History,
    peak: float,
) -> Run | None:
    """Score with every process, and leave the rest to the leading one."""
    backend = TorchBackend(model, bf16=computes_bf16(recipe.training.precision))
    calibrating, scored = (
        score_windows(backend, windows, batch_size=recipe.decoding.batch_size, together=True)
        for windows in (prepared.calibration, prepared.eval)
    )
    if not group.leads():
        return None
    calibration = _calibrate(model, prepared, calibrating)
    _write_model(recipe, model, prepared.tokenizer, folder, history.best_step)
    predictions = decode_with(model.config, prepared.eval, scored, recipe.decoding.n_best)
    rule = Rule(calibration.null_threshold)
    write_predictions(predictions, folder, rule)
    run = Run(
        head=head,
        seed=seed,
        losses=history.losses,
        epochs=history.epochs,
        best_epoch=history.best_epoch,
        metrics=figures(prepared.eval, predictions, rule).as_dict(),
        uncalibrated=figures(prepared.eval, predictions, AT_ZERO).as_dict(),
        leaky_exact=_leaky_exact(prepared.eval, scored, recipe.decoding.max_answer_length),
        calibration=calibration,
        cost=_cost(model, prepared, history, scored, peak),
        environment=describe_environment(
            recipe, prepared.fingerprints, prepared.questions, backend.bf16
        ),
        predictions={p.id: rule.text(p) for p in predictions},
        best_spans={p.id: best_text(p) for p in predictions},
        null_odds={p.id: p.null_odds for p in predictions},
    )
    run.save(folder)
    return run


def _write_model(
    recipe: Recipe, model: SpanQAModel, tokenizer: Any, folder: Path, best_step: int
) -> None:
    """The calibrated model as an ordinary checkpoint, and its adapter if it was trained as one."""

    def save_model(path: str) -> None:
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)

    def save_adapter(path: str) -> None:
        Adapter.load(best_folder(folder, best_step)).save(path)
        model.config.save_pretrained(path)

    write_sealed(folder / "model", save_model)
    if recipe.encoder.lora_rank is not None:
        write_sealed(folder / "adapter", save_adapter)


def _calibrate(model: SpanQAModel, prepared: Prepared, scored: Scored) -> Calibration:
    """Fit on the calibration questions and store the fit in the model's configuration."""
    calibration = calibrate(
        prepared.calibration, scored.scores, max_answer_length=model.config.max_answer_length
    )
    store(calibration, model.config)
    return calibration


def _leaky_exact(windows: Windows, scored: Scored, max_answer_length: int) -> float:
    """Exact match as the course report counted it, from each text's first window alone."""
    first = decode_all(
        windows,
        scored.scores,
        max_answer_length=max_answer_length,
        n_best=1,
        first_window_only=True,
    )
    return leaky_exact(windows.examples, {p.id: AT_ZERO.text(p) for p in first})


def _cost(
    model: SpanQAModel, prepared: Prepared, history: History, scored: Scored, peak: float
) -> Cost:
    windows_per_question = len(prepared.train) / len(prepared.train.examples)
    return Cost(
        train_seconds=history.seconds,
        train_windows=history.windows,
        train_batches_per_second=history.steps / history.seconds,
        train_questions_per_second=history.windows / history.seconds / windows_per_question,
        eval_seconds=scored.seconds,
        eval_windows=len(prepared.eval),
        eval_batches_per_second=scored.batches / scored.seconds,
        eval_questions_per_second=len(prepared.eval.examples) / scored.seconds,
        peak_memory_mb=peak,
        head_parameters=sum(p.numel() for p in model.head.parameters()),
        total_parameters=sum(p.numel() for p in model.parameters()),
    )
