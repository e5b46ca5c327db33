"""Heads x seeds under one recipe, into one folder; what was killed goes on where it was."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from spanqa.checkpoints import discard
from spanqa.errors import DataError
from spanqa.experiment import one_run
from spanqa.lock import locked
from spanqa.preparation import prepare
from spanqa.recipe import Recipe
from spanqa.records import write_atomic
from spanqa.run import Comparison, Question, Run, run_folder, write_questions
from spanqa.training import Say, leads
from spanqa.windows import Windows


def say(line: str) -> None:
    """Print a line of progress, once however many processes train together."""
    if leads():
        print(line, file=sys.stderr, flush=True)


def compare(recipe: Recipe, output: Path, *, say: Say = say) -> Comparison:
    """Train and evaluate every head with every seed; finished runs in `output` are kept.

    Args:
        recipe: what to compare.
        output: folder; made if it is not there, continued if it holds the same recipe.
        say: prints a line of progress.

    Raises:
        SpanQAError: data, encoder or recipe cannot be used, `output` holds another recipe or cannot
            be written, or another process works on it.
    """
    with _alone(output):
        claim(recipe, output)
        wanted = [(head, seed) for seed in recipe.seeds for head in recipe.heads]
        missing = [(h, s) for h, s in wanted if not _finished(run_folder(output, h, s))]
        if missing:
            prepared = prepare(recipe, say)
            if leads():
                write_questions(output / "questions.jsonl", _questions(prepared.eval))
            for head, seed in missing:
                say(f"{head}, seed {seed}")
                one_run(recipe, head, seed, prepared, run_folder(output, head, seed), say=say)
        _end_helpers()
        return Comparison.load(output)


def train_one(recipe: Recipe, head: str, seed: int, output: Path, *, say: Say = say) -> Run:
    """Train and evaluate one head with one seed, as `compare` would, in the folder `output`.

    Raises:
        SpanQAError: as `compare`.
    """
    with _alone(output):
        claim(recipe, output)
        run = None
        if not _finished(output):
            run = one_run(recipe, head, seed, prepare(recipe, say), output, say=say)
        _end_helpers()
        return run or Run.load(output)


def _alone(output: Path) -> AbstractContextManager[None]:
    """Keep other processes off; those that train together with this one write nothing."""
    return locked(output) if leads() else nullcontext()


def _finished(run: Path) -> bool:
    """Whether a run has ended; what it was killed before removing is removed."""
    finished = (run / "run.json").exists()
    if finished and leads():
        discard(run)
    return finished


def _end_helpers() -> None:
    """End the processes that only help to train; what is left to do is for one alone."""
    if not leads():
        raise SystemExit(0)


def claim(recipe: Recipe, output: Path) -> None:
    """Write the recipe into the folder, or see that the one there is the same.

    Raises:
        DataError: the folder holds another recipe's runs.
    """
    if not leads():
        return
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
