"""Texts that carry scripts, markup, formulas and control characters stay texts wherever they go."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import ScriptedReader, make_comparison, make_manifest
from live import running
from playwright.sync_api import Browser, Page, sync_playwright
from test_bad_files import dump, nested
from test_page import CHROMIUM, FLAGS, ask

from spanqa.answer import Answer
from spanqa.cli import main
from spanqa.console import complain, print_answers, print_trials
from spanqa.errors import DataError
from spanqa.manifest import Trial
from spanqa.records import dump as record
from spanqa.report import render_html, write_report
from spanqa.run import Comparison, Question, run_folder, write_questions
from spanqa.server import create_app

SCRIPTS = (
    "<script>window.hit = 1</script>",
    "</script><script>window.hit = 2</script>",
    '"><img src=x onerror="window.hit = 3">',
    "'><svg/onload=window.hit=4>",
    "</style><script>window.hit = 5</script>",
    "</textarea></title><iframe srcdoc='<script>parent.hit = 6</script>'></iframe>",
    '<a href="javascript:window.hit = 7">javascript:window.hit=7</a>',
    "<!-- --><script>window.hit = 8</script>",
    "{{ 7 * 7 }} {% for x in ().__class__.__mro__ %} ${7*7} #{7*7} <%= 7*7 %>",
    "\u2028<b>\u2029</b>&lt;script&gt;&amp;",
    '" onmouseover="window.hit = 9" style="position: fixed; inset: 0',
    "<meta http-equiv=refresh content='0; url=https://elsewhere.example/'>",
    "<base href=https://elsewhere.example/><link rel=stylesheet href=//elsewhere.example/x.css>",
)
EVIL = " ".join(SCRIPTS)
STEERING = "\x1b[31m\x1b]0;title\x07\x9b2J\r\x08\x00 \u202eright to left [red]markup[/red] :smile:"

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")


def hostile(text: str) -> Comparison:
    """A comparison in which every text from outside is `text`, ids and answers made distinct."""
    plain = make_comparison(questions=24, unanswerable=8)
    asked = tuple(
        Question(
            f"{question.id} {text}",
            f"{question.article} {text}",
            f"who {text}",
            f"before {text}{n} behind",
            tuple(f"{text}{n}" for _ in question.answers),
            question.windows,
        )
        for n, question in enumerate(plain.questions)
    )
    runs = tuple(
        replace(
            run,
            environment={text: {text: [text]}, "hardware": text},
            predictions={
                q.id: (q.answers or ("",))[0] if (n + len(run.head)) % 3 else f"{text} {run.head}"
                for n, q in enumerate(asked)
            },
            best_spans={q.id: text for q in asked},
            null_odds={q.id: 0.0 for q in asked},
        )
        for run in plain.runs
    )
    recipe = plain.recipe
    recipe = replace(
        recipe,
        name=text,
        data=replace(recipe.data, train=text, eval=f"{text}!", calibration=f"{text}?"),
        encoder=replace(recipe.encoder, name=text, revision=text),
    )
    return Comparison(recipe, asked, runs)


# The report and the page, in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A page, and all that a script or a foreign address would leave a trace of."""
    context = browser.new_context()
    page = context.new_page()
    seen: list[str] = []
    page.on("console", lambda message: seen.append(message.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("dialog", lambda dialog: seen.append(dialog.message))
    page.on("popup", lambda popup: seen.append(popup.url))
    page.on("framenavigated", lambda frame: seen.append(frame.url))
    page.on("request", lambda request: seen.append(request.url))
    yield page, seen
    context.close()


@needs_browser
def test_nothing_in_a_report_runs(watched: tuple[Page, list[str]], tmp_path: Path) -> None:
    page, seen = watched
    report = write_report(hostile(EVIL), tmp_path)
    address = report.html.as_uri()
    page.goto(address)
    for summary in page.locator("summary").all():
        summary.click()
    page.locator(".flip").first.hover()
    assert page.evaluate("[window.hit, document.querySelectorAll('script, iframe').length]") == [
        None,
        0,
    ]
    assert [url for url in seen if url != address and not url.startswith("data:image/png")] == []
    assert page.locator("body [onmouseover], body base, body meta, body link").count() == 0
    assert page.title().startswith("<script>window.hit = 1</script>")
    shown = page.locator("body").text_content() or ""
    for script in SCRIPTS:
        assert script in shown
    assert page.locator("h1").text_content() == EVIL


@needs_browser
def test_a_script_would_have_been_noticed(watched: tuple[Page, list[str]], tmp_path: Path) -> None:
    page, seen = watched
    path = tmp_path / "open.html"
    path.write_text(f"<p>{SCRIPTS[0]} {SCRIPTS[2]}</p>", encoding="utf-8")
    page.goto(path.as_uri())
    page.wait_for_function("window.hit === 3")
    assert (tmp_path / "x").as_uri() in seen


def test_without_escaping_the_policy_still_stands(tmp_path: Path) -> None:
    html = render_html(hostile(EVIL), b"")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert html.index(policy[0]) < html.index("&lt;script")  # it holds for all that follows
    assert "script-src" not in policy[1]
    assert policy[1].startswith("default-src 'none'")


@needs_browser
@pytest.mark.parametrize("script", SCRIPTS)
def test_nothing_on_the_page_runs(watched: tuple[Page, list[str]], script: str) -> None:
    page, seen = watched
    with running(create_app(ScriptedReader())) as address:
        page.goto(address)
        asked = f"{script.strip()} Vik?"
        ask(page, asked, f"{script} Here is Vik. {script}")
        assert page.locator("mark").text_content() == "Vik"
        assert script in (page.locator("#view").text_content() or "")
        assert page.locator("article h2").text_content() == asked
        assert page.evaluate("window.hit") is None
        inside = "#view :not(div, mark), #results img, #results script, #results a, #results svg"
        assert page.locator(inside).count() == 0
        assert [said for said in seen if not said.startswith(address)] == []


# Tables


@pytest.mark.parametrize("head", ["=cmd|' /C calc'!A0", "+1", "@SUM(1)", "-2+3", "../x"])
def test_no_text_from_outside_is_in_the_csv(head: str, tmp_path: Path) -> None:
    """Cells are heads of the recipe and numbers: a run of another head is refused."""
    comparison = hostile("=1+1")
    report = write_report(comparison, tmp_path)
    with report.csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row.pop("head") in comparison.recipe.heads
        assert all(cell == "" or float(cell) == float(cell) for cell in row.values())
    (tmp_path / "recipe.yaml").write_text(comparison.recipe.to_yaml(), encoding="utf-8")
    write_questions(tmp_path / "questions.jsonl", comparison.questions)
    for run in comparison.runs:
        run.save(run_folder(tmp_path, run.head, run.seed))
    path = run_folder(tmp_path, "crf", 1) / "run.json"
    path.write_bytes(record(json.loads(path.read_text()) | {"head": head}))
    with pytest.raises(DataError, match=r"run\.json is damaged: it is not of the head crf"):
        Comparison.load(tmp_path)


# The terminal


def assert_plain(printed: str) -> None:
    assert printed.replace("\n", "").isprintable(), repr(printed)


def test_findings_do_not_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    asked = nested(id=STEERING, title=STEERING, question=STEERING, answers=[])
    wrong = nested(id=STEERING, answers=[{"text": STEERING, "answer_start": 3}])
    path.write_bytes(dump({"data": [*asked["data"], *wrong["data"], {STEERING: 1}]}))
    assert main(["check", str(path), "--all"]) == 1
    printed = capsys.readouterr()
    assert_plain(printed.out + printed.err)
    assert r"question '\x1b[31m\x1b]0;title\x07" in printed.out
    assert "[red]markup[/red] :smile:" in printed.out  # neither is read as what it looks like
    assert main(["score", str(path), str(path)]) == 2
    assert_plain(capsys.readouterr().err)


def test_answers_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    context = f"It is {STEERING} there."
    answer = Answer(STEERING, 6, 6 + len(STEERING), 0.5, 0.5, "", (0, len(context)))
    print_answers(f"What is {STEERING}?", context, [answer])
    printed = capsys.readouterr().out
    assert_plain(printed)
    assert "[red]markup[/red] :smile:" in printed


def test_names_in_an_export_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    manifest = make_manifest()
    named = {f"{name} {STEERING}": trial for name, trial in manifest.trials.items()}
    print_trials(replace(manifest, trials=named | {"[bold]x": Trial(1, 70, 1)}))
    printed = capsys.readouterr().out
    assert_plain(printed)
    assert "[bold]x" in printed


def test_errors_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    complain(f"{STEERING} is wrong")
    assert main(["check", "no\x1b[31m\u202e.json"]) == 2
    assert main(["compare", "\x1b[31m", "--output", "x"]) == 2
    assert main(["\x1b[31m"]) == 2
    printed = capsys.readouterr()
    assert_plain(printed.out + printed.err)
    assert "[red]markup[/red]" in printed.err


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_a_formula_in_a_file_is_a_text(kind: str, tmp_path: Path) -> None:
    from spanqa.data import load

    row: dict[str, Any] = {"id": "=1+1", "question": "@q", "context": "+a -b", "title": "=t"}
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        path.write_text("id,question,context,title\n=1+1,@q,+a -b,=t\n")
    else:
        path.write_bytes(dump([row]) if kind == "json" else dump(row))
    example = load(path).examples[0]
    assert (example.id, example.question, example.context) == ("=1+1", "@q", "+a -b")
