"""Recipe -> windows of the training, calibration and evaluation questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spanqa.data import Corpus, fingerprint, load, require_labels, sample, split_by_article
from spanqa.errors import DataError
from spanqa.example import Example
from spanqa.model import resolve_encoder
from spanqa.recipe import DataRecipe, Recipe
from spanqa.rows import printable
from spanqa.tokenizer import load_tokenizer
from spanqa.training import Say
from spanqa.windows import Windows, cut


@dataclass(frozen=True)
class Prepared:
    """Windows of the three parts, the same for every head and seed."""

    train: Windows
    calibration: Windows
    eval: Windows
    tokenizer: Any
    fingerprints: dict[str, str]
    questions: dict[str, int]
    """How many were taken, which are fewer than the recipe wants where there were fewer."""


def prepare(recipe: Recipe, say: Say) -> Prepared:
    """Load, split, sample, tokenise and cut; all that heads and seeds have in common."""
    data = recipe.data
    source = load(data.train, misaligned=data.misaligned)
    require_labels(source)
    training, calibration = _split(recipe, source, say)
    extra = [load(name, misaligned=data.misaligned) for name in data.extra]
    added = _extra(recipe, extra, source, calibration, say)
    corpus = load(data.eval, misaligned="keep")
    require_labels(corpus)
    evaluation = corpus.examples
    if data.eval_sample is not None:
        evaluation = _drawn(evaluation, "eval_sample", data, say)
    _require_apart(calibration, evaluation, data.eval)
    taken = {
        "train": len(training),
        **({"extra": len(added)} if extra else {}),
        "calibration": len(calibration),
        "eval": len(evaluation),
    }
    training += added
    _say_what_was_loaded((source, *extra), training, calibration, evaluation, say)

    tokenizer = load_tokenizer(resolve_encoder(recipe.encoder.name), recipe.encoder.revision)
    windows = cut(training, tokenizer, recipe.windows)
    if windows.lost:
        say(f"  {len(windows.lost)} training answers fit into no window and train as unanswerable")
    return Prepared(
        train=windows,
        calibration=cut(calibration, tokenizer, recipe.windows),
        eval=cut(evaluation, tokenizer, recipe.windows),
        tokenizer=tokenizer,
        fingerprints={
            "train": source.fingerprint,
            **{f"extra {i}": each.fingerprint for i, each in enumerate(extra, start=1)},
            "calibration": fingerprint(calibration),
            "eval": corpus.fingerprint,
        },
        questions=taken,
    )


def _split(
    recipe: Recipe, source: Corpus, say: Say
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Training and calibration questions, both drawn down to the wanted sample."""
    data = recipe.data
    if data.calibration is not None:
        named = load(data.calibration, misaligned=data.misaligned)
        require_labels(named)
        training, calibration = _apart(source, named, say), named.examples
    else:
        training, calibration = split_by_article(
            source.examples, data.calibration_fraction, data.sample_seed
        )
    if data.sample is not None:
        training = _drawn(training, "sample", data, say)
        wanted = max(1, round(data.sample * data.calibration_fraction))
        if data.calibration is None and wanted < len(calibration):
            calibration = sample(calibration, wanted, data.sample_seed)
    return training, calibration


def _drawn(
    examples: tuple[Example, ...], option: str, data: DataRecipe, say: Say
) -> tuple[Example, ...]:
    """The sample that a recipe's option wants, or all, with a word, where there are not so many."""
    wanted = getattr(data, option)
    if wanted > len(examples):
        say(f"  data.{option}: {wanted} wanted, {len(examples)} there, all taken")
        return examples
    return sample(examples, wanted, data.sample_seed)


def _apart(source: Corpus, calibration: Corpus, say: Say) -> tuple[Example, ...]:
    """Training questions on other texts than calibration's.

    Raises:
        DataError: there are none.
    """
    texts = {example.context for example in calibration}
    kept = tuple(example for example in source if example.context not in texts)
    if not kept:
        raise DataError(
            f"{calibration.source}: holds the text of every question in {source.source}; calibrate "
            "on other texts (data.calibration), or leave it out"
        )
    if len(kept) < len(source):
        left_out = len(source) - len(kept)
        say(f"  {source.source}: {left_out} left out, whose texts are calibrated on")
    return kept


def _extra(
    recipe: Recipe,
    corpora: list[Corpus],
    source: Corpus,
    calibration: tuple[Example, ...],
    say: Say,
) -> tuple[Example, ...]:
    """Questions of `data.extra` on other texts than calibration's, drawn down to the wanted sample.

    Raises:
        DataError: an id is used twice.
    """
    ids = {example.id: source.source for example in source}
    texts = {example.context for example in calibration}
    for corpus in corpora:
        require_labels(corpus)
        for example in corpus:
            if example.id in ids:
                raise DataError(
                    f"{corpus.source}: question id '{printable(example.id)}' is in "
                    f"{ids[example.id]} too; give every training question an id of its own"
                )
            ids[example.id] = corpus.source
    found = tuple(each for corpus in corpora for each in corpus if each.context not in texts)
    if recipe.data.extra_sample is None:
        return found
    return _drawn(found, "extra_sample", recipe.data, say)


def _require_apart(
    calibration: tuple[Example, ...], evaluation: tuple[Example, ...], name: str
) -> None:
    """A threshold fitted on reported questions makes the report worthless.

    Raises:
        DataError: a calibration question is asked of the same text in the evaluation part.
    """
    reported = {(example.question, example.context) for example in evaluation}
    for example in calibration:
        if (example.question, example.context) in reported:
            raise DataError(
                f"calibration question '{example.id}' is in {name} too; calibrate on questions "
                "that are not reported (data.calibration)"
            )


def _say_what_was_loaded(
    sources: tuple[Corpus, ...],
    training: tuple[Example, ...],
    calibration: tuple[Example, ...],
    evaluation: tuple[Example, ...],
    say: Say,
) -> None:
    for source in sources:
        if source.dropped or source.realigned:
            counts = f"{len(source.dropped)} dropped, {len(source.realigned)} realigned"
            say(f"  {source.source}: {counts}")
    parts = {"training": training, "calibration": calibration, "evaluation": evaluation}
    sizes = (
        f"{len(part)} {name} ({sum(not e.answers for e in part)} unanswerable)"
        for name, part in parts.items()
    )
    say("questions: " + ", ".join(sizes))
    shared = {e.context for e in training} & {e.context for e in evaluation}
    if shared:
        say(f"warning: {len(shared)} texts are in the training and in the evaluation part")
