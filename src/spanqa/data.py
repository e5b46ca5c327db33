"""Examples: one question over one text, read from SQuAD-format data.

`load` takes a file, a dataset of the hub or the bundled synthetic corpus; `scan` is the same
reading without stopping at what is wrong.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from spanqa.errors import DataError, RecipeError
from spanqa.example import Example, Reference, example_of, problems_of, realigned
from spanqa.formats import read_rows
from spanqa.rows import Problem, printable

__all__ = [
    "Corpus",
    "Example",
    "Misaligned",
    "Reference",
    "fingerprint",
    "load",
    "require_labels",
    "sample",
    "scan",
    "split_by_article",
    "write_squad",
]

Misaligned = Literal["error", "drop", "realign", "keep"]

# Kinds of problems that `load` never passes over, and those that `misaligned` decides on.
_FATAL = frozenset({"malformed", "empty-file", "duplicate-id", "lone-surrogate", "empty-context"})
_ALIGNMENT = frozenset({"misaligned", "outside", "empty-answer"})


@dataclass(frozen=True)
class Corpus:
    """The questions of one source, and what was done to them while loading."""

    source: str
    examples: tuple[Example, ...] = field(repr=False)
    fingerprint: str
    """`spanqa.data.fingerprint` of the examples."""
    dropped: tuple[str, ...] = ()
    """Ids of the questions left out because an answer is not at its offset."""
    realigned: tuple[str, ...] = ()
    """Ids of the questions of which an answer was moved to where its text stands."""

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)


def load(source: str | Path, *, misaligned: Misaligned = "error") -> Corpus:
    """Reads questions.

    Args:
        source: A SQuAD 1.1 or 2.0 file or a list of flat rows (`.json`); flat rows with SQuAD's
            columns (`.jsonl`, `.ndjson`, `.csv`, `.parquet`); `synthetic:train`, `synthetic:eval`,
            `synthetic:train:5000`; or a dataset of the hub or of a folder with its split, as in
            `squad_v2:validation`, `rajpurkar/squad_v2:train[:1000]`, or with a configuration as in
            `google/xquad:xquad.en:validation`. In CSV, answers are a JSON text in `answers`, or
            the columns `answer_text` and `answer_start` (both empty = unanswerable).
        misaligned: What to do where an answer's text is not at its offset: `error`; `drop` the
            question; `realign` the answer to the nearest place where its text stands, case put
            aside only if need be, and drop the question if there is none; `keep` the answers just
            as the file has them, for scoring.

    `is_impossible` outweighs answers, as in SQuAD 2.0, except under `keep`: the official script
    scores by the answers alone.

    Raises:
        DataError: the file cannot be used; names the file, the question id and the place.
        RecipeError: `misaligned` is none of the four.
    """
    if misaligned not in get_args(Misaligned):
        raise RecipeError(f"misaligned is {misaligned!r}, not {', '.join(get_args(Misaligned))}")
    examples: list[Example] = []
    dropped: list[str] = []
    moved: list[str] = []
    for example, problems in scan(source):
        kinds = {problem.kind for problem in problems}
        _raise_first(str(source), problems, misaligned)
        assert example is not None  # a row that makes no example has a fatal problem
        if "contradiction" in kinds and misaligned != "keep":
            example = replace(example, answers=())
        elif kinds & _ALIGNMENT and misaligned != "keep":
            mended = realigned(example) if misaligned == "realign" else None
            if mended is None:
                dropped.append(example.id)
                continue
            moved.append(example.id)
            example = mended
        examples.append(example)
    if not examples:
        raise DataError(f"{source}: no question is left; all {len(dropped)} were dropped")
    kept = tuple(examples)
    return Corpus(str(source), kept, fingerprint(kept), tuple(dropped), tuple(moved))


def _raise_first(source: str, problems: Iterable[Problem], misaligned: Misaligned) -> None:
    for problem in problems:
        if problem.kind in _FATAL:
            raise DataError(f"{source}: {problem.sentence}")
        if problem.kind in _ALIGNMENT and misaligned == "error":
            raise DataError(
                f"{source}: {problem.sentence}; correct it, or set misaligned to drop or realign "
                "(keep for scoring alone)"
            )


def scan(source: str | Path) -> Iterator[tuple[Example | None, tuple[Problem, ...]]]:
    """Every question with all that is wrong with it; None where no example can be made of it.

    Raises:
        DataError: there is no such file or dataset, or its kind is not known.
    """
    places: dict[str, str] = {}
    empty = True
    for example, problems, place in _parsed(str(source)):
        empty = False
        if example is not None and example.id in places:
            other = f" (first at {places[example.id]})" if places[example.id] else ""
            message = f"the id is used twice{other}; give every question an id of its own"
            problems += (Problem("duplicate-id", printable(example.id), message, place),)
        elif example is not None:
            places[example.id] = place
        yield example, problems
    if empty:
        yield None, (Problem("empty-file", "", "holds no question"),)


def _parsed(source: str) -> Iterator[tuple[Example | None, tuple[Problem, ...], str]]:
    if source.startswith("synthetic:"):
        for example in _synthetic(source):
            yield example, problems_of(example), ""
        return
    known: dict[str, str] = {}
    for number, row in enumerate(read_rows(source)):
        if isinstance(row, Problem):
            yield None, (row,), row.place
        else:
            yield *example_of(row, number, known), row.place


def _synthetic(source: str) -> tuple[Example, ...]:
    match = re.fullmatch(r"synthetic:(train|eval)(?::([1-9][0-9]{0,8}))?", source)
    if match is None:
        raise DataError(f"{source}: give synthetic:train, synthetic:eval or synthetic:train:5000")

    from spanqa import synthetic

    part: Literal["train", "eval"] = "train" if match[1] == "train" else "eval"
    size = {"train": synthetic.TRAIN_SIZE, "eval": synthetic.EVAL_SIZE}[part]
    return synthetic.generate(part, int(match[2] or size))


def fingerprint(examples: Sequence[Example]) -> str:
    """SHA-256 (hex) over ids, questions, contexts and answers, the same for every format."""
    digest = hashlib.sha256()
    for example in examples:
        answers = [[answer.text, answer.start] for answer in example.answers]
        content = [example.id, example.question, example.context]
        line = json.dumps([*content, answers if example.labelled else None])
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def require_labels(corpus: Corpus) -> None:
    """Refuses questions that cannot be scored.

    Raises:
        DataError: a question has no `answers`.
    """
    missing = [example.id for example in corpus if not example.labelled]
    if missing:
        more = len(missing) - 1
        who = f"question '{printable(missing[0])}'" + (
            f" and {more} more have no" if more else " has no"
        )
        who = "no question has an" if len(missing) == len(corpus) else who
        raise DataError(
            f"{corpus.source}: {who} 'answers' key; figures need a file with answers "
            "(an empty list where a question has none)"
        )


def sample(examples: Sequence[Example], size: int, seed: int) -> tuple[Example, ...]:
    """`size` examples drawn at random, in their own order; the same for the same seed.

    Raises:
        RecipeError: `size` is not between 1 and the number of examples.
    """
    if not 1 <= size <= len(examples):
        raise RecipeError(
            f"a sample of {size} cannot be drawn from {len(examples)} questions; "
            f"give a size from 1 to {len(examples)}"
        )
    chosen = random.Random(seed).sample(range(len(examples)), size)
    return tuple(examples[index] for index in sorted(chosen))


def split_by_article(
    examples: Sequence[Example], fraction: float, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Cuts whole articles off: the rest, and a part with about `fraction` of the questions.

    Both have one article at least. The part misses `fraction` by less than the questions of the
    smallest article in the rest, unless every article alone has more than that share.

    Raises:
        DataError: all questions belong to one article.
        RecipeError: `fraction` is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise RecipeError(f"fraction is {fraction}; give a share between 0 and 1")
    sizes = Counter(example.article for example in examples)
    if len(sizes) < 2:
        raise DataError(
            f"{len(examples)} questions of {len(sizes)} article cannot be split by article; "
            "name a second file instead"
        )
    articles = list(sizes)
    random.Random(seed).shuffle(articles)
    target = fraction * len(examples)
    held: set[str] = set()
    total = 0
    for article in articles:
        if total + sizes[article] <= target:
            held.add(article)
            total += sizes[article]
    # One more may come closer: every article left would go past the target.
    left = [article for article in articles if article not in held]
    last = min(left, key=lambda article: sizes[article])
    closer = total + sizes[last] - target < target - total
    if not held or (closer and len(left) > 1):
        held.add(last)
    rest = tuple(example for example in examples if example.article not in held)
    return rest, tuple(example for example in examples if example.article in held)


def write_squad(examples: Iterable[Example], path: str | Path) -> None:
    """Writes SQuAD 2.0 JSON, questions grouped by title and context; UTF-8."""
    titles: dict[str, dict[str, list[dict[str, object]]]] = {}
    for example in examples:
        entry: dict[str, object] = {"id": example.id, "question": example.question}
        if example.labelled:
            entry["answers"] = [{"text": a.text, "answer_start": a.start} for a in example.answers]
            entry["is_impossible"] = not example.answers
        titles.setdefault(example.title, {}).setdefault(example.context, []).append(entry)
    articles = [
        {
            "title": title,
            "paragraphs": [{"context": text, "qas": qas} for text, qas in paragraphs.items()],
        }
        for title, paragraphs in titles.items()
    ]
    content = json.dumps({"version": "v2.0", "data": articles}, ensure_ascii=False)
    Path(path).write_bytes(content.encode())
