"""Time of the span heads: beside three CRF packages, and inside a whole evaluation; CPU, one run.

    python -m benchmarks.heads [--shapes 8x384 ...] [--threads 1]

Part 1: loss and gradient, and decoding of the best answer, from emissions (B, L, 3) over a context
of L tokens. The peers' chains are given the same transitions, so that their loss must equal that of
`crf`; this is checked before anything is timed. Ours runs through the head as training does, the
linear layer included (here 3 x 3, the identity), which the peers are not asked for. The peers
normalise over all tag paths and know no `span-crf`; both heads stand beside their one loss, and
their decoding gives the best tag path where ours gives the best span. The peers (pytorch-crf 0.7.2,
TorchCRF 1.1.0, torch-struct 0.5) run in a process of their own (`make peers`), in turn with ours.

On a machine that does other work too, give --threads 1: threads that wait for each other at every
small operation then measure the other work.

Part 2: questions of the sample corpus through the same encoder with each head, down to the n-best
answers. The heads take turns on every batch, and each batch counts with its median time.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.measure import Peer, alternate, conditions, in_turn, quiet, seconds_of
from benchmarks.rows import Row, show
from spanqa.backends import TorchBackend
from spanqa.crf import TAGS, span_potentials
from spanqa.data import load
from spanqa.decoding import best_spans, decode_all
from spanqa.heads import make_head
from spanqa.model import SpanQAModel, resolve_encoder
from spanqa.prediction import score_windows
from spanqa.recipe import WindowRecipe
from spanqa.tokenizer import load_tokenizer
from spanqa.windows import Windows, cut

T = len(TAGS)
PEERS = ("pytorch-crf", "TorchCRF", "torch-struct")
TARGETS = {"crf": 15.0, "span-crf": 60.0, "best answer": 100.0, "evaluation": 0.97}
SHAPES = tuple((batch, length) for length in (128, 2048, 384) for batch in (32, 8))
"""Those that have targets come last."""
AIMED = 384
"""Tokens; the targets hold for every peer and batch size there."""
SECONDS_A_TURN = 0.05


class Batch:
    """Emissions, transitions and one answer a row."""

    def __init__(self, batch: int, length: int) -> None:
        torch.manual_seed(0)
        self.emissions = torch.randn(batch, length, T, requires_grad=True)
        self.transitions = 0.1 * torch.randn(T, T)
        self.mask = torch.ones(batch, length, dtype=torch.bool)
        self.first = torch.randint(1, length - 8, (batch,))
        self.last = self.first + torch.randint(0, 8, (batch,))
        self.heads = {name: self._head(name) for name in ("crf", "span-crf")}
        with torch.inference_mode():
            self.scores = self.emissions.clone()  # as it comes from an encoder in evaluation

    def _head(self, name: str) -> Any:
        """A CRF head whose emissions are its hidden states."""
        head = make_head(name, T)
        with torch.no_grad():
            head.classifier.weight.copy_(torch.eye(T))
            head.classifier.bias.zero_()
            head.get_parameter("transitions").copy_(self.transitions)
        return head

    def save(self, path: Path) -> None:
        """For the peers."""
        position = torch.arange(self.emissions.shape[1])
        inside = (position >= self.first[:, None]) & (position <= self.last[:, None])
        tags = torch.where(position == self.first[:, None], 1, 2) * inside
        tensors = {"emissions": self.emissions.detach(), "transitions": self.transitions}
        save_file(tensors | {"tags": tags}, path)

    def loss(self, name: str) -> Tensor:
        """Of one head."""
        head = self.heads[name]
        value: Tensor = head.loss(head(self.emissions, self.mask), self.first, self.last)
        return value

    def step(self, name: str) -> None:
        """Loss and gradient."""
        self.emissions.grad = None
        for head in self.heads.values():
            head.zero_grad()
        self.loss(name).backward()

    @torch.inference_mode()
    def decode(self) -> list[list[int]]:
        """First and last token of each row's best span."""
        potentials = span_potentials(self.scores, self.transitions, self.mask)
        _, first, last = best_spans(*(part.numpy() for part in potentials))
        return [first.tolist(), last.tolist()]


def repeated(run: Callable[[], object]) -> Callable[[], float]:
    """Seconds of one call, over as many as take `SECONDS_A_TURN`."""
    run()  # first calls allocate
    times = max(1, round(SECONDS_A_TURN / seconds_of(run)))
    return lambda: seconds_of(lambda: [run() for _ in range(times)]) / times


def of_peer(peer: Peer, package: str, what: str) -> Callable[[], float]:
    """The same of a peer."""
    ask = partial(peer.ask, "time", package=package, what=what)
    ask(repeats=1)
    times = max(1, round(SECONDS_A_TURN / ask(repeats=1)["seconds"]))
    return lambda: float(ask(repeats=times)["seconds"])


def chain_times(peer: Peer, batch: int, length: int, turns: int) -> dict[str, float]:
    """Median seconds of loss + gradient and of decoding at one shape, ours and the peers'."""
    own = Batch(batch, length)
    with tempfile.TemporaryDirectory() as folder:
        own.save(Path(folder) / "batch.safetensors")
        losses = peer.ask(
            "load", file=f"{folder}/batch.safetensors", threads=torch.get_num_threads()
        )["losses"]
    for package, value in losses.items():
        # A benchmark of two different quantities would say nothing.
        torch.testing.assert_close(
            own.loss("crf").item(), value, rtol=1e-4, atol=1e-3, msg=f"{package}: another loss"
        )
    runs = {name: repeated(partial(own.step, name)) for name in own.heads}
    runs["best answer"] = repeated(own.decode)
    for package in PEERS:
        for what in ("loss", "decode"):
            runs[f"{package} {what}"] = of_peer(peer, package, what)
    return in_turn(runs, turns)


def chain_rows(shapes: Sequence[tuple[int, int]], turns: int) -> Iterator[Row]:
    """One row a shape, thing and peer."""
    with Peer("chains.py") as peer:
        for batch, length in shapes:
            seconds = chain_times(peer, batch, length, turns)
            for name in ("crf", "span-crf", "best answer"):
                decodes = name == "best answer"
                what = name if decodes else f"{name} loss + gradient"
                for package in PEERS:
                    yield Row(
                        f"{what}, {batch} x {length}",
                        1e3 * seconds[name],
                        "ms",
                        1e3 * seconds[f"{package} {'decode' if decodes else 'loss'}"],
                        package,
                        TARGETS[name] if length == AIMED else None,
                    )


def sample_batches(tokenizer: Any, batches: int, batch_size: int) -> list[Windows]:
    """Windows of the longest texts of the sample corpus, of `batch_size` questions in each."""
    wanted = batches * batch_size
    examples = sorted(load("synthetic:eval").examples, key=lambda e: -len(e.context))
    recipe = WindowRecipe()
    found = []
    for start in range(0, wanted, batch_size):
        found.append(cut(examples[start : start + batch_size], tokenizer, recipe))
    return found


def evaluation_rows(batches: int, batch_size: int, turns: int) -> Iterator[Row]:
    """Windows a second with each chain, beside the softmax head's."""
    parts = sample_batches(load_tokenizer(resolve_encoder("offline")), batches, batch_size)
    backends = {
        name: TorchBackend(SpanQAModel.from_encoder("offline", name))
        for name in ("softmax", "crf", "span-crf")
    }
    windows = sum(map(len, parts))
    tokens = sum(int(part.lengths.sum()) for part in parts)

    def evaluate(name: str, part: Windows) -> None:
        decode_all(part, score_windows(backends[name], part, batch_size=batch_size).scores)

    total = dict.fromkeys(backends, 0.0)
    for part in parts:
        runs = {name: partial(evaluate, name, part) for name in backends}
        for name, seconds in alternate(runs, 0.0, turns).items():
            total[name] += seconds
    for name in ("crf", "span-crf"):
        yield Row(
            f"evaluation, {name} head : softmax head",
            windows / total[name],
            "windows/s",
            windows / total["softmax"],
            f"our softmax head; {windows} windows of {tokens / windows:.0f} tokens",
            TARGETS["evaluation"],
        )


def rows(shapes: Sequence[tuple[int, int]] = SHAPES, turns: int = 3) -> Iterator[Row]:
    """Chains, then evaluation."""
    yield from chain_rows(shapes, turns)
    yield from evaluation_rows(2, 8, 3 * turns)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--shapes", nargs="+", type=_shape, default=SHAPES, metavar="8x384")
    parser.add_argument("--turns", type=int, default=3, help="runs of each that a median is over")
    parser.add_argument("--threads", type=int, help="of torch; its own choice if not given")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    quiet()
    print(*conditions(), sep="\n")
    for row in rows(args.shapes, args.turns):
        show(row)


def _shape(text: str) -> tuple[int, int]:
    batch, _, length = text.partition("x")
    return int(batch), int(length)


if __name__ == "__main__":
    main()
