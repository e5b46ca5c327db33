"""One recipe describes one comparison: a dataclass per concern, YAML in and out.

The field docs below are the help texts of the command line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

HEADS = ("softmax", "joint", "crf", "span-crf")


@dataclass(frozen=True)
class DataRecipe:
    """Where the questions come from."""

    train: str = "synthetic:train"
    """Training questions: a SQuAD JSON, JSONL, CSV or Parquet file, a hub id, or `synthetic:train`."""
    eval: str = "synthetic:eval"
    """Questions that the reported figures are measured on."""
    calibration: str | None = None
    """Questions that thresholds and temperature are fitted on; cut from `train` by article if empty."""
    calibration_fraction: float = 0.1
    """Share of the articles of `train` set aside for calibration when `calibration` is empty."""
    sample: int | None = None
    """Number of training questions drawn at random; all of them if empty."""
    sample_seed: int = 42
    """Seed of that draw and of the calibration split."""
    eval_sample: int | None = None
    """Number of evaluation questions drawn at random; all of them if empty."""
    misaligned: Literal["error", "drop", "realign"] = "error"
    """What to do with a training answer whose text is not at its offset."""


@dataclass(frozen=True)
class WindowRecipe:
    """How a long text is cut into windows."""

    max_length: int = 384
    """Tokens in a window, question and special tokens included."""
    stride: int = 128
    """Context tokens that two neighbouring windows share."""
    max_question_length: int = 64
    """Tokens kept of a question."""


@dataclass(frozen=True)
class EncoderRecipe:
    """Which pretrained encoder is fine-tuned."""

    name: str = "offline"
    """Hub id or folder of the encoder; `offline` is the one that the `offline` extra installs."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    hidden_dropout: float | None = None
    """Dropout of the hidden states; the encoder's own value if empty."""
    attention_dropout: float | None = None
    """Dropout of the attention weights; the encoder's own value if empty."""


@dataclass(frozen=True)
class TrainingRecipe:
    """How it is fine-tuned: the same for every head."""

    epochs: float = 6
    """Passes over the training questions."""
    batch_size: int = 8
    """Windows per device and step."""
    gradient_accumulation: int = 1
    """Batches added up before each step."""
    learning_rate: float = 2e-5
    """Peak learning rate of AdamW."""
    head_learning_rate: float | None = None
    """Peak learning rate of the head's own parameters; `learning_rate` if empty."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Course of the learning rate after warm-up."""
    warmup_ratio: float = 0.0
    """Share of the steps over which the learning rate rises."""
    weight_decay: float = 0.0
    """AdamW's weight decay, not applied to biases and layer norms."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the encoder; `auto` takes bf16 where the hardware computes in it."""
    validate_on: Literal["calibration", "eval"] = "calibration"
    """Questions scored after each epoch, by which the best checkpoint is chosen."""
    logging_steps: int = 50
    """Steps between two points of the training curve."""
    save_steps: int | None = None
    """Steps between two resumable checkpoints; one per epoch if empty."""
    report_to: tuple[str, ...] = ()
    """Trackers of transformers, such as `tensorboard`."""


@dataclass(frozen=True)
class DecodingRecipe:
    """How scores become answers."""

    max_answer_length: int = 30
    """Tokens in the longest answer."""
    n_best: int = 20
    """Answers kept for each question."""
    batch_size: int = 32
    """Windows per device in evaluation."""


@dataclass(frozen=True)
class Recipe:
    """Heads x seeds on one encoder under one setting."""

    name: str = "demo"
    """Shown in the report."""
    heads: tuple[str, ...] = ("softmax", "crf", "span-crf")
    """Heads to compare: softmax, joint, crf, span-crf."""
    seeds: tuple[int, ...] = (42,)
    """Seeds; every head is trained once with each."""
    data: DataRecipe = field(default_factory=DataRecipe)
    windows: WindowRecipe = field(default_factory=WindowRecipe)
    encoder: EncoderRecipe = field(default_factory=EncoderRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    decoding: DecodingRecipe = field(default_factory=DecodingRecipe)
