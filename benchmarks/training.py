"""Questions trained on per second: beside the course report's loop, on the offline encoder; CPU.

    python -m benchmarks.training [--data FILE] [--questions N]

The same questions, batch size, optimiser and learning rate on both sides, one epoch. The peer pads
every sequence to 384 tokens and computes in float32; ours is `spanqa train` as it is: batches of
like length padded to their longest window, and bfloat16 where the hardware computes in it. Needs
the peers (`make peers`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils import logging

from benchmarks.measure import DATA, Peer, in_turn, matmul_rate, print_conditions
from spanqa.data import Example, load, sample
from spanqa.model import SpanQAModel, resolve_encoder
from spanqa.recipe import DecodingRecipe, TrainingRecipe, WindowRecipe
from spanqa.tokenizer import load_tokenizer
from spanqa.training import computes_bf16, train
from spanqa.windows import Windows, cut

TARGETS = {"softmax": 5.0, "crf": 6.0}
RECIPE = TrainingRecipe(epochs=1, batch_size=8, learning_rate=2e-5)


def record(example: Example) -> dict[str, Any]:
    """A question as the peer reads it."""
    answer = example.answers[0] if example.answers else None
    start, end = (answer.start, answer.end) if answer else (-1, -1)
    return {"question": example.question, "context": example.context, "start": start, "end": end}


def own(head: str, windows: Windows) -> float:
    """Seconds of one epoch's steps."""
    transformers.set_seed(0)
    model = SpanQAModel.from_encoder("offline", head)
    few = cut(windows.examples[:2], load_tokenizer(resolve_encoder("offline")), WindowRecipe())
    with tempfile.TemporaryDirectory() as folder:
        history = train(
            model,
            windows,
            few,
            RECIPE,
            DecodingRecipe(),
            seed=0,
            folder=Path(folder),
            save=model.save_pretrained,
            say=lambda line: None,
        )
    return history.seconds


def seconds_from(ask: Callable[[], dict[str, Any]]) -> float:
    """What a peer took."""
    return float(ask()["seconds"])


def operations(windows: Windows, model: SpanQAModel) -> float:
    """Of the encoder's matrices, forward and backward: six for each weight and token."""
    layers = sum(p.numel() for name, p in model.encoder.named_parameters() if _is_layer(name, p))
    return 6.0 * layers * float(windows.lengths.sum())


def _is_layer(name: str, parameter: Any) -> bool:
    return parameter.dim() == 2 and "embeddings" not in name and "pooler" not in name


def main() -> None:
    """Both heads, and the share of the machine's matrix rate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default=str(DATA / "squad2" / "train-part.json"))
    parser.add_argument("--questions", type=int, default=160)
    parser.add_argument("--turns", type=int, default=1)
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = resolve_encoder("offline")
    examples = sample(load(args.data).examples, args.questions, 42)
    windows = cut(examples, load_tokenizer(folder), WindowRecipe())
    print_conditions()
    precision = "bf16" if computes_bf16(RECIPE.precision) else "fp32"
    rate = matmul_rate()
    print(f"{len(windows)} windows of {windows.lengths.mean():.0f} tokens; ours in {precision}")
    print(f"matrix product {rate / 1e9:.0f} GFLOP/s (float32)")
    work = operations(windows, SpanQAModel.from_encoder("offline", "softmax"))
    print(f"{'head':<10}{'ours q/s':>10}{'peer q/s':>10}{'ratio':>8}{'of the matrix rate':>20}")
    with tempfile.TemporaryDirectory() as temporary, Peer("course_report.py", folder) as peer:
        asked = Path(temporary) / "asked.json"
        asked.write_text(json.dumps([record(example) for example in examples]), "utf-8")
        peer.ask("load", file=str(asked), threads=torch.get_num_threads())
        for head, target in TARGETS.items():
            ask = partial(
                peer.ask,
                "train",
                head=head,
                batch_size=RECIPE.batch_size,
                learning_rate=RECIPE.learning_rate,
            )
            seconds = in_turn(
                {
                    "own": partial(own, head, windows),
                    "peer": partial(seconds_from, ask),
                },
                args.turns,
            )
            ours, theirs = (len(examples) / seconds[name] for name in ("own", "peer"))
            share = work / seconds["own"] / rate
            ratio = ours / theirs
            missed = "" if ratio >= target else ": missed"
            print(
                f"{head:<10}{ours:>10.1f}{theirs:>10.1f}{ratio:>7.1f}x{share:>19.0%}"
                f"   target {target:g}x{missed}",
                flush=True,
            )


if __name__ == "__main__":
    main()
