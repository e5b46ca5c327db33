"""Known vulnerabilities of the pinned versions, by pip-audit; skipped where its database is not.

python .ci/audit.py constraints.txt
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

IGNORED: Mapping[str, str] = {}
"""Id of a vulnerability -> why it does not concern spanqa."""
PIP_AUDIT = [sys.executable, "-m", "pip_audit"]
UNREACHABLE = re.compile(
    r"""(ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError):
    |Could\ not\ connect\ to\ PyPI's\ vulnerability\ feed
    |PyPI\ is\ not\ redirecting\ properly
    |HTTPError:\ (403|407|429|5\d\d)\ """,
    re.VERBOSE,
)
"""In what pip-audit says when it cannot reach its database, or something in between refuses."""


def main(file: str) -> int:
    """1 where a pinned version has a known vulnerability that is not in `IGNORED`."""
    words = ["--requirement", file, "--no-deps", "--disable-pip", "--format", "json"]
    words += ["--progress-spinner", "off", "--timeout", "15"]
    for name in IGNORED:
        words += ["--ignore-vuln", name]
    done = subprocess.run([*PIP_AUDIT, *words], capture_output=True, text=True)
    status, sentence = verdict(done.returncode, done.stdout, done.stderr)
    print(f"audit: {sentence}")
    return status


def verdict(status: int, out: str, err: str) -> tuple[int, str]:
    """The exit status, and what is printed, for how pip-audit ended and what it printed."""
    try:
        packages: list[dict[str, Any]] = json.loads(out)["dependencies"]
    except ValueError:
        if status and UNREACHABLE.search(err):
            return 0, "skipped, as the database of vulnerabilities cannot be reached"
        return 1, f"pip-audit failed: {err.strip()}"
    looked_up = [package for package in packages if "vulns" in package]
    if not looked_up:
        return 0, "skipped, as the database of vulnerabilities knows none of the packages"
    found = [
        f"{package['name']} {package['version']} has {each['id']}, "
        f"fixed in {', '.join(each['fix_versions']) or 'no version yet'}"
        for package in looked_up
        for each in package["vulns"]
    ]
    if found:
        return 1, "\n".join([f"{len(found)} known vulnerabilities", *found])
    unknown = len(packages) - len(looked_up)
    return 0, f"{len(looked_up)} packages without a known vulnerability, {unknown} not known there"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
