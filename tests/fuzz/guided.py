"""One target under atheris, which follows the coverage: `python -m fuzz.guided json 30`."""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["spanqa", "csv", "json", "yaml"]):
    from fuzz.targets import DICTIONARY, SEEDS, TARGETS

SLOWEST = 10
"""Seconds that one input may take."""
MEMORY = 2048
"""MiB that the process may take."""
LONGEST = 8192
"""Bytes of the longest input."""


def main(name: str, seconds: str) -> None:
    """Fuzz a target; ends the process, with another status than 0 where something was found."""

    def target(content: bytes) -> None:
        try:
            TARGETS[name](content)
        except BaseException:
            print(f"found in base64: {base64.b64encode(content).decode()}", file=sys.stderr)
            raise

    folder = Path(tempfile.mkdtemp())  # whoever started the process removes it
    corpus, words = folder / "corpus", folder / "dictionary"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[name]):
        (corpus / str(number)).write_bytes(seed)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in DICTIONARY))
    options = [
        *(f"-max_total_time={seconds}", f"-timeout={SLOWEST}", f"-rss_limit_mb={MEMORY}"),
        *(f"-max_len={LONGEST}", f"-dict={words}", f"-artifact_prefix={folder}/"),
        *("-print_final_stats=1", "-verbosity=0", str(corpus)),
    ]
    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    """As libFuzzer's dictionaries have it."""
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
