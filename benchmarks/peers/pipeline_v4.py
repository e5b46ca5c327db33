"""The question-answering pipeline of transformers 4.57.6, driven line by line.

Runs in the peers' environment, without spanqa. Argument: the folder of a checkpoint. Reads
{"job": "answer", ...} lines and answers each with one JSON line.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
from lines import serve
from transformers import pipeline


class Answering:
    """One pipeline over one checkpoint."""

    def __init__(self, checkpoint: str) -> None:
        self.pipeline = pipeline("question-answering", checkpoint, device="cpu")

    def answer(
        self, file: str, threads: int, batch_size: int = 1, **options: Any
    ) -> dict[str, Any]:
        """Answer the {"question", "context"} pairs in a JSON file."""
        torch.set_num_threads(threads)
        with open(file, encoding="utf-8") as content:
            asked = json.load(content)
        pairs = ({"question": each["question"], "context": each["context"]} for each in asked)
        latencies, found = [], []
        begin = last = time.perf_counter()
        # A generator is what its users are told to give it for many questions.
        for each in self.pipeline(pairs, batch_size=batch_size, **options):
            found.append(each)
            now = time.perf_counter()
            latencies.append(now - last)
            last = now
        return {"seconds": last - begin, "latencies": latencies, "answers": found}


if __name__ == "__main__":
    serve({"answer": Answering(sys.argv[1]).answer})
