"""The command line: run a command, and end in one sentence where something is wrong.

Whatever a command needs is imported inside it (`spanqa.commands`): help and errors are quick.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import CycloptsError

from spanqa.commands import app
from spanqa.errors import SpanQAError

__all__ = ["app", "main"]

_RESUMABLE = ("batch", "compare", "train")
_QUIET = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
"""Leaves out what transformers says of every loading and saving; what is set already stays."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    0: done; 1: `check` found something, or an unexpected error; 2: the arguments, the recipe, the
    data or the model cannot be used; 130: interrupted.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    given = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in given if word != "--debug"]
    try:
        status = app(words, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except BrokenPipeError:
        # Whoever read us has stopped, as `| head` does; Python must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        if len(words) < len(given):
            traceback.print_exception(error)
        return _explain(error, words)


def _explain(error: BaseException, words: Sequence[str]) -> int:
    """One sentence on standard error, and the exit status."""
    from spanqa.console import complain

    if isinstance(error, KeyboardInterrupt):
        resumable = bool(words) and words[0] in _RESUMABLE
        complain(f"interrupted{'; the same command goes on where it was' if resumable else ''}")
        return 130
    if isinstance(error, SpanQAError | CycloptsError):
        complain(str(error))
        return 2
    if isinstance(error, OSError) and error.filename is not None:
        complain(f"{error.filename}: {error.strerror}")
        return 2
    kind = type(error).__name__
    complain(f"unexpected {kind}: {error}; --debug shows where it came from")
    return 1


if __name__ == "__main__":
    sys.exit(main())
