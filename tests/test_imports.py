"""What must start quickly leaves torch alone; what runs is the copy that is meant to run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bounded
import pytest

import spanqa

WITHOUT_TORCH = (
    "spanqa",
    "spanqa.cli",
    "spanqa.data",
    "spanqa.decoding",
    "spanqa.errors",
    "spanqa.job",
    "spanqa.metrics",
    "spanqa.recipe",
    "spanqa.report",
    "spanqa.run",
    "spanqa.server",
    "spanqa.significance",
    "spanqa.synthetic",
    "spanqa.windows",
)


def python(code: str) -> str:
    """What a fresh interpreter prints for `code`."""
    done = bounded.run([sys.executable, "-c", code], encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_import_leaves_torch_alone(module: str) -> None:
    assert python(f"import sys, {module}; print('torch' in sys.modules)").strip() == "False"


def test_help_leaves_torch_alone() -> None:
    shown = python(
        "import sys\n"
        "from spanqa.cli import main\n"
        "sys.argv = ['spanqa', '--help']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "print('torch imported:', 'torch' in sys.modules)\n"
    )
    assert "compare" in shown
    assert shown.strip().endswith("torch imported: False")


def test_the_package_under_test_is_the_expected_one() -> None:
    """`make test-wheel` names the folder of the unpacked wheel; otherwise it is this checkout."""
    checkout = Path(__file__).resolve().parents[1] / "src"
    expected = Path(os.environ.get("SPANQA_EXPECT_PATH", checkout)).resolve()
    here = Path(spanqa.__file__).resolve().parents[1]
    there = Path(python("import spanqa; print(spanqa.__file__)").strip()).resolve().parents[1]
    assert (here, there) == (expected, expected)
