"""Write the help texts of the command line into docs/cli.md.

`python docs/generate.py` rewrites the blocks that follow `<!-- spanqa ... --help -->`;
`python docs/generate.py --check` changes nothing and fails where one is out of date.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from spanqa.cli import app

PAGE = Path(__file__).parent / "cli.md"
BLOCK = re.compile(r"(<!-- spanqa(.*?) --help -->\n```text\n)(.*?)(```\n)", re.DOTALL)
WIDTH = 100


def help_of(command: str) -> str:
    """What `spanqa COMMAND --help` prints on a terminal of WIDTH columns, without colours."""
    file = io.StringIO()
    console = Console(file=file, width=WIDTH, force_terminal=False, color_system=None)
    app.help_print(command.split(), console=console)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def generated(page: str) -> str:
    """The page with every block filled anew."""
    return BLOCK.sub(lambda block: block[1] + help_of(block[2]) + block[4], page)


def main() -> int:
    """Rewrite the page, or check it; 1 where the check finds it out of date."""
    page = PAGE.read_text(encoding="utf-8")
    fresh = generated(page)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(fresh, encoding="utf-8")
    elif fresh != page:
        print(f"{PAGE} is out of date: run python docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
