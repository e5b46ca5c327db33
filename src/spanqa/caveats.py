"""What a reader must know before believing the figures: sentences, each said only where true."""

from __future__ import annotations

from collections.abc import Iterable

from spanqa.analysis import Analysis
from spanqa.breakdown import MIN_ARTICLES
from spanqa.run import Comparison
from spanqa.wording import count, join


def cautions(comparison: Comparison, analysis: Analysis) -> tuple[str, ...]:
    """What a reader must know before any figure: shown at the head of the report."""
    data, found = comparison.recipe.data, []
    sources = [data.train, data.eval, data.calibration or ""]
    made_up = [source for source in sources if source.startswith("synthetic:")]
    if made_up:
        found.append(
            f"Synthetic data ({join(dict.fromkeys(made_up))}): these texts and questions were "
            "made by a program. The figures show that the method works and how the heads differ "
            "on such text; they say nothing about how well it answers real questions."
        )
    if comparison.recipe.training.validate_on == "eval":
        found.append(
            "The best checkpoint of every run was chosen on the very questions that are reported, "
            "so all figures are somewhat too high."
        )
    if data.eval == data.train:
        found.append(
            f"The reported questions were trained on ({data.eval}), so the figures say nothing "
            "about new questions."
        )
    if analysis.missing:
        names = join(f"{head} with seed {seed}" for head, seed in analysis.missing)
        found.append(f"Not finished and therefore not in this report: {names}.")
    if analysis.mismatched:
        names = join(f"{head} with seed {seed}" for head, seed in analysis.mismatched)
        found.append(
            f"The stored exact match of {names} does not follow from the stored predictions; "
            "evaluate again before relying on it."
        )
    return tuple(found)


def limits(comparison: Comparison, analysis: Analysis) -> Iterable[str]:
    """What the figures cannot tell: sentences for the end of the written analysis."""
    if max(len(head.seeds) for head in analysis.heads) == 1:
        yield (
            "Each head was trained with one seed: another seed could change the order of heads "
            "that are close."
        )
    if len({head.seeds for head in analysis.heads}) > 1:
        yield "The heads were not all trained with the same seeds; their means differ in that too."
    if analysis.sizes.articles < MIN_ARTICLES:
        yield (
            f"The questions come from {count(analysis.sizes.articles, 'article')}: too few for "
            "the intervals to be trusted."
        )
    yield from _samples(comparison)


def _samples(comparison: Comparison) -> Iterable[str]:
    """What was drawn; where there were fewer questions than wanted, all were taken."""
    wanted = comparison.recipe.data.sample
    taken = [run.environment.get("questions", {}).get("train", wanted) for run in comparison.runs]
    if wanted is not None and min(taken, default=wanted) < wanted:
        there = f"{min(taken):,}"
        yield f"Training used all {there} questions; the recipe wants a sample of {wanted:,}."
    elif wanted is not None:
        yield f"Training used a random sample of {wanted:,} questions."
    reported = comparison.recipe.data.eval_sample
    if reported is not None and len(comparison.questions) >= reported:
        yield "The reported questions are a random sample of the evaluation data."
