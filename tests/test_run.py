from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from fakes import make_comparison
from hypothesis import given, settings
from hypothesis import strategies as st

from spanqa.errors import DataError
from spanqa.records import write_atomic
from spanqa.run import Comparison, Question, Run, read_questions, run_folder, write_questions


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of three heads and two seeds on disk, not to be changed."""
    comparison, folder = make_comparison(), tmp_path_factory.mktemp("comparison")
    (folder / "recipe.yaml").write_text(comparison.recipe.to_yaml(), encoding="utf-8")
    write_questions(folder / "questions.jsonl", comparison.questions)
    for run in comparison.runs:
        run.save(run_folder(folder, run.head, run.seed))
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return shutil.copytree(written, tmp_path / "comparison")


def test_run_comes_back_as_it_was(tmp_path: Path) -> None:
    run = make_comparison().runs[0]
    odd = replace(
        run,
        environment={"a": [1, None, {"b": True}]},
        predictions={"é\u2028": "naïve 東京", "half": "\ud800"},
        null_odds={"x": float("inf"), "y": -1e-300},
    )
    odd.save(tmp_path / "runs" / "one")
    assert Run.load(tmp_path / "runs" / "one") == odd


def test_run_files_have_the_layout_of_the_official_script(tmp_path: Path) -> None:
    run = make_comparison().runs[0]
    run.save(tmp_path)
    assert json.loads((tmp_path / "predictions.json").read_bytes()) == run.predictions
    assert json.loads((tmp_path / "null_odds.json").read_bytes()) == run.null_odds
    slim = json.loads((tmp_path / "run.json").read_bytes())
    assert slim["head"] == "softmax"
    assert "predictions" not in slim
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best_spans.json",
        "null_odds.json",
        "predictions.json",
        "run.json",
    ]


def test_unknown_keys_are_ignored(tmp_path: Path) -> None:
    run = make_comparison().runs[0]
    run.save(tmp_path)
    slim = json.loads((tmp_path / "run.json").read_bytes())
    slim["later"] = slim["cost"]["later"] = 1
    (tmp_path / "run.json").write_text(json.dumps(slim))
    assert Run.load(tmp_path) == run


def _change(*keys: str | int, to: Any) -> Any:
    def change(text: str) -> str:
        content = part = json.loads(text)
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = to
        return json.dumps(content)

    return change


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        ("run.json", lambda text: text[: len(text) // 2], "not valid JSON"),
        ("run.json", lambda text: "", "not valid JSON"),
        ("run.json", lambda text: "[" * 100_000, "not valid JSON"),
        ("run.json", lambda text: "[]", "an object is needed"),
        ("run.json", lambda text: "{}", "'head' is missing"),
        ("run.json", _change("seed", to="one"), "'seed' is damaged: a whole number is needed"),
        ("run.json", _change("seed", to=True), "'seed' is damaged: a whole number is needed"),
        ("run.json", _change("head", to=None), "'head' is damaged: text is needed, found None"),
        ("run.json", _change("cost", "eval_seconds", to=[1]), "'eval_seconds' is damaged: a numb"),
        ("run.json", _change("losses", to={}), "'losses' is damaged: a list is needed"),
        ("run.json", _change("losses", 1, "loss", to="nan"), "'losses', [1], 'loss' is damaged"),
        ("run.json", _change("metrics", "exact", to="x"), "'metrics', 'exact' is damaged"),
        ("predictions.json", lambda text: "[]", "an object is needed"),
        ("predictions.json", _change("q7", to=7), "'q7' is damaged: text is needed, found 7"),
        ("null_odds.json", _change("q7", to="7"), "'q7' is damaged: a number is needed"),
        ("best_spans.json", lambda text: text[:-5], "not valid JSON"),
    ],
)
def test_damaged_run_files_are_named(file: str, damage: Any, said: str, folder: Path) -> None:
    path = folder / "runs" / "crf-seed2" / file
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        Comparison.load(folder)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_is_not_text_and_file_that_is_missing(folder: Path) -> None:
    path = folder / "runs" / "crf-seed2" / "best_spans.json"
    path.write_bytes(b'{"q0": "\xff"}')
    with pytest.raises(DataError, match=r"best_spans\.json is damaged: not UTF-8 text at byte 8"):
        Comparison.load(folder)
    path.unlink()
    with pytest.raises(DataError, match=r"best_spans\.json cannot be read: No such file"):
        Comparison.load(folder)


@given(
    st.lists(
        st.builds(
            Question,
            st.text(max_size=8),
            st.text(max_size=8),
            st.text(st.characters(), max_size=20),
            st.text(st.characters(), max_size=60),
            st.lists(st.text(max_size=9), max_size=3).map(tuple),
            st.integers(1, 9),
        ),
        unique_by=lambda question: question.id,
    )
)
@settings(deadline=None, max_examples=30)
def test_questions_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, questions: list[Question]
) -> None:
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    write_questions(path, questions)
    assert read_questions(path) == tuple(questions)


def test_question_with_a_lone_surrogate_comes_back(tmp_path: Path) -> None:
    question = Question("a", "t", "who \udfff?", "line\u2028line\r\n\x85", ("x",), 1)
    write_questions(tmp_path / "q.jsonl", [question])
    assert read_questions(tmp_path / "q.jsonl") == (question,)


def test_damaged_questions_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    good = json.dumps(asdict(Question("a", "t", "q", "c", (), 1)))
    path.write_text(f"{good}\n{good[:-4]}\n")
    with pytest.raises(DataError, match=r"questions\.jsonl, line 2 is damaged: not valid JSON"):
        read_questions(path)
    path.write_text(f"{good}\n\n{good}\n")
    with pytest.raises(DataError, match="line 3: question id 'a' is used twice"):
        read_questions(path)


def test_comparison_is_read_in_the_order_of_the_recipe(folder: Path) -> None:
    assert Comparison.load(folder) == make_comparison()


def test_unfinished_runs_are_left_out(folder: Path) -> None:
    (folder / "runs" / "crf-seed2" / "run.json").unlink()
    assert Comparison.load(folder) == make_comparison(drop=("crf", 2))


def test_comparison_without_a_finished_run_is_an_error(folder: Path) -> None:
    for path in folder.glob("runs/*/run.json"):
        path.unlink()
    with pytest.raises(DataError, match="no finished run of the 6 in the recipe"):
        Comparison.load(folder)


def test_folder_that_is_no_comparison_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no recipe\.yaml"):
        Comparison.load(tmp_path)


def test_run_without_an_answer_to_a_question_is_an_error(folder: Path) -> None:
    path = folder / "runs" / "span-crf-seed1" / "null_odds.json"
    odds = json.loads(path.read_text())
    del odds["q59"]
    path.write_text(json.dumps(odds))
    with pytest.raises(DataError, match=r"null_odds\.json has no entry for question 'q59'"):
        Comparison.load(folder)


def test_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    write_atomic(path, b"old")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", stop)
        with pytest.raises(KeyboardInterrupt):
            write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
