"""Ids, titles and names that look like paths lead nowhere: what is written is where it belongs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import make_comparison
from test_bad_files import dump
from test_hostile_texts import hostile

from spanqa import evaluation
from spanqa.cli import main
from spanqa.data import load, write_squad
from spanqa.errors import RecipeError
from spanqa.recipe import Recipe
from spanqa.report import write_report
from spanqa.run import Comparison, run_folder, write_questions

NAMES = (
    "../../outside",
    "..",
    ".",
    "/tmp/outside",
    "~/outside",
    "C:\\outside",
    "\\\\host\\share",
    "a\0b",
    "con",
    "nul.txt",
    "-rf",
    "$(touch outside)",
    "`touch outside`",
    "a\nb",
    "\x1b[31m",
    "x" * 5_000,
    "%2e%2e%2foutside",
    "file:///etc/passwd",
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in; what is written above it or beside its `out` fails the test."""
    home = tmp_path / "home"
    inside = tmp_path / "some" / "where"
    for folder in (home, inside):
        folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(inside)
    yield inside
    assert sorted(os.listdir(tmp_path)) == ["home", "some"]
    assert os.listdir(tmp_path / "some") == ["where"]
    assert set(os.listdir(inside)) <= {"out", "data.json"}
    assert os.listdir(home) == []
    assert not Path("/tmp/outside").exists()


def written(folder: Path) -> set[str]:
    """Files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def data(here: Path) -> Path:
    """Questions whose ids and titles are all of `NAMES`."""
    rows = [
        {"id": name, "title": name, "question": f"Where is {name}?", "context": f"It is {name}."}
        for name in NAMES
    ]
    path = here / "data.json"
    path.write_bytes(dump(rows))
    return path


def test_predictions_of_any_id_are_in_their_files(
    data: Path, here: Path, tiny_model_folder: Path
) -> None:
    evaluation.predict(str(tiny_model_folder), str(data), here / "out", backend="torch")
    names = {"predictions.json", "nbest_predictions.json", "null_odds.json"}
    assert written(here / "out") == names
    for name in names:
        assert set(json.loads((here / "out" / name).read_text())) == set(NAMES)


def test_any_id_comes_back_from_squad_json(data: Path, here: Path) -> None:
    examples = load(data).examples
    (here / "out").mkdir()
    write_squad(examples, here / "out" / "a.json")
    assert {example.id for example in load(here / "out" / "a.json")} == set(NAMES)
    assert written(here / "out") == {"a.json"}


@pytest.mark.parametrize("name", NAMES)
def test_a_comparison_of_any_name_is_in_its_folder(name: str, here: Path) -> None:
    comparison = hostile(name)
    out = here / "out"
    report = write_report(comparison, out)
    (out / "recipe.yaml").write_bytes(comparison.recipe.to_yaml().encode())
    write_questions(out / "questions.jsonl", comparison.questions)
    for run in comparison.runs:
        run.save(run_folder(out, run.head, run.seed))
    assert Comparison.load(out) == comparison
    files = ("run", "predictions", "best_spans", "null_odds")
    assert written(out) == {
        *("recipe.yaml", "questions.jsonl"),
        *(path.name for path in (report.csv, report.figure, report.html)),
        *(f"runs/{r.head}-seed{r.seed}/{f}.json" for r in comparison.runs for f in files),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_head_is_never_a_path(name: str, here: Path) -> None:
    with pytest.raises(RecipeError, match="heads must be one or more of softmax, joint, crf"):
        Recipe(heads=(name,))
    with pytest.raises(RecipeError, match="seeds must be a whole number"):
        Recipe(seeds=(name,))  # type: ignore[arg-type]
    assert main(["train", "demo", "--head", name, "--output", str(here / "out")]) == 2
    assert main(["train", "--head", "crf", f"--seed={name}", "--output", str(here / "out")]) == 2


def test_a_recipe_in_a_folder_cannot_name_other_folders(here: Path) -> None:
    out = here / "out"
    out.mkdir()
    values = make_comparison().recipe.to_dict() | {"heads": ["../../../outside"]}
    (out / "recipe.yaml").write_bytes(dump(values))
    with pytest.raises(RecipeError, match=r"recipe\.yaml: heads must be one or more of"):
        Comparison.load(out)
