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
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.measure import DATA, Peer, conditions, in_turn, matmul_rate, quiet
from benchmarks.rows import Row, show
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


def own(head: str, windows: Windows, encoder: str = "offline") -> float:
    """Seconds of one epoch's steps."""
    transformers.set_seed(0)
    model = SpanQAModel.from_encoder(encoder, head)
    few = cut(windows.examples[:2], load_tokenizer(resolve_encoder(encoder)), WindowRecipe())
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


def rows(
    data: Path = DATA / "squad2" / "train-part.json", questions: int = 48, turns: int = 1
) -> Iterator[Row]:
    """Both heads, with the share of the machine's matrix rate."""
    folder = resolve_encoder("offline")
    examples = sample(load(data).examples, questions, 42)
    windows = cut(examples, load_tokenizer(folder), WindowRecipe())
    precision = "bf16" if computes_bf16(RECIPE.precision) else "fp32"
    rate = matmul_rate()
    work = operations(windows, SpanQAModel.from_encoder("offline", "softmax"))
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
                {"own": partial(own, head, windows), "peer": partial(seconds_from, ask)}, turns
            )
            share = work / seconds["own"] / rate
            yield Row(
                f"training, offline encoder, {head}",
                len(examples) / seconds["own"],
                "questions/s",
                len(examples) / seconds["peer"],
                f"the course report's loop; {len(windows)} windows of {windows.lengths.mean():.0f} "
                f"tokens, ours in {precision} at {share:.0%} of the matrix rate",
                target,
            )


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA / "squad2" / "train-part.json")
    parser.add_argument("--questions", type=int, default=48)
    parser.add_argument("--turns", type=int, default=1)
    args = parser.parse_args()
    quiet()
    print(*conditions(), sep="\n")
    for row in rows(args.data, args.questions, args.turns):
        show(row)


if __name__ == "__main__":
    main()
