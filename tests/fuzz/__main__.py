"""Coverage-guided fuzzing of every target for some seconds each: `python -m fuzz 30`.

Every target runs in a process of its own, as libFuzzer ends the process. What it finds is printed,
to become a test.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["spanqa", "csv", "json", "yaml"]):
    from fuzz.targets import DICTIONARY, SEEDS, TARGETS

_SLOWEST = 10
"""Seconds that one input may take."""
_MEMORY = 2048
"""MiB that a process may take."""


def main() -> int:
    """Fuzz the targets named, or all; 1 where one fails."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("seconds", type=int)
    parser.add_argument("targets", nargs="*", help=", ".join(TARGETS))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"there is no target {min(unknown)}; there are {', '.join(TARGETS)}")
    if given.here:
        _fuzz(names[0], given.seconds)  # does not return
    failed = []
    for name in names:
        print(f"{name}: {given.seconds} s", flush=True)
        words = [sys.executable, "-m", "fuzz", str(given.seconds), name, "--here"]
        if subprocess.run(words).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "nothing was found")
    return 1 if failed else 0


def _fuzz(name: str, seconds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(SEEDS[name]):
            (corpus / str(number)).write_bytes(seed)
        dictionary = Path(folder) / "dictionary"
        dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in DICTIONARY))
        words = [
            *(f"-max_total_time={seconds}", f"-timeout={_SLOWEST}", f"-rss_limit_mb={_MEMORY}"),
            *(f"-dict={dictionary}", f"-artifact_prefix={folder}/", "-print_final_stats=1"),
            *("-verbosity=0", "-max_len=8192", str(corpus)),
        ]
        atheris.Setup([sys.argv[0], *words], TARGETS[name])
        atheris.Fuzz()


def _escaped(word: str) -> str:
    """As libFuzzer's dictionaries have it."""
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    sys.exit(main())
