"""Fine-tuning with transformers.Trainer: ours are the batches, the validation and what is kept.

A run that is killed at any moment goes on from its last whole checkpoint and ends with the same
weights, bit for bit (same machine, same threads). Several processes that train together take the
batches that one would take, each its share.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import ExportableState

from spanqa import group
from spanqa.abstention import AT_ZERO
from spanqa.backends import TorchBackend
from spanqa.batches import IGNORED, LengthGroupedSampler, Rows
from spanqa.checkpoints import best_folder, keep, last_checkpoint
from spanqa.decoding import decode_all
from spanqa.errors import DataError
from spanqa.folders import write_sealed
from spanqa.model import SpanQAModel, SpanQAOutput
from spanqa.prediction import figures, score_windows
from spanqa.recipe import DecodingRecipe, TrainingRecipe
from spanqa.run import EpochPoint, LossPoint
from spanqa.windows import Windows
from spanqa.writing import writing

Say = Callable[[str], None]


@dataclass(frozen=True)
class History:
    """What a training run went through."""

    losses: tuple[LossPoint, ...]
    epochs: tuple[EpochPoint, ...]
    best_epoch: float
    best_step: int
    """At the end of that epoch."""
    seconds: float
    """In training steps, without validation and saving."""
    steps: int
    windows: int
    """Windows seen, epochs counted."""


class SpanTrainer(Trainer):
    """Trainer with our sampler, and official metrics as its evaluation."""

    def __init__(self, *args: Any, decoding: DecodingRecipe, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.decoding = decoding

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        # Processes take batches in turn: those of one step are one batch of a process alone, cut
        # up. Where one had too few, accelerate would give it the epoch's first windows again.
        together = self.args.train_batch_size * self.args.world_size
        rows = self.train_dataset
        assert isinstance(rows, Rows)
        return LengthGroupedSampler(
            rows.windows.lengths,
            together * self.args.gradient_accumulation_steps,
            self.args.seed,
            multiple_of=together if self.args.world_size > 1 else 1,
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        path = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        with writing(path, path):
            super()._save_checkpoint(model, trial)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Official metrics on the validation questions, at null threshold 0."""
        rows, model = self.eval_dataset, self.model
        assert isinstance(rows, Rows) and isinstance(model, SpanQAModel)
        scored = score_windows(
            TorchBackend(model, bf16=self.args.bf16),
            rows.windows,
            batch_size=self.decoding.batch_size,
            together=True,
        )
        predictions = decode_all(
            rows.windows,
            scored.scores,
            max_answer_length=self.decoding.max_answer_length,
            n_best=1,
        )
        scores = figures(rows.windows, predictions, AT_ZERO)
        metrics = {"eval_exact": scores.exact, "eval_f1": scores.f1}
        for name, part in (("has_ans", scores.has_answer), ("no_ans", scores.no_answer)):
            if part is not None:
                metrics[f"eval_{name}_exact"] = part.exact
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


class Clock(TrainerCallback, ExportableState):
    """Seconds spent in training steps; goes on after a resume."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.last = 0.0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"args": {"seconds": self.seconds}, "attributes": {}}

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Start."""
        self.last = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Add what the step took, its batch included."""
        now = time.perf_counter()
        self.seconds, self.last = self.seconds + now - self.last, now

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        """Leave validation out."""
        self.last = time.perf_counter()

    def on_save(self, *_: Any, **__: Any) -> None:
        """Leave saving out."""
        self.last = time.perf_counter()


class Keeper(TrainerCallback):
    """Keeps the weights of the best epoch, and the newest checkpoints, sealed.

    The loss is logged with every checkpoint and at the end of every epoch, as no checkpoint holds
    the trainer's sum since the last point: so curves do not depend on kills, and no point is of two
    epochs.
    """

    def __init__(self, folder: Path, save: Callable[[str], Any], say: Say) -> None:
        self.folder, self.save, self.say = folder, save, say

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the save at the end of an epoch until the epoch is validated."""
        if state.epoch == int(state.epoch) or state.global_step >= state.max_steps:
            control.should_save = False
        control.should_log = control.should_log or control.should_save

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save then, so that a checkpoint at the end of an epoch knows its figures."""
        control.should_log = control.should_save = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say how the epoch went; keep its weights if they are the best so far."""
        exact = [point["eval_exact"] for point in state.log_history if "eval_exact" in point]
        f1 = state.log_history[-1]["eval_f1"]
        self.say(f"  epoch {state.epoch:g}: validation exact {exact[-1]:.2f}, F1 {f1:.2f}")
        if exact[-1] > max(exact[:-1], default=-1.0) and state.is_world_process_zero:
            write_sealed(best_folder(self.folder, state.global_step), self.save)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seal the checkpoint once every process has written its part."""
        group.wait()
        if state.is_world_process_zero:
            keep(self.folder, state.global_step, state.log_history)


def train(
    model: SpanQAModel,
    windows: Windows,
    validation: Windows,
    recipe: TrainingRecipe,
    decoding: DecodingRecipe,
    *,
    seed: int,
    folder: Path,
    save: Callable[[str], Any],
    say: Say,
) -> History:
    """Fine-tune, or go on with what was killed in `folder`; the best weights are kept there.

    Args:
        model: encoder and new head.
        windows: training windows.
        validation: windows scored after each epoch, by exact match.
        recipe: how to train.
        decoding: how to decode in validation.
        seed: of shuffling and dropout.
        folder: run folder.
        save: writes the model's weights into a folder.
        say: prints a line.

    Raises:
        DataError: another number of processes began the run in `folder`.
        RunError: another of the processes that train together has ended.
        WriteError: a checkpoint cannot be written; the one before it is still there.
    """
    per_step = recipe.batch_size * recipe.gradient_accumulation * group.size()
    steps = math.ceil(math.ceil(len(windows) / per_step) * recipe.epochs)
    trainer = SpanTrainer(
        model=model,
        args=_arguments(recipe, seed, folder / "checkpoints", max(1, steps)),
        train_dataset=Rows(windows),
        data_collator=Rows(windows).collate,
        optimizers=(_optimizer(model, recipe), None),
        callbacks=[Clock(), Keeper(folder, save, say)],
        eval_dataset=Rows(validation),
        decoding=decoding,
        compute_loss_func=mean_over_step,
    )
    trainer.remove_callback(PrinterCallback)
    set_seed((seed + group.index()) % 2**32)  # processes drop out units of their own
    checkpoint = group.from_leader(lambda: last_checkpoint(folder, say))
    if checkpoint is not None:
        group.from_leader(lambda: require_as_many(checkpoint))
        say(f"  going on from {checkpoint.name.replace('-', ' at step ')} of {steps}")
    with group.said_who_is_missing():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    clock = next(c for c in trainer.callback_handler.callbacks if isinstance(c, Clock))
    seen = math.ceil(len(windows) * recipe.epochs)
    return _history(trainer.state.log_history, clock.seconds, trainer.state.global_step, seen)


def mean_over_step(
    outputs: SpanQAOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor
) -> torch.Tensor:
    """A batch's share of the mean loss over all windows of a step, whoever holds them.

    Args:
        outputs: with the mean loss over the batch.
        labels: (B,) as `Rows.collate` makes them.
        num_items_in_batch: windows that count in the step, of all its batches and processes.
    """
    assert outputs.loss is not None
    return outputs.loss * (labels.ne(IGNORED).sum() / num_items_in_batch)


def computes_bf16(precision: str) -> bool:
    """Whether the encoder runs in bfloat16; `auto` asks the hardware."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


def require_as_many(checkpoint: Path) -> None:
    """Refuse to go on with another number of processes, whose batches would be of another size.

    Raises:
        DataError: so many processes did not write the checkpoint.
    """
    writers = len(list(checkpoint.glob("rng_state*.pth")))  # the trainer writes one per process
    if writers != group.size():
        raise DataError(
            f"{checkpoint} was written by {_counted(writers)}, and {_counted(group.size())} would "
            f"take batches of another size; start {_counted(writers)}, or give another folder"
        )


def _counted(processes: int) -> str:
    return "one process" if processes == 1 else f"{processes} processes"


def _arguments(recipe: TrainingRecipe, seed: int, folder: Path, steps: int) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation,
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        lr_scheduler_type=recipe.schedule
        if recipe.warmup_ratio == 0 or recipe.schedule != "constant"
        else "constant_with_warmup",
        warmup_steps=math.ceil(recipe.warmup_ratio * steps),
        max_grad_norm=recipe.max_grad_norm,
        bf16=computes_bf16(recipe.precision),
        use_cpu=not torch.cuda.is_available(),
        ddp_backend="gloo" if group.size() > 1 and not torch.cuda.is_available() else None,
        ddp_find_unused_parameters=False if group.size() > 1 else None,
        ddp_timeout=int(group.PATIENCE.total_seconds()),
        eval_strategy="epoch",
        save_strategy="steps" if recipe.save_steps else "epoch",
        save_steps=recipe.save_steps or 500,
        save_total_limit=None,  # it goes by dates; `Keeper` goes by steps
        logging_steps=min(recipe.logging_steps, max(1, int(steps / max(1.0, recipe.epochs)))),
        report_to=list(recipe.report_to),
        seed=seed,
        remove_unused_columns=False,
        restore_callback_states_from_checkpoint=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=not (group.leads() and os.isatty(2)),
    )
    # One process, one device: transformers would use all GPUs that a process sees, with batches
    # that many times as large as the recipe's.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _optimizer(model: SpanQAModel, recipe: TrainingRecipe) -> torch.optim.AdamW:
    """AdamW; no weight decay on vectors (biases, layer norms), a rate of its own for the head."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = recipe.learning_rate
        if name.startswith("head.") and recipe.head_learning_rate is not None:
            rate = recipe.head_learning_rate
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()],
        fused=True,
    )


def _history(log: Sequence[dict[str, Any]], seconds: float, steps: int, windows: int) -> History:
    losses = tuple(
        LossPoint(
            point["step"],
            point["epoch"],
            point["loss"],
            point.get("grad_norm", math.nan),
            point["learning_rate"],
        )
        for point in log
        if "loss" in point
    )
    means, at = np.array([p.loss for p in losses]), np.array([p.step for p in losses])
    taken = np.diff(at, prepend=0)  # steps that each point is the mean of
    epochs: list[EpochPoint] = []
    for point in (point for point in log if "eval_exact" in point):
        within = (at > (epochs[-1].step if epochs else 0)) & (at <= point["step"])
        epochs.append(
            EpochPoint(
                epoch=point["epoch"],
                step=point["step"],
                train_loss=float(np.average(means[within], weights=taken[within])),
                exact=point["eval_exact"],
                f1=point["eval_f1"],
                has_ans_exact=point.get("eval_has_ans_exact"),
                no_ans_exact=point.get("eval_no_ans_exact"),
            )
        )
    best = max(epochs, key=lambda point: point.exact)
    return History(losses, tuple(epochs), best.epoch, best.step, seconds, steps, windows)
