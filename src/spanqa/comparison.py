"""Heads x seeds under one recipe, into one folder; what was killed goes on where it was."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from spanqa import group
from spanqa.checkpoints import discard
from spanqa.errors import DataError, RecipeError, RunError
from spanqa.experiment import one_run
from spanqa.lock import TRACES, locked
from spanqa.preparation import Prepared, prepare
from spanqa.recipe import Recipe
from spanqa.records import UNFINISHED, dump, from_json, read_json, write_atomic
from spanqa.run import Comparison, Question, Run, run_folder, write_questions
from spanqa.training import Say
from spanqa.windows import Windows

DATA = "data.json"
"""Fingerprints of the questions that the runs of a folder began with."""
RECIPE = "recipe.yaml"
"""The recipe that a folder was claimed for."""
OURS = (*TRACES, RECIPE + UNFINISHED)
"""What may lie in a folder before it is claimed, by a process that was killed there too."""


def say(line: str) -> None:
    """Print a line of progress, once however many processes train together."""
    if group.leads():
        print(line, file=sys.stderr, flush=True)


def compare(
    recipe: Recipe,
    output: Path,
    *,
    workers: int = 1,
    address: str | None = None,
    say: Say = say,
) -> Comparison:
    """Train and evaluate every head with every seed; finished runs in `output` are kept.

    Args:
        recipe: what to compare.
        output: folder; made if it is not there, continued if it holds the same recipe.
        workers: runs at a time; more than one need Ray, and devices or processors for each.
        address: of a Ray cluster whose machines all see `output`; this machine alone if left out.
        say: prints a line of progress.

    Raises:
        SpanQAError: data, encoder or recipe cannot be used, `output` holds another recipe or cannot
            be written, another process works on it, or runs failed beside others.
    """
    beside = workers > 1 or address is not None
    if beside and group.size() > 1:
        raise RecipeError(
            "--workers starts the runs by itself; start it as one process, without torchrun"
        )
    with _alone(output):
        claim(recipe, output)
        wanted = [(head, seed) for seed in recipe.seeds for head in recipe.heads]
        missing = group.from_leader(lambda: _missing(wanted, output))
        if missing:
            prepared = _prepared(recipe, output, say)
            if group.leads():
                write_questions(output / "questions.jsonl", _questions(prepared.eval))
            if beside:
                from spanqa.workers import run_beside

                run_beside(recipe, missing, prepared, output, workers, address=address, say=say)
            else:
                for head, seed in missing:
                    say(f"{head}, seed {seed}")
                    one_run(recipe, head, seed, prepared, run_folder(output, head, seed), say=say)
        group.end_helpers()
        return Comparison.load(output)


def _missing(wanted: list[tuple[str, int]], output: Path) -> list[tuple[str, int]]:
    """The runs that are not finished.

    Raises:
        DataError: another number of processes trained what is finished.
    """
    missing = []
    for head, seed in wanted:
        if not _finished(run_folder(output, head, seed)):
            missing.append((head, seed))
    for head, seed in set(wanted) - set(missing) if missing else ():
        path = run_folder(output, head, seed) / "run.json"
        trained = read_json(path).get("environment", {}).get("processes", 1)
        if trained != group.size():
            raise DataError(
                f"{path} is of {trained} processes that trained together, with batches of another "
                f"size than {group.size()} would take; start as many, or give another folder"
            )
    return missing


def train_one(recipe: Recipe, head: str, seed: int, output: Path, *, say: Say = say) -> Run:
    """Train and evaluate one head with one seed, as `compare` would, in the folder `output`.

    Raises:
        SpanQAError: as `compare`.
    """
    with _alone(output):
        claim(recipe, output)
        if group.from_leader(lambda: not _finished(output)):
            one_run(recipe, head, seed, _prepared(recipe, output, say), output, say=say)
        group.end_helpers()
        return Run.load(output)


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Keep other processes off; those that train together with this one write nothing."""
    group.join()
    with ExitStack() as stack:
        group.from_leader(lambda: stack.enter_context(locked(output)))
        yield


def _finished(run: Path) -> bool:
    """Whether a run has ended; what it was killed before removing is removed."""
    finished = (run / "run.json").exists()
    if finished:
        discard(run)
    return finished


def claim(recipe: Recipe, output: Path) -> None:
    """Write the recipe into the folder, or see that the one there is the same.

    Raises:
        DataError: the folder holds another recipe's runs.
        RunError: a machine does not see the folder that the others write to.
    """
    group.from_leader(lambda: _claim(recipe, output))
    see(recipe, output)


def _claim(recipe: Recipe, output: Path) -> None:
    path = output / RECIPE
    if path.exists():
        if Recipe.from_yaml(path).signature() != recipe.signature():
            raise DataError(
                f"{path} is another recipe than the one asked for; "
                "give --output another folder, or remove this one"
            )
        return
    output.mkdir(parents=True, exist_ok=True)
    if any(file.name not in OURS for file in output.iterdir()):
        raise DataError(
            f"{output} holds other things, some of which a run could replace; "
            "give --output a new folder"
        )
    write_atomic(path, recipe.to_yaml().encode())


def _prepared(recipe: Recipe, output: Path, say: Say) -> Prepared:
    """Data, tokenised and cut; the same as when the first run here began.

    Raises:
        SpanQAError: they cannot be used, or have changed since.
    """
    prepared = prepare(recipe, say)
    group.from_leader(lambda: _claim_data(prepared.fingerprints, output / DATA))
    return prepared


def _claim_data(fingerprints: dict[str, str], path: Path) -> None:
    if path.exists():
        began = from_json(dict[str, str], read_json(path), str(path))
        changed = sorted(name for name in fingerprints if began.get(name) != fingerprints[name])
        if changed:
            raise DataError(
                f"{path}: the questions of data.{changed[0]} are others than when the runs here "
                "began; bring them back, or give --output another folder"
            )
        return
    write_atomic(path, dump(fingerprints, indent=1))


def see(recipe: Recipe, output: Path) -> None:
    """Make sure that this machine sees a folder that was claimed, perhaps by another machine.

    Raises:
        RunError: it does not.
    """
    path = output / RECIPE
    if not path.exists() or Recipe.from_yaml(path).signature() != recipe.signature():
        raise RunError(
            f"{path} is not seen on {platform.node()}; give --output a folder that all machines "
            "share"
        )


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
