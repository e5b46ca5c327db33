"""One recipe describes one comparison: a dataclass per concern, YAML in and out.

The field docs below are the help texts of the command line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from spanqa.errors import RecipeError
from spanqa.plain_yaml import read_yaml
from spanqa.section import Section, build, keys_of, unknown_key

HEADS = ("softmax", "joint", "crf", "span-crf")
SHIPPED = Path(__file__).parent / "recipes"
"""Folder of the recipes that come with spanqa."""


@dataclass(frozen=True)
class DataRecipe(Section):
    """Where the questions come from."""

    prefix: ClassVar[str] = "data."

    train: str = "synthetic:train"
    """Training questions: a SQuAD JSON, JSONL, CSV or Parquet file, a hub id, or
    `synthetic:train`."""
    eval: str = "synthetic:eval"
    """Questions that the reported figures are measured on."""
    extra: tuple[str, ...] = ()
    """More files of training questions; none is used for calibration, and what they ask about the
    texts of the calibration questions is left out."""
    calibration: str | None = None
    """Questions that thresholds and temperature are fitted on, and whose texts are not trained on;
    cut from `train` by article if empty."""
    calibration_fraction: float = 0.1
    """Share of the articles of `train` set aside for calibration when `calibration` is empty."""
    sample: int | None = None
    """Number of training questions drawn at random from `train`; all of them if empty, or where
    there are fewer."""
    extra_sample: int | None = None
    """The same of `extra`."""
    sample_seed: int = 42
    """Seed of that draw and of the calibration split."""
    eval_sample: int | None = None
    """The same of `eval`."""
    misaligned: Literal["error", "drop", "realign"] = "error"
    """What to do with a training answer whose text is not at its offset."""

    def check(self) -> None:
        """Ranges, and calibration questions that are not the reported ones."""
        self.named("train", "eval", "calibration")
        self.require("extra", all(name.strip() for name in self.extra), "names or paths")
        fraction = self.calibration_fraction
        self.require("calibration_fraction", 0 < fraction < 1, "between 0 and 1")
        self.at_least(1, "sample", "extra_sample", "eval_sample")
        self.at_least(0, "sample_seed")
        # A threshold fitted on the reported questions makes the report worthless.
        self.require("calibration", self.calibration != self.eval, "other questions than data.eval")


@dataclass(frozen=True)
class WindowRecipe(Section):
    """How a long text is cut into windows."""

    prefix: ClassVar[str] = "windows."

    max_length: int = 384
    """Tokens in a window, question and special tokens included."""
    stride: int = 128
    """Context tokens that two neighbouring windows share."""
    max_question_length: int = 64
    """Tokens kept of a question."""

    def check(self) -> None:
        """A window of the longest question still moves on."""
        self.at_least(1, "max_question_length")
        self.at_least(0, "stride")
        taken = self.max_question_length + 3  # [CLS] question [SEP] context [SEP]
        self.require(
            "max_length",
            self.max_length > taken,
            f"more than windows.max_question_length + 3 = {taken}",
        )
        room = self.max_length - taken
        self.require(
            "stride",
            self.stride < room,
            f"less than windows.max_length - windows.max_question_length - 3 = {room}",
        )

    def question_for(self, longest: int) -> int:
        """Tokens kept of a question in windows of `longest` tokens."""
        return min(self.max_question_length, longest // 3)

    def stride_for(self, longest: int, question: int) -> int:
        """Tokens that windows of `longest` share, with `question` tokens of a question."""
        return min(self.stride, longest // 2, max(0, (longest - question - 8) // 2))


@dataclass(frozen=True)
class EncoderRecipe(Section):
    """Which pretrained encoder is fine-tuned."""

    prefix: ClassVar[str] = "encoder."

    name: str = "offline"
    """Hub id or folder of the encoder; `offline` is the one that the `offline` extra installs."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    hidden_dropout: float | None = None
    """Dropout of the hidden states; the encoder's own value if empty."""
    attention_dropout: float | None = None
    """Dropout of the attention weights; the encoder's own value if empty."""
    frozen_layers: int = 0
    """Lowest layers left untrained, the embeddings with them; 0 trains everything."""
    lora_rank: int | None = None
    """Rank of low-rank updates (LoRA) on every linear layer, trained in place of the encoder's own
    weights; needs the `lora` extra. Empty trains the weights."""
    lora_alpha: float | None = None
    """The updates are scaled by lora_alpha / lora_rank; twice the rank if empty."""

    def check(self) -> None:
        """Names and ranges."""
        self.named("name", "revision")
        self.at_least(0, "frozen_layers")
        self.at_least(1, "lora_rank")
        self.positive("lora_alpha")
        for name in ("hidden_dropout", "attention_dropout"):
            value = getattr(self, name)
            self.require(name, value is None or 0 <= value < 1, "at least 0 and less than 1")


@dataclass(frozen=True)
class TrainingRecipe(Section):
    """How it is fine-tuned: the same for every head."""

    prefix: ClassVar[str] = "training."

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

    def check(self) -> None:
        """Ranges."""
        self.positive("epochs", "learning_rate", "head_learning_rate", "max_grad_norm")
        self.at_least(1, "batch_size", "gradient_accumulation", "logging_steps", "save_steps")
        self.at_least(0, "weight_decay")
        self.require("warmup_ratio", 0 <= self.warmup_ratio < 1, "at least 0 and less than 1")


@dataclass(frozen=True)
class DecodingRecipe(Section):
    """How scores become answers."""

    prefix: ClassVar[str] = "decoding."

    max_answer_length: int = 30
    """Tokens in the longest answer."""
    n_best: int = 20
    """Answers kept for each question."""
    batch_size: int = 32
    """Windows per device in evaluation."""

    def check(self) -> None:
        """Ranges."""
        self.at_least(1, "max_answer_length", "n_best", "batch_size")


@dataclass(frozen=True)
class Recipe(Section):
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

    def check(self) -> None:
        """Known heads, usable seeds, neither of them twice."""
        self.named("name")
        for name in ("heads", "seeds"):
            values = getattr(self, name)
            self.require(name, bool(values), "a list of at least one")
            self.require(name, len(set(values)) == len(values), "without repetitions")
        known = f"one or more of {', '.join(HEADS)}"
        self.require("heads", set(self.heads) <= set(HEADS), known)
        in_range = all(0 <= seed < 2**32 for seed in self.seeds)  # what NumPy takes
        self.require("seeds", in_range, "at least 0 and less than 2**32")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe of nested `values`; a key left out keeps its default.

        Raises:
            RecipeError: A key is unknown, or a value has the wrong type or is out of range.
        """
        return build(cls, values)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Recipe:
        """Read the recipe in the YAML file `path`.

        Raises:
            RecipeError: There is no such file, or it is not a recipe; names the file and the key.
        """
        try:
            return cls.from_dict(read_yaml(Path(path)))
        except RecipeError as error:
            raise RecipeError(f"{path}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries and lists, every key present; `from_dict` reads them back."""
        values: dict[str, Any] = asdict(self, dict_factory=_plain)
        return values

    def to_yaml(self) -> str:
        """Every key in the order of the fields; `from_yaml` reads it back."""
        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False)
        return text

    def override(self, values: Mapping[str, Any]) -> Recipe:
        """A copy with some values replaced, such as `{"training.epochs": 2}`.

        A number may be given as text.

        Raises:
            RecipeError: As in `from_dict`.
        """
        changed = self.to_dict()
        for key, value in values.items():
            if key not in keys_of(Recipe):
                raise unknown_key(key, Recipe)
            section, _, name = key.rpartition(".")
            (changed[section] if section else changed)[name] = value
        return self.from_dict(changed)

    def signature(self) -> str:
        """Twelve hexadecimal digits that change with any value (SHA-256 of the YAML)."""
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()[:12]


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe given by its path or by the name of a shipped one.

    Raises:
        RecipeError: It is neither.
    """
    for path in (Path(name_or_path), SHIPPED / f"{name_or_path}.yaml"):
        if path.is_file():
            return path
    shipped = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.yaml")))
    raise RecipeError(
        f"{name_or_path} is neither a recipe file nor one of the shipped recipes: {shipped}"
    )


def _plain(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in items}
