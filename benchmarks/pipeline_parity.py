"""Top answers of `Reader(...)` beside those of the pipeline of transformers 4.57.6.

    python -m benchmarks.pipeline_parity CHECKPOINT [--data FILE] [--questions N] [--impossible]

CHECKPOINT: a `*ForQuestionAnswering` folder, or a spanqa one with a softmax or joint head. Lists
every difference with what explains it, and exits 1 where fewer than 99.5 % are equal. Needs the
peers (`make peers`).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from benchmarks.checkpoint import as_theirs, pairs
from benchmarks.measure import DATA, Peer
from spanqa.data import Example, load
from spanqa.reader import Reader

WANTED = 99.5


def why(ours: dict[str, Any], theirs: dict[str, Any], windows: int, options: list[Any]) -> str:
    """What explains that two answers differ."""
    if ours["answer"].lower() == theirs["answer"].lower():
        return "same text in two places: ours is the place of the likeliest one"
    if windows > 1:
        return "several windows: theirs normalises each by itself, and counts a shared span twice"
    same = [each for each in options if each["answer"].lower() == theirs["answer"].lower()]
    if same:
        return f"close: ours has {ours['score']:.4f}, theirs would have {same[0]['score']:.4f} here"
    return "other"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--data", default=str(DATA / "squad2" / "dev-v2.0.json"))
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--impossible", action="store_true", help="with handle_impossible_answer")
    given = parser.parse_args()
    options = {"handle_impossible_answer": given.impossible}
    examples: tuple[Example, ...] = load(given.data, misaligned="keep").examples
    examples = examples[: given.questions]
    with tempfile.TemporaryDirectory() as temporary:
        asked = Path(temporary) / "asked.json"
        asked.write_text(json.dumps(pairs(examples)))
        folder = as_theirs(given.checkpoint, Path(temporary) / "model")
        with Peer("pipeline_v4.py", folder) as peer:
            threads = torch.get_num_threads()
            theirs = peer.ask("answer", file=str(asked), threads=threads, **options)["answers"]
        reader = Reader.from_pretrained(folder)
        windows = reader.windows(examples)
        ours: Any = reader(pairs(examples), **options)
        ranked: Any = reader(pairs(examples), top_k=20, **options)
    reasons: Counter[str] = Counter()
    for i, (example, a, b) in enumerate(zip(examples, ours, theirs, strict=True)):
        assert example.context[a["start"] : a["end"]] == a["answer"]
        if (a["answer"], a["start"], a["end"]) == (b["answer"], b["start"], b["end"]):
            continue
        reason = why(a, b, int(windows.first[i + 1] - windows.first[i]), ranked[i])
        reasons[reason.partition(":")[0]] += 1
        print(f"{example.id}  {reason}")
        print(f"    ours   {a['answer']!r} ({a['start']}-{a['end']}, {a['score']:.4f})")
        print(f"    theirs {b['answer']!r} ({b['start']}-{b['end']}, {b['score']:.4f})")
    different = sum(reasons.values())
    share = 100 * (1 - different / len(examples))
    print(f"{len(examples)} questions, {different} differ: {dict(reasons)}")
    print(f"equal: {share:.2f} % (wanted {WANTED} %)")
    return int(share < WANTED)


if __name__ == "__main__":
    sys.exit(main())
