"""One training run on disk: what it was, what it measured, what it answered.

A run folder holds

    run.json                 the `Run` below, without predictions
    predictions.json         question id -> answer text ("" = no answer), at the fitted threshold
    best_spans.json          question id -> best non-null answer text, whatever the threshold
    null_odds.json           question id -> null log-odds (no answer against the best span)
    nbest_predictions.json   question id -> n-best list
    model/                   the best checkpoint: config, weights (safetensors), tokenizer, and
                             checksums.json with the SHA-256 of each file
    checkpoints/, best-*/    for going on after a kill; removed at the end (`spanqa.checkpoints`)
    .lock, .lock.json        whose folder it is while a process works on it (`spanqa.lock`)

and a comparison's folder holds `recipe.yaml`, `questions.jsonl` and `runs/<head>-seed<seed>/`.
`run.json` is written last, so a run folder that has one is a finished run.

No torch in here: a report is made on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

from spanqa.abstention import Level
from spanqa.errors import DataError
from spanqa.recipe import Recipe
from spanqa.records import dump, from_json, parse, read_json, read_text, write_atomic

_BESIDE = {
    "predictions": "predictions.json",
    "best_spans": "best_spans.json",
    "null_odds": "null_odds.json",
}
"""Fields of `Run` that have a file of their own, in the layout of the official script."""


@dataclass(frozen=True)
class LossPoint:
    """Mean training loss of the steps since the previous point."""

    step: int
    epoch: float
    loss: float
    grad_norm: float
    """L2 norm of the gradient before clipping."""
    learning_rate: float


@dataclass(frozen=True)
class EpochPoint:
    """Official metrics on the validation questions after one epoch; percent."""

    epoch: float
    step: int
    train_loss: float
    """Mean over the steps of the epoch."""
    exact: float
    f1: float
    has_ans_exact: float | None
    """None where there is no answerable question."""
    no_ans_exact: float | None


@dataclass(frozen=True)
class Cost:
    """What the run cost. Throughputs are of the model: no loading, tokenising or decoding."""

    train_seconds: float
    train_windows: int
    """Windows seen in training, epochs counted."""
    train_batches_per_second: float
    train_questions_per_second: float
    eval_seconds: float
    eval_windows: int
    eval_batches_per_second: float
    """Batches of `decoding.batch_size` windows; of shorter windows one holds more than that."""
    eval_questions_per_second: float
    peak_memory_mb: float
    """Peak resident memory of the process on a CPU, peak allocated memory on a GPU; MiB."""
    head_parameters: int
    total_parameters: int


@dataclass(frozen=True)
class Calibration:
    """Fitted on the calibration questions, never on the reported ones."""

    temperature: float
    null_threshold: float
    """A question gets no answer where its null log-odds exceed this."""
    questions: int
    exact_before: float
    """Percent at threshold 0, on the calibration questions."""
    exact_after: float
    """Percent at the fitted threshold, on the same."""
    objective: str = "exact"
    """What the threshold is best for: exact or f1."""
    fingerprint: str = ""
    """Of the calibration questions."""
    levels: tuple[Level, ...] = ()
    """How often answers are right by their probability; what `min_precision` goes by."""


@dataclass(frozen=True)
class Run:
    """One head with one seed."""

    head: str
    seed: int
    losses: tuple[LossPoint, ...]
    epochs: tuple[EpochPoint, ...]
    best_epoch: float
    metrics: dict[str, float]
    """Official keys on the evaluation questions, at the fitted threshold; percent."""
    uncalibrated: dict[str, float]
    """The same at threshold 0."""
    leaky_exact: float
    """Percent, scored as the course report did: gold no-answers forced right, first reference,
    first window."""
    calibration: Calibration
    cost: Cost
    environment: dict[str, Any]
    """Versions, hardware, threads, precision, data fingerprints, recipe signature."""
    predictions: dict[str, str] = field(repr=False, default_factory=dict)
    best_spans: dict[str, str] = field(repr=False, default_factory=dict)
    null_odds: dict[str, float] = field(repr=False, default_factory=dict)

    def save(self, folder: Path | str) -> None:
        """Write the run's four JSON files; each appears whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, file in _BESIDE.items():
            write_atomic(folder / file, dump(getattr(self, name)))
        slim = asdict(replace(self, predictions={}, best_spans={}, null_odds={}))
        slim = {name: value for name, value in slim.items() if name not in _BESIDE}
        write_atomic(folder / "run.json", dump(slim, indent=1))

    @classmethod
    def load(cls, folder: Path | str) -> Run:
        """Read what `save` wrote.

        Raises:
            DataError: a file is missing or damaged; the message names it.
        """
        folder = Path(folder)
        run = from_json(cls, read_json(folder / "run.json"), str(folder / "run.json"))
        kinds = get_type_hints(cls)
        beside: dict[str, Any] = {
            name: from_json(kinds[name], read_json(folder / file), str(folder / file))
            for name, file in _BESIDE.items()
        }
        return replace(run, **beside)


@dataclass(frozen=True)
class Question:
    """What the report needs of an evaluation question; stored once per comparison."""

    id: str
    article: str
    """Resampling unit: the title, or the paragraph where articles are not known."""
    question: str
    context: str
    answers: tuple[str, ...]
    """Reference texts; empty = unanswerable."""
    windows: int
    """Windows that its context was cut into."""


@dataclass(frozen=True)
class Comparison:
    """Heads x seeds under one recipe, as far as they are finished."""

    recipe: Recipe
    questions: tuple[Question, ...]
    """The evaluation questions, in the order of their file."""
    runs: tuple[Run, ...]
    """Heads x seeds, in the order of the recipe."""

    @classmethod
    def load(cls, folder: Path | str) -> Comparison:
        """Read a comparison's folder; runs that are not finished are left out.

        Raises:
            DataError: a file is missing or damaged, a run has no answer to a question, or no run
                is finished.
            RecipeError: `recipe.yaml` cannot be used.
        """
        folder = Path(folder)
        if not (folder / "recipe.yaml").is_file():
            raise DataError(
                f"{folder} is not the folder of a comparison: it has no recipe.yaml; "
                "give the folder that `spanqa compare` wrote"
            )
        recipe = Recipe.from_yaml(folder / "recipe.yaml")
        questions = read_questions(folder / "questions.jsonl")
        wanted = list(product(recipe.heads, recipe.seeds))
        finished = [key for key in wanted if (run_folder(folder, *key) / "run.json").is_file()]
        if not finished:
            raise DataError(
                f"{folder / 'runs'} holds no finished run of the {len(wanted)} in the recipe; "
                "run `spanqa compare` to the end first"
            )
        runs = tuple(_load_checked(folder, *key, questions) for key in finished)
        return cls(recipe, questions, runs)


def run_folder(folder: Path | str, head: str, seed: int) -> Path:
    """Where a comparison in `folder` keeps the run of `head` with `seed`."""
    return Path(folder) / "runs" / f"{head}-seed{seed}"


def write_questions(path: Path | str, questions: Iterable[Question]) -> None:
    """Write one JSON object per line."""
    write_atomic(Path(path), b"".join(dump(asdict(question)) for question in questions))


def read_questions(path: Path | str) -> tuple[Question, ...]:
    """Read what `write_questions` wrote.

    Raises:
        DataError: the file is missing, a line is damaged, or an id is used twice.
    """
    path = Path(path)
    found: dict[str, Question] = {}
    # Not splitlines(): a context may hold U+2028, which JSON leaves as it is.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        question = from_json(Question, parse(line, where), where)
        if question.id in found:
            raise DataError(f"{where}: question id {question.id!r} is used twice")
        found[question.id] = question
    return tuple(found.values())


def _load_checked(within: Path, head: str, seed: int, questions: tuple[Question, ...]) -> Run:
    folder = run_folder(within, head, seed)
    run = Run.load(folder)
    if (run.head, run.seed) != (head, seed):
        raise DataError(
            f"{folder / 'run.json'} is damaged: it is not of the head {head} with seed {seed}"
        )
    for name, file in _BESIDE.items():
        answered = getattr(run, name)
        for question in questions:
            if question.id not in answered:
                raise DataError(
                    f"{folder / file} has no entry for question {question.id!r} of "
                    "questions.jsonl; evaluate this run again"
                )
    return run
