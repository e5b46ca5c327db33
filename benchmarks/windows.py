"""Time of cutting windows: spanqa beside the fast tokenizer's own overflow windows, in one run.

    python -m benchmarks.windows DATA.json [--tokenizer NAME]

DATA.json is in SQuAD format. Three things are timed, in turn so that all meet the same load:

    spanqa             windows, gold spans, and the token ids of every window as an array
    tokenizer          overflow windows with offsets, a thousand questions a call (the size in
                       which run_qa hands them over)
    tokenizer, labels  the same, and the gold spans found by a Python loop over the offsets

Both tokenise on all cores, so other work on the machine slows them down unevenly: the time of the
processor, over all cores, is given beside that of the wall.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import transformers
from numpy.typing import NDArray

from spanqa.data import Example, load
from spanqa.environment import cpu_name
from spanqa.model import resolve_encoder
from spanqa.recipe import WindowRecipe
from spanqa.tokenizer import load_tokenizer
from spanqa.windows import Windows, cut

BATCH = 1000
REQUIRED = 5.0


def own(examples: Sequence[Example], tokenizer: Any, recipe: WindowRecipe) -> Windows:
    """Windows with labels; the token ids of each are made and dropped."""
    windows = cut(examples, tokenizer, recipe)
    for row in range(len(windows)):
        windows.input_ids(row)
    return windows


def overflow(
    examples: Sequence[Example], tokenizer: Any, recipe: WindowRecipe
) -> Iterator[tuple[Sequence[Example], Any]]:
    """The tokenizer's own windows, with the examples that they are of, batch by batch."""
    for begin in range(0, len(examples), BATCH):
        part = examples[begin : begin + BATCH]
        yield (
            part,
            tokenizer(
                [example.question for example in part],
                [example.context for example in part],
                truncation="only_second",
                max_length=recipe.max_length,
                stride=recipe.stride,
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
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


def labels_of(part: Sequence[Example], encoding: Any) -> list[tuple[int, int]]:
    return [
        looped_label(part[example], encoding["offset_mapping"][row], encoding.sequence_ids(row))
        for row, example in enumerate(encoding["overflow_to_sample_mapping"])
    ]


def differing(
    windows: Windows, examples: Sequence[Example], tokenizer: Any, recipe: WindowRecipe
) -> dict[str, int]:
    """Windows and labels that are not the same."""
    ids: list[NDArray[np.int64]] = []
    labels: list[tuple[int, int]] = []
    for part, encoding in overflow(examples, tokenizer, recipe):
        ids += [np.array(row) for row in encoding["input_ids"]]
        labels += labels_of(part, encoding)
    rows = range(max(len(ids), len(windows)))
    both = min(len(ids), len(windows))
    return {
        "windows": len(windows),
        "windows_differing": sum(
            row >= both or not np.array_equal(windows.input_ids(row), ids[row]) for row in rows
        ),
        "labels_differing": sum(
            row >= both or tuple(windows.labels[row].tolist()) != labels[row] for row in rows
        ),
    }


def measure(
    examples: Sequence[Example],
    tokenizer: Any,
    recipe: WindowRecipe,
    clock: Callable[[], float],
) -> tuple[Windows, dict[str, float]]:
    """Each once, by a clock of the wall or of the processor."""
    begin = clock()
    windows = own(examples, tokenizer, recipe)
    mine = clock() - begin
    tokens = labels = 0.0
    begin = clock()
    for part, encoding in overflow(examples, tokenizer, recipe):
        middle = clock()
        labels_of(part, encoding)
        end = clock()
        tokens, labels, begin = tokens + middle - begin, labels + end - middle, end
    return windows, {"spanqa": mine, "tokenizer": tokens, "tokenizer, labels": tokens + labels}


def median_of(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--tokenizer", default="offline", help="hub id, folder, or offline")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    examples = load(args.data).examples
    tokenizer = load_tokenizer(resolve_encoder(args.tokenizer))
    recipe = WindowRecipe()

    wall, cpu = [], []
    for _ in range(args.repeats):
        windows, times = measure(examples, tokenizer, recipe, time.perf_counter)
        wall.append(times)
    for _ in range(args.repeats):
        cpu.append(measure(examples, tokenizer, recipe, time.process_time)[1])
    medians, cpu_medians = median_of(wall), median_of(cpu)
    ratio = medians["tokenizer"] / medians["spanqa"]
    report = {
        "questions": len(examples),
        "contexts": len({example.context for example in examples}),
        **differing(windows, examples, tokenizer, recipe),
        "seconds": medians,
        "cpu_seconds": cpu_medians,
        "ratio": round(ratio, 2),
        "ratio_with_labels": round(medians["tokenizer, labels"] / medians["spanqa"], 2),
        "cpu_ratio": round(cpu_medians["tokenizer"] / cpu_medians["spanqa"], 2),
        "required": REQUIRED,
        "reached": ratio >= REQUIRED,
        "tokenizer": args.tokenizer,
        "max_length": recipe.max_length,
        "stride": recipe.stride,
        "repeats": args.repeats,
        "python": platform.python_version(),
        "tokenizers": tokenizers.__version__,
        "transformers": transformers.__version__,
        "cpu": f"{cpu_name()}, {os.cpu_count()} cores",
        "load_average": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
