"""Questions answered end to end: beside the pipeline of transformers 4.57.6; CPU, one run.

    python -m benchmarks.answering [CHECKPOINT] [--backends torch onnx-int8 ...] [--questions N]

From text to answers, tokenising included, with the same weights on both sides, which take blocks of
questions in turn. Backends are torch and those that `spanqa export` has put beside the checkpoint,
unless named; what exact match they lose is counted against the first. The pipeline answers at the
batch size that a short trial finds best for it. Both sides may answer "" (that is
`handle_impossible_answer`), and do so where "no answer" beats every span: the threshold that ours
has from its calibration is set aside, so that exact match compares speed settings and nothing else.
Single questions are timed apart, one call each. Needs the peers (`make peers`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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
BLOCK, SINGLE_BLOCK = 500, 50
"""Questions that a side answers, or is asked singly, before another has its turn."""
TRIAL, SINGLE = 64, 200
"""Questions that a batch size is tried on, and that are asked one by one."""
FASTER, LOST = 4.0, 0.3
"""Targets: times the pipeline's questions a second, and points of exact match lost."""
OLD = "pipeline of transformers 4.57.6"
OPTIONS = {"handle_impossible_answer": True}


Ask = Callable[[Sequence[Example], int], tuple[list[dict[str, Any]], list[float]]]
"""Answers, and the seconds of each or of all together; the number is the pipeline's batch size."""


@dataclass
class Side:
    """One of those that answer, and what it gave so far."""

    name: str
    ask: Ask
    batch_size: int = 0
    seconds: float = 0.0
    found: list[dict[str, Any]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    """Seconds of single questions."""

    def answer(self, examples: Sequence[Example]) -> None:
        """Answer a block."""
        found, seconds = self.ask(examples, self.batch_size)
        self.found += found
        self.seconds += sum(seconds)

    def answer_singly(self, examples: Sequence[Example]) -> None:
        """Answer questions one by one."""
        self.latencies += self.ask(examples, 1)[1]

    def latency(self, percent: int) -> float:
        """A percentile, in milliseconds."""
        return 1e3 * float(np.percentile(self.latencies, percent))

    def exact(self, examples: Sequence[Example]) -> float:
        """Official exact match."""
        texts = {e.id: str(each["answer"]) for e, each in zip(examples, self.found, strict=True)}
        return evaluate(examples, texts).exact


def backends_of(checkpoint: str) -> tuple[str, ...]:
    """torch, and what an export lies beside the checkpoint for."""
    return ("torch", *exports_of(folder_of(checkpoint)))


def reader_of(checkpoint: str, backend: str) -> Reader:
    """The checkpoint on one backend, answering where a span beats "no answer"."""
    reader = Reader.from_pretrained(checkpoint, backend=backend)
    reader.rule = AT_ZERO
    return reader


def own(checkpoint: str, backend: str, examples: Sequence[Example]) -> Side:
    """Ours; singly where the batch size is 1."""
    reader = reader_of(checkpoint, backend)

    def ask(part: Sequence[Example], batch_size: int) -> tuple[list[dict[str, Any]], list[float]]:
        found: list[Any] = []
        if batch_size == 1:
            single = [partial(reader, each, **OPTIONS) for each in pairs(part)]
            return found, [seconds_of(one) for one in single]
        asked = pairs(part)
        return found, [seconds_of(lambda: found.extend(reader(asked, **OPTIONS)))]

    ask(examples[:8], 0)  # first calls allocate, and compile where a backend does
    return Side(reader.backend.name, ask)


def theirs(peer: Peer, examples: Sequence[Example], folder: Path) -> Side:
    """The pipeline, at its best batch size."""

    def ask(part: Sequence[Example], batch_size: int) -> tuple[list[dict[str, Any]], list[float]]:
        file = folder / "asked.json"
        file.write_text(json.dumps(pairs(part)))
        threads = torch.get_num_threads()
        asked = {"file": str(file), "threads": threads, "batch_size": batch_size}
        said = peer.ask("answer", **asked, **OPTIONS)
        return said["answers"], said["latencies"]

    ask(examples[:8], 8)
    trials = {size: sum(ask(examples[:TRIAL], size)[1]) for size in BATCH_SIZES}
    best = min(trials, key=lambda size: trials[size])
    return Side(f"{OLD}, batches of {best}", ask, best)


def turns(
    sides: Sequence[Side], examples: Sequence[Example], size: int
) -> Iterator[tuple[Side, Sequence[Example]]]:
    """Every block for every side; each other block in the opposite order."""
    for turn, begin in enumerate(range(0, len(examples), size)):
        for side in sides[:: -1 if turn % 2 else 1]:
            yield side, examples[begin : begin + size]


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
            named = backends or backends_of(checkpoint)
            found = [own(checkpoint, backend, examples) for backend in named]
            pipeline = theirs(peer, examples, Path(temporary))
            for side, part in turns([*found, pipeline], examples, BLOCK):
                side.answer(part)
            for side, part in turns([*found, pipeline], examples[:SINGLE], SINGLE_BLOCK):
                side.answer_singly(part)
    fastest = min(found, key=lambda each: each.seconds)
    exact = {side.name: side.exact(examples) for side in (*found, pipeline)}
    for each in found:
        for percent in (50, 95):
            yield Row(
                f"one question, {each.name}, p{percent}",
                each.latency(percent),
                "ms",
                pipeline.latency(percent),
                f"{OLD}, {min(SINGLE, len(examples))} questions",
            )
    for each in found[1:]:
        yield Row(
            f"exact match lost, {each.name}",
            exact[found[0].name] - exact[each.name],
            "points",
            beside=f"{found[0].name} has {exact[found[0].name]:.2f}",
            target=LOST,
        )
    for each in found:
        same = f"exact match {exact[each.name]:.2f}, theirs {exact[pipeline.name]:.2f}"
        yield Row(
            f"answering {len(examples):,} questions, {each.name}",
            len(examples) / each.seconds,
            "questions/s",
            len(examples) / pipeline.seconds,
            f"{pipeline.name}; {same}",
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
