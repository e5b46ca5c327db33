"""Time of the span heads: beside pytorch-crf, and inside a whole evaluation; CPU, one run.

    python -m benchmarks.heads [--full] [--chain-only] [--threads 1]

Part 1: loss and gradient, and decoding of the best answer, from emissions (B, L, 3) over a context
of L tokens. The peer's chain is given the same transitions, so that its loss must equal that of
`crf`; this is checked before anything is timed. Ours runs through the head as training does, the
linear layer included (here 3 x 3, the identity), which the peer is not asked for. pytorch-crf
normalises over all tag paths and knows no `span-crf`; both heads stand beside its one loss, and its
`decode` gives the best tag path where ours gives the best span.

On a machine that does other work too, give --threads 1: threads that wait for each other at every
small operation then measure the other work.

Part 2: questions of the sample corpus through the same encoder with each head, down to the n-best
answers. The heads take turns on every batch, and each batch counts with its median time.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import torch
import torchcrf
from torch import Tensor
from transformers.utils import logging

from spanqa.backends import TorchBackend
from spanqa.crf import OUTSIDE, TAGS, span_potentials
from spanqa.data import load
from spanqa.decoding import best_spans, decode_all
from spanqa.environment import cpu_name
from spanqa.heads import SpanHead, make_head
from spanqa.model import SpanQAModel, resolve_encoder
from spanqa.prediction import score_windows
from spanqa.recipe import WindowRecipe
from spanqa.tokenizer import load_tokenizer
from spanqa.windows import Windows, cut

T = len(TAGS)
TARGETS = {"crf": 15.0, "span-crf": 60.0, "decoding": 100.0, "evaluation": 0.97}
SHAPES = ((8, 384), (32, 384), (8, 128))
FULL = (*SHAPES, (8, 2048))


def alternate(
    runs: Mapping[str, Callable[[], object]], seconds_each: float, turns: int
) -> dict[str, float]:
    """Median seconds of each, run in turn so that all meet the same load.

    The quick ones are repeated inside a turn until they take about `seconds_each`.
    """
    repeats = {}
    for name, run in runs.items():
        run()  # first calls allocate
        begin = time.perf_counter()
        run()
        repeats[name] = max(1, round(seconds_each / (time.perf_counter() - begin)))
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            begin = time.perf_counter()
            for _ in range(repeats[name]):
                run()
            taken[name].append((time.perf_counter() - begin) / repeats[name])
    return {name: statistics.median(times) for name, times in taken.items()}


def chain_head(name: str, transitions: Tensor) -> Any:
    """A CRF head whose emissions are its hidden states."""
    head = make_head(name, T)
    with torch.no_grad():
        head.classifier.weight.copy_(torch.eye(T))
        head.classifier.bias.zero_()
        head.get_parameter("transitions").copy_(transitions)
    return head


def peer_chain(transitions: Tensor) -> Any:
    """pytorch-crf with the same transitions; ours start from an O and return to one."""
    chain = torchcrf.CRF(T, batch_first=True)
    with torch.no_grad():
        chain.transitions.copy_(transitions)
        chain.start_transitions.copy_(transitions[OUTSIDE])
        chain.end_transitions.copy_(transitions[:, OUTSIDE])
    return chain


def chain_times(batch: int, length: int, turns: int) -> dict[str, float]:
    """Median seconds of loss + gradient and of decoding at one shape."""
    torch.manual_seed(0)
    emissions = torch.randn(batch, length, T, requires_grad=True)
    transitions = 0.1 * torch.randn(T, T)
    mask = torch.ones(batch, length, dtype=torch.bool)
    first = torch.randint(1, length - 8, (batch,))
    last = first + torch.randint(0, 8, (batch,))
    position = torch.arange(length)
    inside = (position >= first[:, None]) & (position <= last[:, None])
    tags = torch.where(position == first[:, None], 1, 2) * inside
    heads: dict[str, SpanHead] = {
        name: chain_head(name, transitions) for name in ("crf", "span-crf")
    }
    peer = peer_chain(transitions)

    def own_loss(name: str) -> Tensor:
        head = heads[name]
        return head.loss(head(emissions, mask), first, last)

    def peer_loss() -> Tensor:
        value: Tensor = -peer(emissions, tags, mask, reduction="mean")
        return value

    # A benchmark of two different quantities would say nothing.
    torch.testing.assert_close(own_loss("crf"), peer_loss(), rtol=1e-4, atol=1e-3)

    with torch.inference_mode():
        scores = emissions.clone()  # as it comes from an encoder in evaluation

    @torch.inference_mode()
    def own_decode() -> list[list[int]]:
        potentials = span_potentials(scores, transitions, mask)
        _, begin, end = best_spans(*(part.numpy() for part in potentials))
        return [begin.tolist(), end.tolist()]

    @torch.inference_mode()
    def peer_decode() -> list[list[int]]:
        paths: list[list[int]] = peer.decode(scores, mask)
        return paths

    def step(loss: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            emissions.grad = None
            for module in (*heads.values(), peer):
                module.zero_grad()
            loss().backward()

        return run

    return alternate(
        {
            "peer loss": step(peer_loss),
            "crf": step(lambda: own_loss("crf")),
            "span-crf": step(lambda: own_loss("span-crf")),
            "peer decode": peer_decode,
            "decoding": own_decode,
        },
        seconds_each=0.03,
        turns=turns,
    )


def print_chains(shapes: tuple[tuple[int, int], ...], turns: int) -> None:
    print("\nmilliseconds beside pytorch-crf (targets at 8 x 384)")
    print(f"{'batch x tokens':>14}  {'what':<26}{'pytorch-crf':>12}{'spanqa':>10}{'ratio':>9}")
    for batch, length in shapes:
        seconds = chain_times(batch, length, turns)
        for name in ("crf", "span-crf", "decoding"):
            peer = seconds["peer decode" if name == "decoding" else "peer loss"]
            what = "best answer" if name == "decoding" else f"{name} loss + gradient"
            row = f"{batch:>6} x {length:<5}  {what:<26}{1e3 * peer:>12.3f}"
            row += f"{1e3 * seconds[name]:>10.3f}{peer / seconds[name]:>8.1f}x"
            target = f"   target {TARGETS[name]:g}x" if (batch, length) == SHAPES[0] else ""
            print(row + target, flush=True)


def sample_batches(tokenizer: Any, batches: int, batch_size: int) -> list[Windows]:
    """Windows of the longest texts of the sample corpus, of `batch_size` questions in each."""
    wanted = batches * batch_size
    examples = sorted(load("synthetic:eval").examples, key=lambda e: -len(e.context))
    recipe = WindowRecipe()
    found = []
    for start in range(0, wanted, batch_size):
        found.append(cut(examples[start : start + batch_size], tokenizer, recipe))
    return found


def print_evaluation(batches: int, batch_size: int, turns: int) -> None:
    parts = sample_batches(load_tokenizer(resolve_encoder("offline")), batches, batch_size)
    models = {
        name: SpanQAModel.from_encoder("offline", name) for name in ("softmax", "crf", "span-crf")
    }
    windows = sum(map(len, parts))
    tokens = sum(int(part.lengths.sum()) for part in parts)
    print(
        f"\nevaluation with the offline encoder: {windows} windows, {tokens / windows:.0f} tokens"
    )

    def evaluate(name: str, part: Windows) -> None:
        decode_all(
            part, score_windows(TorchBackend(models[name]), part, batch_size=batch_size).scores
        )

    total = dict.fromkeys(models, 0.0)
    for part in parts:
        runs = {name: lambda name=name, part=part: evaluate(name, part) for name in models}
        for name, seconds in alternate(runs, 0.0, turns).items():
            total[name] += seconds
    print(f"{'head':<10}{'windows/s':>10}{'of softmax':>12}")
    for name, seconds in total.items():
        ratio = total["softmax"] / seconds
        target = "" if name == "softmax" else f"   target {TARGETS['evaluation']:g}"
        print(f"{name:<10}{windows / seconds:>10.2f}{ratio:>12.3f}{target}", flush=True)


def print_conditions() -> None:
    packages = ("torch", "pytorch-crf", "transformers", "numpy")
    print(f"cpu      {cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    print(f"load     {os.getloadavg()[0]:.1f} (1 minute average at the start)")
    print(f"python   {platform.python_version()}")
    print("packages " + ", ".join(f"{name} {version(name)}" for name in packages))
    print("medians over alternating runs; float32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="also 8 x 2,048 tokens")
    parser.add_argument("--chain-only", action="store_true", help="leave the evaluation out")
    parser.add_argument("--batches", type=int, default=2, help="of the evaluation")
    parser.add_argument("--batch-size", type=int, default=8, help="of the evaluation")
    parser.add_argument("--turns", type=int, default=9, help="runs of each that a median is over")
    parser.add_argument("--threads", type=int, help="of torch; its own choice if not given")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print_conditions()
    print_chains(FULL if args.full else SHAPES, args.turns)
    if not args.chain_only:
        print_evaluation(args.batches, args.batch_size, args.turns)


if __name__ == "__main__":
    main()
