"""From a data file to a report and to answers, through the command line, with a tiny encoder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from spanqa.cli import main
from spanqa.metrics import normalize_answer
from spanqa.reader import Reader
from spanqa.run import Comparison

BEYONCE = (
    "Beyoncé Giselle Knowles-Carter was born in Houston, Texas, where she entered singing and "
    "dancing competitions as a child. She rose to fame in the late 1990s as lead singer of the "
    "group Destiny's Child, which her father, Mathew Knowles, managed. Her first album on her own, "
    '"Dangerously in Love", came out in 2003 and made her known around the world.'
)
"""Facts of the paragraph that the course report asked about, in our own words."""
QUESTIONS = {
    "When did Beyoncé start becoming popular?": "late 1990s",
    "What areas did Beyoncé compete in when she was growing up?": "singing and dancing",
    "In what city and state did Beyoncé grow up?": "Houston, Texas",
    "Who managed the group Destiny's Child?": "Mathew Knowles",
}
"""The course report's four questions and their answers."""


@pytest.fixture(scope="module")
def comparison(tiny_encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `spanqa compare` with all four heads and two seeds."""
    folder = tmp_path_factory.mktemp("comparison")
    code = main(
        [
            "compare",
            "demo",
            "--output",
            str(folder),
            "--encoder.name",
            str(tiny_encoder_folder),
            "--heads",
            "softmax",
            "joint",
            "crf",
            "span-crf",
            "--seeds",
            "1",
            "2",
            "--data.train",
            "synthetic:train:40",
            "--data.eval",
            "synthetic:eval:30",
            "--training.epochs",
            "2",
            "--windows.max-length",
            "128",
            "--windows.stride",
            "32",
        ]
    )
    assert code == 0
    return folder


def test_compare_leaves_a_report_a_figure_and_a_table(comparison: Path) -> None:
    with (comparison / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["head"], row["seed"]) for row in rows] == [
        (head, seed) for head in ("softmax", "joint", "crf", "span-crf") for seed in ("1", "2")
    ]
    assert (comparison / "training_results.png").read_bytes().startswith(b"\x89PNG")
    html = (comparison / "report.html").read_text()
    assert "synthetic" in html
    assert all(head in html for head in ("softmax", "joint", "crf", "span-crf"))


def test_figures_follow_from_the_stored_predictions(
    comparison: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Comparison.load(comparison).runs[0]
    predictions = comparison / "runs" / "softmax-seed1" / "predictions.json"
    assert main(["score", "synthetic:eval:30", str(predictions), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["exact"] == run.metrics["exact"]
    assert printed["f1"] == run.metrics["f1"]
    assert printed["HasAns_total"] == run.metrics["HasAns_total"]


def test_a_killed_comparison_goes_on_where_it_was(
    comparison: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = comparison / "runs" / "crf-seed2" / "run.json"
    lost = comparison / "runs" / "joint-seed1" / "run.json"
    before, kept_at = lost.read_text(), kept.stat().st_mtime_ns
    lost.unlink()
    recipe = str(comparison / "recipe.yaml")
    assert main(["compare", recipe, "--output", str(comparison)]) == 0
    assert kept.stat().st_mtime_ns == kept_at
    again, first = json.loads(lost.read_text()), json.loads(before)
    assert again["metrics"] == first["metrics"]
    assert "report.html" in capsys.readouterr().out


def test_another_recipe_in_the_same_folder_is_refused(
    comparison: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["compare", "demo", "--output", str(comparison), "--training.epochs", "3"])
    error = capsys.readouterr().err
    assert code == 2
    assert "recipe.yaml" in error
    assert error.count("\n") == 1


def test_evaluate_gives_the_figures_of_the_run(
    comparison: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = comparison / "runs" / "span-crf-seed1"
    code = main(
        [
            "evaluate",
            str(folder / "model"),
            "synthetic:eval:30",
            "--json",
            "--output",
            str(tmp_path),
        ]
    )
    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    assert printed == pytest.approx(json.loads((folder / "run.json").read_text())["metrics"])
    for name in ("predictions.json", "null_odds.json", "nbest_predictions.json"):
        assert json.loads((tmp_path / name).read_text()).keys() == {
            f"synthetic-eval-0-{i:06d}" for i in range(30)
        }


def test_the_course_reports_questions_end_to_end(
    tiny_encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A head that has learned the four answers gives them back as exact spans of the text."""
    rows = [
        {
            "id": f"q{i}",
            "title": f"article {i % 2}",
            "context": BEYONCE,
            "question": question,
            "answers": {"text": [answer], "answer_start": [BEYONCE.index(answer)]},
        }
        for i, (question, answer) in enumerate(QUESTIONS.items())
    ]
    data = tmp_path / "beyonce.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    other = tmp_path / "calibration.jsonl"  # of another text, as far as the check can see
    longer = [row | {"context": f"{BEYONCE}\n"} for row in rows]
    other.write_text("".join(json.dumps(row) + "\n" for row in longer), encoding="utf-8")
    text = tmp_path / "text.txt"
    text.write_text(BEYONCE, encoding="utf-8")
    code = main(
        [
            "train",
            "demo",
            "--head",
            "span-crf",
            "--output",
            str(tmp_path / "run"),
            "--encoder.name",
            str(tiny_encoder_folder),
            "--data.train",
            str(data),
            "--data.eval",
            str(data),
            "--data.calibration",
            str(other),
            "--encoder.frozen-layers",
            "0",
            "--encoder.hidden-dropout",
            "0",
            "--encoder.attention-dropout",
            "0",
            "--training.epochs",
            "60",
            "--training.batch-size",
            "4",
            "--training.learning-rate",
            "1e-2",
            "--training.head-learning-rate",
            "1e-2",
        ]
    )
    assert code == 0
    capsys.readouterr()

    model = str(tmp_path / "run" / "model")
    asked = [part for question in QUESTIONS for part in ("--question", question)]
    assert main(["ask", model, *asked, "--context", str(text), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    given = {entry["question"]: entry["answers"][0]["text"] for entry in found}
    assert {q: normalize_answer(text) for q, text in given.items()} == {
        q: normalize_answer(text) for q, text in QUESTIONS.items()
    }
    for entry in found:
        answer = entry["answers"][0]
        assert BEYONCE[answer["start"] : answer["end"]] == answer["text"]
        assert 0.5 < answer["probability"] <= 1.0

    answers = Reader.from_pretrained(model).answer(list(QUESTIONS), BEYONCE)
    assert [answer[0].text for answer in answers] == list(given.values())
