"""One question over one text of up to a million characters: Reader, server and batch.

    python -m benchmarks.long_texts [--model default] [--sizes 100000 1000000]

The text is that of SQuAD 2.0's dev set. Memory is the peak of the process that runs the model, and
how much of it is above its memory when it was warm.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray is imported

from benchmarks.batch import Memory
from benchmarks.growth import give_back
from benchmarks.measure import DATA, conditions, quiet
from spanqa.batch import answer_corpus
from spanqa.data import load
from spanqa.environment import PeakMemory
from spanqa.reader import Reader
from spanqa.settings import BatchSettings

QUESTION = "In what country is Normandy located?"
SHORT = "The Normans gave their name to Normandy, a region in France."
LIMIT = 3600
"""Seconds."""
Outcome = tuple[float, float, float, str]
"""Seconds, peak MiB, MiB above the warm process, answer."""


def text_of(size: int) -> str:
    """So many characters of different paragraphs."""
    examples = load(DATA / "squad2" / "dev-v2.0.json", misaligned="keep").examples
    text = "\n".join(dict.fromkeys(example.context for example in examples))
    return (text * (1 + size // len(text)))[:size]


def by_reader(model: str, size: int) -> Outcome:
    """`Reader.answer`, in this process."""
    text = text_of(size)
    reader = Reader.from_pretrained(model)
    reader.answer(QUESTION, SHORT)
    give_back()
    memory = PeakMemory()
    before = memory.megabytes()
    began = time.perf_counter()
    found = reader.answer(QUESTION, text)[0]
    seconds = time.perf_counter() - began
    return seconds, memory.megabytes(), memory.megabytes() - before, found.text


def by_server(model: str, size: int) -> Outcome:
    """`POST /answer` to a server with its own limits, but for the time."""
    words = ["serve", model, "--port", "0", "--time-limit", str(LIMIT)]
    process = subprocess.Popen(
        [sys.executable, "-m", "spanqa.cli", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().rsplit(" ", 1)[-1].strip()
        post(address, SHORT)
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # forget the peak of loading
        before = peak_of(process.pid)
        began = time.perf_counter()
        found = post(address, text_of(size))
        seconds = time.perf_counter() - began
        peak = peak_of(process.pid)
    finally:
        process.kill()
        process.wait()
    return seconds, peak, peak - before, found["results"][0]["answers"][0]["text"]


def post(address: str, text: str) -> Any:
    """The answer to `QUESTION` over a text."""
    body = json.dumps({"question": QUESTION, "context": text}).encode()
    request = urllib.request.Request(
        f"{address}/answer", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=LIMIT) as response:
        return json.load(response)


def peak_of(pid: int) -> float:
    """Most resident memory so far, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10


def by_batch(model: str, size: int) -> Outcome:
    """One row of a batch of one worker, which has one core; memory as seen once a second."""
    with tempfile.TemporaryDirectory() as name, Memory() as memory:
        source, out = Path(name) / "a.jsonl", Path(name) / "out"
        source.write_text(json.dumps({"question": QUESTION, "context": text_of(size)}) + "\n")
        answer_corpus(model, str(source), str(out), BatchSettings(workers=1))
        seconds = json.loads((out / "done" / "000000.json").read_text())["seconds"]
        found = json.loads((out / "answers" / "000000.jsonl").read_text())["answers"][0]["text"]
    sizes = max((sizes for (kind, _), sizes in memory.seen.items() if kind == "worker"), key=len)
    return seconds, max(sizes), float("nan"), found


WAYS = {"Reader.answer": by_reader, "POST /answer": by_server, "batch": by_batch}


def main() -> None:
    """One line for every way and size, each in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--sizes", nargs="+", type=int, default=(100_000, 1_000_000))
    parser.add_argument("--only", nargs="+", choices=WAYS, default=tuple(WAYS), metavar="WAY")
    args = parser.parse_args()
    quiet()
    print(*conditions(), sep="\n")
    print(f"{'':<15}{'characters':>11}{'seconds':>9}{'peak MiB':>10}{'above warm':>12}  answer")
    spawn = multiprocessing.get_context("spawn")
    for size in args.sizes:
        for way in args.only:
            with spawn.Pool(1) as pool:
                seconds, peak, above, found = pool.apply(partial(WAYS[way], args.model, size))
            print(
                f"{way:<15}{size:>11,}{seconds:>9.1f}{peak:>10.0f}{above:>12.0f}  {found}",
                flush=True,
            )


if __name__ == "__main__":
    main()
