"""Coverage-guided fuzzing of every target for some seconds each: `python -m fuzz 30`.

Every target runs in a process of its own, as libFuzzer ends the process. What it finds is printed,
to become a test.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile

from fuzz.targets import TARGETS


def main() -> int:
    """Fuzz the targets named, or all; 1 where one fails."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("seconds", type=int)
    parser.add_argument("targets", nargs="*", help=", ".join(TARGETS))
    given = parser.parse_args()
    names = given.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"there is no target {min(unknown)}; there are {', '.join(TARGETS)}")
    failed = [name for name in names if not _holds(name, given.seconds)]
    print(f"failed: {', '.join(failed)}" if failed else "nothing was found")
    return 1 if failed else 0


def _holds(name: str, seconds: int) -> bool:
    """Whether nothing was found in a target; prints how many inputs were tried, or the find."""
    words = [sys.executable, "-m", "fuzz.guided", name, str(seconds)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
            env=os.environ | {"TMPDIR": folder},
        )
    if done.returncode:
        print(f"{name}: failed\n{done.stdout[-10_000:]}", flush=True)
        return False
    inputs = re.search(r"number_of_executed_units: (\d+)", done.stdout)
    assert inputs is not None, done.stdout
    print(f"{name}: {int(inputs[1]):,} inputs in {seconds} s", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
