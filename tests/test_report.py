from __future__ import annotations

import csv
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import make_comparison
from PIL import Image

from spanqa.report import comparison_rows, render_html, write_report
from spanqa.results import COLUMNS
from spanqa.run import Comparison


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "img", "br", "line", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return make_comparison()


@pytest.fixture(scope="module")
def page(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> str:
    report = write_report(comparison, tmp_path_factory.mktemp("report"))
    return report.html.read_text(encoding="utf-8")


def test_csv_has_every_run_in_full_precision(comparison: Comparison, tmp_path: Path) -> None:
    report = write_report(comparison, tmp_path)
    with report.csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert [(row["head"], int(row["seed"])) for row in rows] == [
        (run.head, run.seed) for run in comparison.runs
    ]
    for row, run in zip(rows, comparison.runs, strict=True):
        assert float(row["exact"]) == run.metrics["exact"]
        assert float(row["train_seconds"]) == run.cost.train_seconds
        assert float(row["leaky_exact"]) == run.leaky_exact


def test_csv_leaves_empty_what_was_not_measured(tmp_path: Path) -> None:
    report = write_report(make_comparison(unanswerable=0, epochs=0), tmp_path)
    row = next(csv.DictReader(report.csv.read_text().splitlines()))
    assert (row["no_ans_exact"], row["last_train_loss"]) == ("", "")


def test_figure_is_a_png_of_the_documented_size(comparison: Comparison, tmp_path: Path) -> None:
    with Image.open(write_report(comparison, tmp_path).figure) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (1800, 750))
        assert len(set(image.convert("RGB").resize((180, 75)).tobytes())) > 20  # not blank


def test_equal_comparisons_give_equal_files(comparison: Comparison, tmp_path: Path) -> None:
    one = write_report(comparison, tmp_path / "one")
    two = write_report(make_comparison(), tmp_path / "two")
    assert one.csv.read_bytes() == two.csv.read_bytes()
    assert one.html.read_bytes() == two.html.read_bytes()
    assert one.figure.read_bytes() == two.figure.read_bytes()


def test_page_is_well_formed_and_needs_no_other_file(page: str) -> None:
    parsed = Page(page)
    assert parsed.open == []
    assert "script" not in parsed.tags
    assert "link" not in parsed.tags
    links = [v for name, v in parsed.attributes if name in ("src", "href", "srcset", "action")]
    assert links
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links)
    assert "url(" not in page
    assert "@import" not in page
    ids = [value for name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_page_can_be_read_with_a_screen_reader_on_a_phone_and_at_night(page: str) -> None:
    parsed = Page(page)
    assert parsed.tags.count("table") == parsed.tags.count("caption") > 8
    assert ("scope", "row") in parsed.attributes
    assert all(value for name, value in parsed.attributes if name == "alt")
    assert parsed.tags.count("table") == page.count('class="scroll"')
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_page_shows_figures_recipe_environment_and_signature(
    page: str, comparison: Comparison
) -> None:
    text = " ".join(" ".join(Page(page).text).split())
    mean = np.mean([run.metrics["exact"] for run in comparison.runs if run.head == "crf"])
    assert f"{mean:.2f} ±" in text
    assert "learning_rate:" in text
    assert "metric:squad2.0|questions:60" in text
    assert "machine of seed 1" in text
    assert "machine of seed 2" in text
    assert "chosen on the calibration questions" in text


def test_markup_in_the_data_comes_out_as_text(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    plain = make_comparison()
    question = replace(plain.questions[0], question=evil, article=evil, context=evil + " answer")
    runs = tuple(
        replace(
            run,
            environment={evil: evil},
            predictions={id_: evil + run.head for id_ in run.predictions},
        )
        for run in plain.runs
    )
    recipe = replace(plain.recipe, name=evil + "$x_{$")
    html = write_report(
        Comparison(recipe, (question, *plain.questions[1:]), runs), tmp_path
    ).html.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "&lt;script&gt;" in html
    assert Page(html).tags.count("img") == 1


def test_lone_surrogates_do_not_stop_the_report(tmp_path: Path) -> None:
    plain = make_comparison()
    questions = tuple(replace(q, question="who \ud800?") for q in plain.questions)
    report = write_report(replace(plain, questions=questions), tmp_path)
    assert "who ??" in report.html.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "said", "not_said"),
    [
        ({}, "these texts and questions were made by a program", "chosen on the very questions"),
        ({"source": "eval.json"}, "Reported data", "made by a program"),
        ({"validate_on": "eval"}, "chosen on the very questions that are reported", "not finished"),
        (
            {"drop": ("crf", 2)},
            "Not finished and therefore not in this report: crf with",
            "chosen on the very",
        ),
    ],
)
def test_head_of_the_page_says_what_must_be_known(
    changes: dict[str, Any], said: str, not_said: str
) -> None:
    html = render_html(make_comparison(**changes), b"")
    text = re.sub(r"\s+", " ", html)
    assert said in text
    assert not_said not in text


@pytest.mark.parametrize(
    "changes",
    [
        {"heads": ("span-crf",), "seeds": (7,)},
        {"unanswerable": 0},
        {"unanswerable": 60},
        {"epochs": 0},
        {"epochs": 1},
        {"articles": 1},
        {"loss": float("nan")},
    ],
    ids=str,
)
def test_report_of_a_comparison_with_something_missing(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    html = write_report(make_comparison(**changes), tmp_path).html.read_text(encoding="utf-8")
    visible = " ".join(Page(re.sub(r"<style>.*</style>", "", html, flags=re.S)).text)
    assert "None" not in visible
    assert not re.search(r"\b(nan|inf)\b", visible)
    assert ('id="pairs"' in html) == (len(changes.get("heads", ("a", "b"))) > 1)


def test_training_on_the_reported_questions_is_said() -> None:
    plain = make_comparison()
    data = replace(plain.recipe.data, train=plain.recipe.data.eval)
    html = render_html(replace(plain, recipe=replace(plain.recipe, data=data)), b"")
    assert "The reported questions were trained on (synthetic:eval)" in html
    assert "The reported questions were trained on" not in render_html(plain, b"")


def test_rows_for_the_terminal(comparison: Comparison) -> None:
    rows = comparison_rows(comparison)
    assert [row["head"] for row in rows] == ["softmax", "crf", "span-crf"]
    values = [run.metrics["exact"] for run in comparison.runs if run.head == "softmax"]
    assert rows[0]["EM"] == f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
    assert all("±" not in row["EM"] for row in comparison_rows(make_comparison(seeds=(1,))))
