"""Time of windows, n-best answers and scoring: beside the tools that transformers had until 4.57.6.

    python -m benchmarks.tools [--data DIR] [--convert-all]

DIR holds squad2/dev-v2.0.json, squad2/train-part.json and, in predictions/, a system's answers. All
rows are over whole files; everyone cuts windows on all cores. Beside the old tools stands what
run_qa does: overflow windows of the fast tokenizer, and gold spans found by a loop over offsets.
Ours makes the token ids of every window and its labels, and that way is asked for no more; the old
conversion pads every window to 384 tokens besides and lists its masks, and makes no labels of
dev-v2.0. It takes minutes, so it reads dev-v2.0 alone unless `--convert-all` is given. Every peer
runs between two runs of ours. Needs the peers (`make peers`).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import DATA, Peer, around, conditions, quiet, seconds_of
from benchmarks.rows import Row, show
from spanqa.data import Example, load
from spanqa.decoding import WindowScores, decode_all
from spanqa.metrics import evaluate, read_na_probs, read_predictions
from spanqa.model import resolve_encoder
from spanqa.recipe import WindowRecipe
from spanqa.tokenizer import load_tokenizer
from spanqa.windows import Windows, cut

BATCH = 1000
"""Questions that run_qa hands to the tokenizer at once."""
OLD = "transformers 4.57.6"
SYSTEM = "distilbert-hiva-ijca"
RECIPE = WindowRecipe()
Convert = Callable[[], dict[str, Any]]
"""Has a peer convert the file that it read."""


def own(examples: Sequence[Example], tokenizer: Any) -> Windows:
    """Windows with labels; the token ids of each are made and dropped."""
    windows = cut(examples, tokenizer, RECIPE)
    for row in range(len(windows)):
        windows.input_ids(row)
    return windows


def overflow(examples: Sequence[Example], tokenizer: Any) -> Iterator[tuple[Any, Any]]:
    """The tokenizer's own windows, with the examples that they are of, batch by batch."""
    for begin in range(0, len(examples), BATCH):
        part = examples[begin : begin + BATCH]
        yield (
            part,
            tokenizer(
                [example.question for example in part],
                [example.context for example in part],
                truncation="only_second",
                max_length=RECIPE.max_length,
                stride=RECIPE.stride,
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
                return_attention_mask=False,
                return_token_type_ids=False,
            ),
        )


def looped_label(
    example: Example, offsets: Sequence[tuple[int, int]], parts: Sequence[int | None]
) -> tuple[int, int]:
    """First and last token of the first reference in one window; (0, 0) where it is not inside."""
    if not example.answers:
        return 0, 0
    begin = parts.index(1)
    end = len(parts) - 1 - parts[::-1].index(1)
    answer = example.answers[0]
    if offsets[begin][0] > answer.start or offsets[end][1] < answer.end:
        return 0, 0
    while begin < len(offsets) and offsets[begin][0] <= answer.start:
        begin += 1
    while offsets[end][1] >= answer.end:
        end -= 1
    return begin - 1, end + 1


def run_qa_way(
    examples: Sequence[Example], tokenizer: Any
) -> tuple[list[NDArray[np.int64]], list[tuple[int, int]]]:
    """Token ids and labels of all windows."""
    ids: list[NDArray[np.int64]] = []
    labels: list[tuple[int, int]] = []
    for part, encoding in overflow(examples, tokenizer):
        ids += [np.array(row) for row in encoding["input_ids"]]
        labels += [
            looped_label(part[example], encoding["offset_mapping"][row], encoding.sequence_ids(row))
            for row, example in enumerate(encoding["overflow_to_sample_mapping"])
        ]
    return ids, labels


def require_same(
    windows: Windows, ids: Sequence[NDArray[np.int64]], labels: Sequence[tuple[int, int]]
) -> None:
    """A benchmark of two different things would say nothing.

    Where one character became two tokens, the loop of run_qa may label an answer's end before its
    start, which no model can learn; such a label is not compared.
    """
    same = len(ids) == len(windows) and all(
        np.array_equal(windows.input_ids(row), ids[row])
        and (first > last or windows.labels[row].tolist() == [first, last])
        for row, (first, last) in enumerate(labels)
    )
    if not same:
        raise SystemExit("windows or labels differ from the tokenizer's own")


def window_rows(what: str, file: Path, convert: Convert | None) -> Iterator[Row]:
    """Windows and labels of one file; beside the old conversion if that is given."""
    tokenizer = load_tokenizer(resolve_encoder("offline"))
    examples = load(file).examples
    ours = partial(own, examples, tokenizer)
    windows = ours()  # first calls allocate
    theirs: list[Any] = []

    def run_qa() -> float:
        return seconds_of(lambda: theirs.append(run_qa_way(examples, tokenizer)))

    what = f"windows and labels, {what}"
    seconds = around(ours, run_qa)
    require_same(windows, *theirs.pop())
    yield Row(what, seconds["own"], "s", seconds["peer"], "the run_qa way", 5)
    if convert:
        old = around(ours, partial(seconds_from, convert))
        beside = f"{OLD} squad_convert_examples_to_features, {os.cpu_count()} processes"
        yield Row(what, old["own"], "s", old["peer"], beside, 20)


def decoding_row(file: Path, peer: Peer) -> Row:
    """Twenty best and final answers of all questions, from made-up scores."""
    windows = cut(load(file).examples, load_tokenizer(resolve_encoder("offline")), RECIPE)
    random = np.random.default_rng(0)
    scores = []
    for row in range(len(windows)):
        window = windows[row]
        start, end = random.normal(0, 3, (2, window.end - window.begin)).astype(np.float32)
        scores.append(WindowScores(window.begin, start, end, 0.0, 0.0))
    ours = partial(decode_all, windows, scores)
    ours()  # first calls allocate
    seconds = around(ours, partial(seconds_from, partial(peer.ask, "decode", seed=0)))
    return Row(
        f"exact n-best, answers, {len(windows.examples):,} questions",
        seconds["own"],
        "s",
        seconds["peer"],
        f"{OLD} compute_predictions_logits",
        20,
    )


def seconds_from(ask: Convert) -> float:
    """What a peer took."""
    return float(ask()["seconds"])


def score_row(data: Path, peer: Peer) -> Row:
    """Metrics of a system's answers, thresholds included."""
    examples = load(data / "squad2" / "dev-v2.0.json", misaligned="keep").examples
    files = {
        "predictions": data / "predictions" / f"{SYSTEM}.pred.json",
        "na_probs": data / "predictions" / f"{SYSTEM}.na_prob.json",
    }
    texts, na_probs = read_predictions(files["predictions"]), read_na_probs(files["na_probs"])
    asked: Callable[[], Any] = partial(
        peer.ask, "score", **{name: str(file) for name, file in files.items()}
    )
    own = partial(evaluate, examples, texts, na_probs=na_probs)
    theirs, ours = asked()["figures"], own().as_dict()
    differing = [key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key]]
    if differing:
        raise SystemExit(f"figures differ: {differing}")
    seconds = around(own, partial(seconds_from, asked))
    return Row(
        f"metrics of {len(texts):,} answers, thresholds",
        seconds["own"],
        "s",
        seconds["peer"],
        f"{OLD} squad_evaluate",
        5,
    )


def rows(data: Path = DATA, convert_all: bool = False) -> Iterator[Row]:
    """All rows."""
    folder = resolve_encoder("offline")
    dev, train = (data / "squad2" / name for name in ("dev-v2.0.json", "train-part.json"))
    if convert_all:
        with Peer("transformers_v4.py", train, folder) as peer:
            peer.ask("read")
            convert = partial(peer.ask, "windows", training=True, threads=os.cpu_count())
            yield from window_rows("train-part", train, convert)
    else:
        yield from window_rows("train-part", train, None)
    with Peer("transformers_v4.py", dev, folder) as peer:
        peer.ask("read")
        convert = partial(peer.ask, "windows", training=False, threads=os.cpu_count())
        yield from window_rows("dev-v2.0", dev, convert)
        yield decoding_row(dev, peer)
        yield score_row(data, peer)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--convert-all", action="store_true")
    args = parser.parse_args()
    quiet()
    print(*conditions(), sep="\n")
    for row in rows(args.data, args.convert_all):
        show(row)


if __name__ == "__main__":
    main()
