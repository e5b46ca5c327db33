"""What a report says of samples: only what was drawn."""

from __future__ import annotations

from dataclasses import replace

from fakes import make_comparison

from spanqa.analysis import analyse
from spanqa.caveats import limits


def said(*, sample: int, eval_sample: int, taken: int) -> str:
    """The sentences about a comparison of 60 reported questions that wanted these samples."""
    made = make_comparison(("softmax",), (1,), questions=60)
    data = replace(made.recipe.data, sample=sample, eval_sample=eval_sample)
    runs = [replace(run, environment={"questions": {"train": taken}}) for run in made.runs]
    comparison = replace(made, recipe=replace(made.recipe, data=data), runs=tuple(runs))
    return " ".join(limits(comparison, analyse(comparison)))


def test_samples_are_named_where_they_were_drawn() -> None:
    found = said(sample=6000, eval_sample=60, taken=6000)
    assert "Training used a random sample of 6,000 questions." in found
    assert "The reported questions are a random sample" in found


def test_where_there_were_fewer_all_were_taken() -> None:
    found = said(sample=6000, eval_sample=100, taken=812)
    assert "Training used all 812 questions; the recipe wants a sample of 6,000." in found
    assert "random sample" not in found
