"""Write docs/page.png: the page of a running server in a browser, after one question.

spanqa serve MODEL &
python docs/screenshot.py [http://127.0.0.1:8080] [--dark] [--output FILE]
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def main() -> None:
    """Ask the page's own example."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("address", nargs="?", default="http://127.0.0.1:8080")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "page.png")
    args = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(FLAGS)
        )
        page = browser.new_page(
            viewport={"width": 1120, "height": 640},
            color_scheme="dark" if args.dark else "light",
        )
        page.goto(args.address)
        page.get_by_role("button", name="Try an example").click()
        expect(page.locator("article")).to_be_visible(timeout=60_000)
        page.screenshot(path=args.output)
        browser.close()


if __name__ == "__main__":
    main()
