"""Questions answered end to end: beside the pipeline of transformers 4.57.6; CPU, one run.

    python -m benchmarks.answering [CHECKPOINT] [--backends torch onnx-int8 ...] [--questions N]

From text to answers, tokenising included, with the same weights on both sides. Backends are torch
and those that `spanqa export` has put beside the checkpoint, unless named; what exact match they
lose is counted against the first. The pipeline answers
at the batch size that a short trial finds best for it. Both sides may answer "" (that is
`handle_impossible_answer`), and do so where "no answer" beats every span: the threshold that ours
has from its calibration is set aside, so that exact match compares speed settings and nothing else.
Single questions are timed apart, one call each. Needs the peers (`make peers`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.checkpoint import as_theirs, pairs
from benchmarks.measure import DATA, Peer, conditions, quiet, seconds_of
from benchmarks.rows import Row, show
from spanqa.abstention import AT_ZERO
from spanqa.choice import BACKENDS
from spanqa.data import load
from spanqa.example import Example
from spanqa.manifest import exports_of
from spanqa.metrics import evaluate
from spanqa.reader import Reader
from spanqa.shipped import DEFAULT, folder_of

BATCH_SIZES = (1, 8, 32)
"""Tried for the pipeline."""
TRIAL, SINGLE = 100, 200
"""Questions that a batch size is tried on, and that are asked one by one."""
FASTER, LOST = 4.0, 0.3
"""Targets: times the pipeline's questions a second, and points of exact match lost."""
OLD = "pipeline of transformers 4.57.6"
OPTIONS = {"handle_impossible_answer": True}


@dataclass(frozen=True)
class Answered:
    """What one side gave for all questions."""

    name: str
    seconds: float
    exact: float
    latencies: tuple[float, ...]
    """Seconds of single questions."""

    def latency(self, percent: int) -> float:
        """A percentile, in milliseconds."""
        return 1e3 * float(np.percentile(self.latencies, percent))


def backends_of(checkpoint: str) -> tuple[str, ...]:
    """torch, and what an export lies beside the checkpoint for."""
    return ("torch", *exports_of(folder_of(checkpoint)))


def reader_of(checkpoint: str, backend: str) -> Reader:
    """The checkpoint on one backend, answering where a span beats "no answer"."""
    reader = Reader.from_pretrained(checkpoint, backend=backend)
    reader.rule = AT_ZERO
    return reader


def own(checkpoint: str, backend: str, examples: Sequence[Example]) -> Answered:
    """Answers of ours."""
    reader, asked = reader_of(checkpoint, backend), pairs(examples)
    reader(asked[:8], **OPTIONS)  # first calls allocate, and compile where a backend does
    found: list[Any] = []
    seconds = seconds_of(lambda: found.extend(reader(asked, **OPTIONS)))
    single = [seconds_of(partial(reader, each, **OPTIONS)) for each in asked[:SINGLE]]
    return Answered(reader.backend.name, seconds, exact_match(examples, found), tuple(single))


def theirs(peer: Peer, examples: Sequence[Example], folder: Path) -> Answered:
    """Answers of the pipeline, at its best batch size."""

    def ask(part: Sequence[Example], batch_size: int) -> dict[str, Any]:
        file = folder / "asked.json"
        file.write_text(json.dumps(pairs(part)))
        threads = torch.get_num_threads()
        return peer.ask("answer", file=str(file), threads=threads, batch_size=batch_size, **OPTIONS)

    ask(examples[:8], 8)
    trials = {size: ask(examples[:TRIAL], size)["seconds"] for size in BATCH_SIZES}
    best = min(trials, key=lambda size: trials[size])
    whole = ask(examples, best)
    single = ask(examples[:SINGLE], 1)["latencies"]
    exact = exact_match(examples, whole["answers"])
    return Answered(f"{OLD}, batches of {best}", whole["seconds"], exact, tuple(single))


def exact_match(examples: Sequence[Example], found: Sequence[dict[str, Any]]) -> float:
    """Official exact match of answers in the form of the pipeline's."""
    texts = {e.id: str(each["answer"]) for e, each in zip(examples, found, strict=True)}
    return evaluate(examples, texts).exact


def rows(
    checkpoint: str = DEFAULT,
    backends: Sequence[str] = (),
    data: Path = DATA / "squad2" / "dev-v2.0.json",
    questions: int = 2000,
) -> Iterator[Row]:
    """Throughput, latency and exact match of each backend; targets are for the fastest one.

    Args:
        checkpoint: what `Reader.from_pretrained` takes, with a softmax or joint head.
        backends: names in `spanqa.choice.BACKENDS`; those of `backends_of` if left out.
        data: a SQuAD file.
        questions: the first ones of it.
    """
    examples = load(data, misaligned="keep").examples[:questions]
    with tempfile.TemporaryDirectory() as temporary:
        folder = as_theirs(checkpoint, Path(temporary) / "model")
        with Peer("pipeline_v4.py", folder) as peer:
            peer_found = theirs(peer, examples, Path(temporary))
    named = backends or backends_of(checkpoint)
    found = [own(checkpoint, backend, examples) for backend in named]
    fastest = min(found, key=lambda each: each.seconds)
    for each in found:
        for percent in (50, 95):
            yield Row(
                f"one question, {each.name}, p{percent}",
                each.latency(percent),
                "ms",
                peer_found.latency(percent),
                f"{OLD}, {min(SINGLE, len(examples))} questions",
            )
    for each in found[1:]:
        yield Row(
            f"exact match lost, {each.name}",
            found[0].exact - each.exact,
            "points",
            beside=f"{found[0].name} has {found[0].exact:.2f}",
            target=LOST,
        )
    for each in found:
        yield Row(
            f"answering {len(examples):,} questions, {each.name}",
            len(examples) / each.seconds,
            "questions/s",
            len(examples) / peer_found.seconds,
            f"{peer_found.name}; exact match {each.exact:.2f}, theirs {peer_found.exact:.2f}",
            FASTER if each is fastest else None,
        )


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", nargs="?", default=DEFAULT)
    parser.add_argument("--backends", nargs="+", default=(), choices=BACKENDS, metavar="NAME")
    parser.add_argument("--data", type=Path, default=DATA / "squad2" / "dev-v2.0.json")
    parser.add_argument("--questions", type=int, default=2000)
    args = parser.parse_args()
    quiet()
    print(*conditions(), sep="\n")
    for row in rows(args.checkpoint, args.backends, args.data, args.questions):
        show(row)


if __name__ == "__main__":
    main()
