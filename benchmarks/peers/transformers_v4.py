"""The question-answering tools that transformers 4.57.6 still had, driven line by line.

Runs in the peers' environment, without spanqa. Arguments: the SQuAD file and the folder of a
tokenizer. Reads {"job": ...} lines and answers each with one JSON line.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from typing import Any

import numpy as np
from lines import serve
from transformers import BertTokenizer
from transformers.data.metrics.squad_metrics import compute_predictions_logits, squad_evaluate
from transformers.data.processors.squad import (
    SquadResult,
    SquadV2Processor,
    squad_convert_examples_to_features,
)

LENGTH, STRIDE, QUESTION = 384, 128, 64
N_BEST, LONGEST = 20, 30


class Tools:
    """The examples of one file, and what the old tools make of them."""

    def __init__(self, data: str, tokenizer: str) -> None:
        with open(data, encoding="utf-8") as file:
            self.articles = json.load(file)["data"]
        # Slow tokenizers only: these tools work word by word.
        self.tokenizer = BertTokenizer.from_pretrained(tokenizer)
        self.examples: list[Any] = []
        self.features: list[Any] = []

    def read(self) -> dict[str, Any]:
        """Make the examples."""
        self.examples = SquadV2Processor()._create_examples(self.articles, "dev")
        return {"questions": len(self.examples)}

    def windows(self, training: bool, threads: int) -> dict[str, Any]:
        """Time windows and, for training, their labels."""
        examples = self.examples
        if training:
            examples = SquadV2Processor()._create_examples(self.articles, "train")
        begin = time.perf_counter()
        features = squad_convert_examples_to_features(
            examples, self.tokenizer, LENGTH, STRIDE, QUESTION, training, threads=threads,
            tqdm_enabled=False,
        )  # fmt: skip
        seconds = time.perf_counter() - begin
        if not training:
            self.features = features
        return {"seconds": seconds, "windows": len(features)}

    def decode(self, seed: int) -> dict[str, Any]:
        """Time n-best and final answers of all questions from made-up logits."""
        random = np.random.default_rng(seed)
        results = [
            SquadResult(f.unique_id, *random.normal(0, 3, (2, LENGTH)).tolist())
            for f in self.features
        ]
        begin = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            answers = compute_predictions_logits(
                self.examples, self.features, results, N_BEST, LONGEST, True, None, None, None,
                False, True, 0.0, self.tokenizer,
            )  # fmt: skip
        return {"seconds": time.perf_counter() - begin, "answers": len(answers)}

    def score(self, predictions: str, na_probs: str) -> dict[str, Any]:
        """Time the official metrics, thresholds included."""
        with open(predictions, encoding="utf-8") as file:
            texts = json.load(file)
        with open(na_probs, encoding="utf-8") as file:
            probabilities = json.load(file)
        begin = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            figures = squad_evaluate(self.examples, texts, no_answer_probs=probabilities)
        return {"seconds": time.perf_counter() - begin, "figures": figures}


if __name__ == "__main__":
    tools = Tools(*sys.argv[1:])
    serve(
        {"read": tools.read, "windows": tools.windows, "decode": tools.decode, "score": tools.score}
    )
