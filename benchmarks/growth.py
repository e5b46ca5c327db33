"""Time and peak memory against size: of a text, of a file of questions, of a head's sequences; CPU.

    python -m benchmarks.growth [--plot FILE] [--only NAME ...]

    text        Reader.answer on one text of 1 thousand to 1 million characters; once with scores
                made up, which leaves what is spanqa's own, and once with the offline encoder
    questions   windows, decoding and metrics of 1 thousand to 100 thousand questions, scores made
                up; about ten questions a paragraph, as in SQuAD 2.0
    heads       loss and gradient of each head over 128 to 8,192 tokens, a batch of 32, and its
                best answers

Each size runs in a process of its own, forked from one that has imported everything. Memory is the
peak of resident memory above what the process held before. A slope is fitted to the logarithms of
the three largest sizes: below them the cost of starting covers how time grows.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import DATA, ROOT, alternate, conditions, quiet, seconds_of
from benchmarks.rows import Row, show
from spanqa.backends import Arrays, BatchScores, TorchBackend
from spanqa.data import load
from spanqa.decoding import WindowScores, best_spans, decode_all
from spanqa.environment import PeakMemory
from spanqa.example import Example
from spanqa.heads import HEADS, SpanHead, make_head
from spanqa.metrics import evaluate
from spanqa.model import SpanQAConfig, SpanQAModel, resolve_encoder
from spanqa.reader import Reader
from spanqa.recipe import WindowRecipe
from spanqa.tokenizer import load_tokenizer
from spanqa.windows import cut

Run = Callable[[], object]
LINEAR = 1.1
"""Target: the largest slope that still counts as linear."""
LEAST_MEMORY = 1.0
"""MiB below which a peak says nothing."""
FITTED = 3
"""Largest sizes that a slope is fitted to."""
PLOT = ROOT / "benchmarks" / "growth.png"
HIDDEN, BATCH = 384, 32
SHORT = 0.5
"""Seconds; shorter runs are repeated."""


@dataclass(frozen=True)
class Point:
    """What one size took."""

    size: int
    seconds: float
    megabytes: float


class MadeUp:
    """Scores that follow from the token ids alone, at next to no cost."""

    name = "made up"

    def score(self, arrays: Arrays) -> BatchScores:
        """Score all spans of a batch of windows."""
        ids = arrays["input_ids"]
        closed = np.where(arrays["context_mask"], 0, -np.inf).astype(np.float32)
        start, end = ((ids * factor % 97 / 10).astype(np.float32) for factor in (31, 57))
        zeros = np.zeros(len(ids), np.float32)
        return BatchScores(start + closed, end + closed, zeros, zeros + 15)


@cache
def paragraphs() -> tuple[Example, ...]:
    """SQuAD 2.0 dev."""
    return load(DATA / "squad2" / "dev-v2.0.json", misaligned="keep").examples


def text_run(encoder: bool, size: int) -> Run:
    """One question on one text of so many characters."""
    text = " ".join(dict.fromkeys(example.context for example in paragraphs()))
    text = (text * (1 + size // len(text)))[:size]
    tokenizer = load_tokenizer(resolve_encoder("offline"))
    if encoder:
        torch.manual_seed(0)
        model = SpanQAModel.from_encoder("offline", "span-crf")
        reader = Reader(TorchBackend(model), tokenizer, model.config)
    else:
        reader = Reader(MadeUp(), tokenizer, SpanQAConfig())
    reader.answer("Who was it?", text[:500])  # first calls allocate
    return partial(reader.answer, "Who was it?", text, top_k=3)


def questions_run(size: int) -> Run:
    """Windows, decoding and metrics of so many questions."""
    known, examples = paragraphs(), []
    for i in range(size):
        round_, row = divmod(i, len(known))
        example = known[row]
        # Another paragraph each round, or its tokens would be known already.
        context = example.context + (f" {round_}." if round_ else "")
        examples.append(replace(example, id=f"{example.id} {round_}", context=context))
    tokenizer = load_tokenizer(resolve_encoder("offline"))
    random = np.random.default_rng(0)

    def run() -> None:
        windows = cut(examples, tokenizer, WindowRecipe())
        scores = []
        for row in range(len(windows)):
            windows.input_ids(row)
            window = windows[row]
            start, end = random.normal(0, 3, (2, window.end - window.begin)).astype(np.float32)
            scores.append(WindowScores(window.begin, start, end, 0.0, 0.0))
        found = decode_all(windows, scores, n_best=1)
        texts = {each.id: each.spans[0].text for each in found}
        evaluate(examples, texts, na_probs={each.id: each.null_odds for each in found})

    return run


def head_run(name: str, decoding: bool, size: int) -> Run:
    """Loss and gradient, or the best answers, of a batch of sequences of so many tokens."""
    torch.manual_seed(0)
    head: SpanHead = make_head(name, HIDDEN)

    def loss(hidden: Tensor, mask: Tensor, first: Tensor) -> None:
        head.zero_grad()
        head.loss(head(hidden, mask), first, first + 4).backward()

    @torch.inference_mode()
    def best(hidden: Tensor, mask: Tensor, first: Tensor) -> None:
        scores = head(hidden, mask)
        best_spans(*(part.numpy() for part in (scores.start, scores.end, scores.unit)))

    def batch(length: int) -> tuple[Tensor, Tensor, Tensor]:
        mask = torch.ones(BATCH, length, dtype=torch.bool)
        mask[:, 0] = False
        first = torch.randint(1, length - 8, (BATCH,))
        return torch.randn(BATCH, length, HIDDEN), mask, first

    run = best if decoding else loss
    run(*batch(16))  # first calls allocate
    return partial(run, *batch(size))


def _powers_of_ten(largest: int) -> tuple[int, ...]:
    return tuple(10**power for power in range(3, 1 + round(math.log10(largest))))


LENGTHS = tuple(2**power for power in range(7, 14))
RUNS: Mapping[str, tuple[Sequence[int], Callable[[int], Run]]] = {
    "text, scores made up": (_powers_of_ten(1_000_000), partial(text_run, False)),
    "text, offline encoder": (_powers_of_ten(1_000_000), partial(text_run, True)),
    "questions": (_powers_of_ten(100_000), questions_run),
    **{
        f"{name} {what}": (LENGTHS, partial(head_run, name, decoding))
        for name in HEADS
        for what, decoding in (("loss + gradient", False), ("best answers", True))
    },
}
"""By name: sizes, and what makes the thing to run of one size."""


def give_back() -> None:
    """Hand freed memory back to the system, or a run would fit into it unseen; glibc only."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def measured(name: str, size: int) -> Point:
    """One size, in this process; the median of some runs where one is short."""
    run = RUNS[name][1](size)
    give_back()
    memory = PeakMemory()
    before = memory.megabytes()
    seconds = seconds_of(run)
    peak = memory.megabytes() - before
    if seconds < SHORT:
        seconds = alternate({"run": run}, SHORT / 10, 5)["run"]
    return Point(size, seconds, peak)


def points(name: str) -> list[Point]:
    """All sizes, each in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    # Imported once, and nothing run there: threads of torch do not outlive a fork.
    context.set_forkserver_preload(["benchmarks.measure", "spanqa.reader", "spanqa.metrics"])
    with context.Pool(1, maxtasksperchild=1) as pool:
        return [pool.apply(measured, (name, size)) for size in RUNS[name][0]]


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Power of the size that the values grow with; NaN where there are fewer than two."""
    if len(sizes) < 2:
        return math.nan
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def slopes(found: Sequence[Point]) -> tuple[float, float]:
    """Of time and of memory, over the largest sizes."""
    large = found[-FITTED:]
    heavy = [point for point in large if point.megabytes >= LEAST_MEMORY]
    return (
        slope([p.size for p in large], [p.seconds for p in large]),
        slope([p.size for p in heavy], [p.megabytes for p in heavy]),
    )


def plot(found: Mapping[str, Sequence[Point]], file: Path) -> None:
    """Time and memory of all runs on double logarithmic axes, heads apart from the rest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7), layout="constrained")
    for name, line in found.items():
        column = int(name in HEAD_RUNS)
        for row, values in enumerate(
            ([p.seconds for p in line], [max(p.megabytes, LEAST_MEMORY) for p in line])
        ):
            label = f"{name}: {slopes(line)[row]:.2f}"
            axes[row, column].loglog([p.size for p in line], values, marker="o", label=label)
    for row, what in enumerate(("seconds", "MiB above the start, at least 1")):
        for column, size in enumerate(("characters, or questions", f"tokens, batch {BATCH}")):
            axes[row, column].set(xlabel=size, ylabel=what)
            axes[row, column].grid(alpha=0.3)
            if axes[row, column].lines:
                axes[row, column].legend(fontsize=7)
    figure.suptitle("Growth, with the slope over the three largest sizes")
    figure.savefig(file, dpi=80)


HEAD_RUNS = frozenset(name for name, (sizes, _) in RUNS.items() if sizes is LENGTHS)


def rows(names: Sequence[str] = tuple(RUNS), file: Path | None = PLOT) -> Iterator[Row]:
    """The slopes of time and memory of each run, and the plot."""
    found = {}
    for name in names:
        line = found[name] = points(name)
        time, memory = slopes(line)
        last = line[-1]
        reach = f"{line[0].size:,} to {last.size:,}; {last.seconds:.3g} s at the end"
        yield Row(f"growth of time, {name}", time, "slope", beside=reach, target=LINEAR)
        if not math.isnan(memory):
            reach = f"{last.megabytes:,.0f} MiB at the end"
            yield Row(f"growth of memory, {name}", memory, "slope", beside=reach, target=LINEAR)
    if file is not None:
        plot(found, file)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=RUNS, default=tuple(RUNS), metavar="NAME")
    parser.add_argument("--plot", type=Path, default=PLOT)
    args = parser.parse_args()
    quiet()
    print(*conditions(), sep="\n")
    for row in rows(args.only, args.plot):
        show(row)


if __name__ == "__main__":
    main()
