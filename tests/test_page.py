"""The page in a real browser: what is marked, what is said, and what stays inert."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import ScriptedReader
from live import running
from playwright.sync_api import Browser, Page, expect, sync_playwright

from spanqa.server import create_app
from spanqa.settings import ServerSettings

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TEXT = "The bridge of Vik was built in 1887.\n\nIt spans the Lenna."
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(create_app(ScriptedReader(), ServerSettings(max_question_length=60))) as address:
        yield address


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Open]:
    """Opens the page; asserts that it asked no other host and threw no error."""
    contexts: list[Any] = []
    asked: list[str] = []
    complaints: list[str] = []

    def open(at: str = address, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page: Page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(at)
        return page

    yield open
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith("http://127.0.0.1:")] == []
    # The browser itself reports statuses of errors that a test provokes.
    assert [said for said in complaints if "Failed to load resource" not in said] == []


def ask(page: Page, question: str, text: str | None = None) -> None:
    """Fill in and press Enter; returns when there is an answer or an error."""
    if text is not None:
        page.locator("#text").evaluate("(area, text) => { area.value = text; }", text)
    page.get_by_label("Question", exact=True).fill(question)
    page.get_by_label("Question", exact=True).press("Enter")
    page.wait_for_function(
        "question => document.querySelector('#error').textContent"
        " || document.querySelector('#results h2')?.textContent === question",
        arg=question,
    )


def marked(page: Page) -> list[str]:
    return page.locator("#view mark").all_text_contents()


@pytest.mark.parametrize("before", ["", "🙂👩‍🚀 ", "e\u0301a\u0308 \U00010348 ", "עברית العربية "])
def test_the_answer_is_marked_where_it_stands(open_page: Open, before: str) -> None:
    page = open_page()
    ask(page, "Where is Vik?", f"{before}The 🙂 bridge of Vik\n🙂 stands.")
    assert marked(page) == ["Vik"]
    whole = "document.querySelector('mark').previousSibling.textContent"
    assert page.evaluate(whole) == f"{before}The 🙂 bridge of "
    expect(page.locator(".lead")).to_contain_text("75.0 %")
    expect(page.get_by_role("status")).to_have_text("Answer: Vik, probability 75.0 %.")


def test_runners_up_are_reached_by_keyboard_and_mouse(open_page: Open) -> None:
    page = open_page()
    ask(page, "Where is Vik?", TEXT)
    rows = page.locator("article").get_by_role("listitem")
    expect(rows).to_have_text([re.compile("no answer"), re.compile("The")])
    page.locator("button.lead").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert marked(page) == ["The "]
    assert page.locator("[aria-current]").count() == 1
    page.locator("button.lead").click()
    assert marked(page) == ["Vik"]


def test_no_answer_is_said_plainly_with_the_best_span(open_page: Open) -> None:
    page = open_page()
    ask(page, "Where is Oslo?", TEXT)
    expect(page.locator(".lead")).to_contain_text("No answer in this text")
    expect(page.locator("summary")).to_have_text("If there were one, it would be")
    assert marked(page) == []
    page.locator("button.answer").click()
    assert marked(page) == ["The "]


def test_a_long_text_is_scrolled_to_the_answer(open_page: Open) -> None:
    page = open_page()
    text = "\n".join(f"Line {n} says little. " * 12 for n in range(500)) + "\nHere is Vik."
    assert len(text) > 100_000
    ask(page, "Where is Vik?", text + "\n" + "And more lines.\n" * 2000)
    expect(page.locator("mark")).to_be_in_viewport()
    view = "document.querySelector('#view').scrollTop"
    page.wait_for_function(f"{view} > 1000")
    ask(page, "Which Line?")
    expect(page.locator("mark")).to_be_in_viewport()
    page.wait_for_function(f"{view} === 0")


def test_an_answer_may_run_over_blocks_and_blank_lines_stay(open_page: Open) -> None:
    page = open_page()
    page.evaluate("whole => showText(whole)", "a" * 4000 + "\n\n\n" + "b" * 10)
    page.evaluate("showView(true); mark(3990, 4008)")
    assert "".join(marked(page)) == "a" * 10 + "\n\n" + "b" * 5  # a block ends for the third
    assert page.locator("#view > div").all_text_contents() == ["a" * 4000, "\n\n" + "b" * 10]


def test_markup_in_texts_and_questions_is_inert(open_page: Open) -> None:
    page = open_page()
    evil = '<img src="x" onerror="window.hit=1"><script>window.hit=1</script>Vik'
    ask(page, "<b onclick=hit()>Where?</b> Vik", f"{evil} {TEXT}")
    assert marked(page) == ["Vik"]
    ask(page, 'is onerror="window.hit=1"><script>window.hit=1</script>Vik')
    assert page.evaluate("window.hit") is None
    assert page.locator("#view img, #view script, #results img, #results b").count() == 0
    assert evil in page.locator("#view").text_content()  # type: ignore[operator]


def test_ctrl_enter_asks_from_the_text_and_edit_goes_back(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("textbox", name="Text").fill(TEXT)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_label("Question", exact=True)).to_be_focused()
    page.get_by_label("Question", exact=True).fill("Where is Vik?")
    page.get_by_role("textbox", name="Text").focus()
    page.keyboard.press("Control+Enter")
    expect(page.locator("mark")).to_have_text("Vik")
    page.get_by_role("button", name="Edit").press("Enter")
    expect(page.get_by_role("textbox", name="Text")).to_be_focused()
    ask(page, "Where is Oslo?", "Oslo is elsewhere.")
    assert page.locator("article").count() == 1  # what was asked about another text is gone


def test_earlier_questions_stay_and_fold(open_page: Open) -> None:
    page = open_page()
    ask(page, "Where is Vik?", TEXT)
    ask(page, "When, 1887?")
    assert page.locator("h2").all_text_contents() == ["When, 1887?", "Where is Vik?"]
    assert page.locator("details[open]").count() == 1
    page.locator("button.lead", has_text="Vik").click()
    assert marked(page) == ["Vik"]


def test_errors_are_the_servers_sentences(open_page: Open) -> None:
    page = open_page()
    error = page.get_by_role("alert")
    page.get_by_role("button", name="Ask").click()
    expect(error).to_have_text("There is no text yet: paste one or open a file")
    ask(page, "x" * 61, TEXT)
    expect(error).to_have_text("Question has 61 characters; the limit is 60 (max_question_length)")
    page.get_by_label("Question", exact=True).fill("")
    ask(page, "Does it fail", TEXT)
    expect(error).to_have_text("The model failed; the server's log says why")
    ask(page, "Where is Vik?")
    expect(page.locator("mark")).to_have_text("Vik")
    expect(error).to_be_empty()
    page.context.set_offline(True)
    ask(page, "Where is Vik, again, Vik?")
    expect(error).to_have_text("The server cannot be reached")


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"max_body": 50}, "The body is too large; the limit is 50 bytes (max_body)"),
        ({"max_text_length": 20}, "Context has 57 characters; the limit is 20 (max_text_length)"),
    ],
)
def test_limits_are_told(open_page: Open, settings: dict[str, int], sentence: str) -> None:
    with running(create_app(ScriptedReader(), ServerSettings(**settings))) as address:  # type: ignore[arg-type]
        page = open_page(address)
        ask(page, "Where is Vik?", TEXT)
        expect(page.get_by_role("alert")).to_have_text(sentence)


def test_a_key_is_asked_for_and_kept_in_the_tab(open_page: Open) -> None:
    with running(create_app(ScriptedReader(), api_key="correct-horse")) as address:
        page = open_page(address)
        ask(page, "Where is Vik?", TEXT)
        expect(page.get_by_role("alert")).to_contain_text("The API key is missing or wrong")
        expect(page.get_by_label("API key")).to_be_focused()
        page.keyboard.type("correct-horse")
        page.keyboard.press("Enter")
        expect(page.locator("mark")).to_have_text("Vik")
        expect(page.get_by_label("API key")).to_be_hidden()
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_files_are_opened_and_dropped(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    text = page.get_by_role("textbox", name="Text")
    page.locator("#file").set_input_files(
        {"name": "a.txt", "mimeType": "text/plain", "buffer": "Où est Vík 🙂?".encode()}
    )
    expect(text).to_have_value("Où est Vík 🙂?")
    expect(page.locator("#count")).to_have_text("13 characters")
    page.locator("#file").set_input_files(
        {"name": "b.txt", "mimeType": "text/plain", "buffer": b"\xff\xfe\x00"}
    )
    expect(page.get_by_role("alert")).to_have_text("The file b.txt is not UTF-8 text")
    dropped = page.evaluate_handle(
        "() => { const data = new DataTransfer();"
        " data.items.add(new File(['Dropped on Vik.'], 'c.txt')); return data; }"
    )
    page.dispatch_event("#text", "drop", {"dataTransfer": dropped})
    expect(text).to_have_value("Dropped on Vik.")


@pytest.mark.parametrize("scheme, dark", [("light", False), ("dark", True)])
def test_it_follows_the_colour_scheme_and_fits_a_phone(
    open_page: Open, scheme: str, dark: bool
) -> None:
    page = open_page(color_scheme=scheme, viewport={"width": 360, "height": 740})
    ask(page, "Where is Vik?", TEXT + " " + "x" * 300)
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", colour))) < 3 * 128) == dark
    width = "[document.documentElement.scrollWidth, innerWidth]"
    assert page.evaluate(width) == [360, 360]
    expect(page.locator("mark")).to_be_in_viewport()
