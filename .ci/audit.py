"""Known vulnerabilities of the pinned versions, by pip-audit; skipped where its database is not.

python .ci/audit.py constraints.txt
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

IGNORED: Mapping[str, str] = {}
"""Id of a vulnerability -> why it does not concern spanqa."""
UNREACHABLE = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "SSLError")
"""Names in what pip-audit says when it cannot reach its database."""


def main(file: str) -> int:
    """1 where a pinned version has a known vulnerability that is not in `IGNORED`."""
    words = ["--requirement", file, "--no-deps", "--disable-pip", "--format", "json"]
    words += ["--progress-spinner", "off", "--timeout", "15"]
    for name in IGNORED:
        words += ["--ignore-vuln", name]
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", *words], capture_output=True, text=True
    )
    status, sentence = verdict(done.returncode, done.stdout, done.stderr)
    print(f"audit: {sentence}")
    return status


def verdict(status: int, out: str, err: str) -> tuple[int, str]:
    """The exit status, and what is printed, for how pip-audit ended and what it printed."""
    try:
        packages: list[dict[str, Any]] = json.loads(out)["dependencies"]
    except ValueError:
        if status and any(name in err for name in UNREACHABLE):
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
