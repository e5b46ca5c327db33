"""Comparisons, readers and exports that nobody made, for tests of what is done with one."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spanqa import metrics
from spanqa.answer import Answer
from spanqa.backends import BatchScores
from spanqa.data import Example, Reference
from spanqa.manifest import REFERENCE, Bounds, Gate, Manifest, Trial
from spanqa.model import SpanQAConfig
from spanqa.reader import Reader
from spanqa.recipe import DataRecipe, Recipe, TrainingRecipe
from spanqa.run import Calibration, Comparison, Cost, EpochPoint, LossPoint, Question, Run

WORDS = ("Who", "What", "When", "Where", "Which", "How", "How many", "Why", "Name")


def make_comparison(
    heads: tuple[str, ...] = ("softmax", "crf", "span-crf"),
    seeds: tuple[int, ...] = (1, 2),
    *,
    questions: int = 60,
    unanswerable: int = 20,
    articles: int = 12,
    epochs: int = 3,
    loss: float = 2.0,
    source: str = "synthetic:eval",
    validate_on: Literal["calibration", "eval"] = "calibration",
    drop: tuple[str, int] | None = None,
    skill: dict[str, float] | None = None,
) -> Comparison:
    """A comparison whose answers are drawn at random: right with a head's own probability."""
    asked = tuple(_question(i, articles, answerable=i >= unanswerable) for i in range(questions))
    recipe = Recipe(
        name="fake",
        heads=heads,
        seeds=seeds,
        data=DataRecipe(train=source.replace("eval", "train"), eval=source),
        training=TrainingRecipe(validate_on=validate_on),
    )
    skill = skill or {}
    runs = tuple(
        _run(head, seed, asked, skill.get(head, 0.5 + 0.1 * k), epochs, loss)
        for k, head in enumerate(heads)
        for seed in seeds
        if (head, seed) != drop
    )
    return Comparison(recipe, asked, runs)


def _question(i: int, articles: int, *, answerable: bool) -> Question:
    gold = " ".join(f"gold{i}-{k}" for k in range(1 + i % 10))
    return Question(
        id=f"q{i}",
        article=f"article {i % articles}",
        question=f"{WORDS[i % len(WORDS)]} is it in case {i}?",
        context="word " * (20 + 3 * i) + f"{gold} stands here, wrong{i} beside it. " + "end " * 60,
        answers=(gold, gold.upper(), f"{gold} stands") if answerable else (),
        windows=1 + i % 4,
    )


def _run(
    head: str, seed: int, questions: tuple[Question, ...], skill: float, epochs: int, loss: float
) -> Run:
    rng = np.random.default_rng([seed, len(head)])
    answers, best, odds = {}, {}, {}
    for i, question in enumerate(questions):
        right = rng.random() < skill
        answers[question.id] = (question.answers or ("",))[0] if right else f"wrong{i}"
        best[question.id] = answers[question.id] or f"wrong{i}"
        odds[question.id] = -1.0 if answers[question.id] else 1.0
    examples = _examples(questions)
    scores = metrics.evaluate(examples, answers, na_probs=odds, threshold=0.25).as_dict()
    return Run(
        head=head,
        seed=seed,
        losses=tuple(
            LossPoint(10 * k, k / 4, loss / (1 + k) + 0.1 * (k % 3), 1.0 + (k == 5), 2e-5)
            for k in range(1, 4 * epochs + 1)
        ),
        epochs=tuple(
            EpochPoint(float(k), 40 * k, loss / k, 50 + 5 * k + skill, 55 + 5 * k, None, None)
            for k in range(1, epochs + 1)
        ),
        best_epoch=float(epochs),
        metrics=scores,
        uncalibrated=scores,
        leaky_exact=metrics.leaky_exact(examples, answers),
        calibration=Calibration(1.25, 0.25, 40, 50.0, 51.0),
        cost=Cost(100.0, 900, 1.5, 12.0, 9.0, 300, 4.0 - skill, 30.0, 812.5, 1538, 22_000_000),
        environment={"versions": {"torch": "2.13.0"}, "hardware": f"machine of seed {seed}"},
        predictions=answers,
        best_spans=best,
        null_odds=odds,
    )


def _examples(questions: tuple[Question, ...]) -> list[Example]:
    return [
        Example(q.id, q.question, q.context, tuple(Reference(a, 0) for a in q.answers))
        for q in questions
    ]


class RandomBackend:
    """Scores that follow from the token ids alone, as wild as a model's may be."""

    name = "random"

    def __init__(self, spread: float = 5.0) -> None:
        self.spread = spread
        self.batches: list[tuple[int, ...]] = []

    def score(self, arrays: Mapping[str, NDArray[Any]]) -> BatchScores:
        """Score all spans of a batch of windows."""
        ids, context = arrays["input_ids"], arrays["context_mask"]
        self.batches.append(ids.shape)
        start, end, null = (
            self.spread * np.sin(ids * a + np.arange(ids.shape[1]) * b).astype(np.float32)
            for a, b in ((0.7, 1.3), (1.9, 0.4), (2.3, 0.9))
        )
        closed = np.where(context, 0, -np.inf).astype(np.float32)
        zeros = np.zeros(len(ids), np.float32)
        return BatchScores(start + closed, end + closed, zeros, null[:, 1])


def random_reader(tokenizer: Any, **settings: Any) -> Reader:
    """A reader of random answers over windows of 64 tokens."""
    config = SpanQAConfig(max_length=64, stride=16, max_question_length=16)
    return Reader(RandomBackend(), tokenizer, config, **settings)


class ScriptedReader:
    """Answers with the first place of a question's last word; fails and waits when told to."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        """Questions that were read together."""
        self.begun = threading.Semaphore(0)
        """Released at the beginning of every batch."""
        self.go = threading.Event()
        """Batches wait for it; it is set unless a test clears it."""
        self.go.set()

    def stream(
        self, asked: Iterable[tuple[str, Mapping[str, str]]], *, top_k: int
    ) -> Iterator[tuple[Answer, ...]]:
        """As `Reader.stream`; a question that ends in "fail" is an error."""
        group = list(asked)
        self.batches.append([question for question, _ in group])
        self.begun.release()
        assert self.go.wait(30)
        for question, texts in group:
            if question.endswith("fail"):
                raise RuntimeError("told to fail")
            yield scripted(question, texts)[:top_k]


def scripted(question: str, texts: Mapping[str, str]) -> tuple[Answer, ...]:
    """What a `ScriptedReader` answers, all of it."""
    word = question.split()[-1].strip("?")
    found = [
        Answer(word, at, at + len(word), 0.75 / (n + 1), 0.125, id, (0, len(texts[id])))
        for n, (id, at) in enumerate((id, text.find(word)) for id, text in texts.items())
        if at >= 0
    ]
    none = Answer("", 0, 0, 0.125, 0.125)
    first = [text[:4] for text in texts.values()]
    unlikely = Answer(first[0], 0, len(first[0]), 0.0625, 0.125, next(iter(texts)))
    return (*found, none, unlikely)


def make_manifest(
    kind: str = "onnx",
    *,
    sha256: str | None = None,
    cpu: str = "this CPU",
    speeds: tuple[float, float] = (10.0, 20.0),
    agreement: float = 1.0,
    exact: float = 70.0,
    reduce_range: bool | None = None,
    bf16: float | None = None,
) -> Manifest:
    """An export of nothing.

    Args:
        kind: of the export.
        sha256: of the checkpoint that it was made of.
        cpu: that it was measured on.
        speeds: questions a second of torch, and of the export.
        agreement: of the export with torch.
        exact: its exact match; torch has 70, and at most 0.3 points may be lost.
        reduce_range: setting of int8; none if left out.
        bf16: questions a second of torch in bfloat16; not measured if left out.
    """
    trials = {REFERENCE: Trial(1.0, 70.0, speeds[0]), kind: Trial(agreement, exact, speeds[1])}
    if bf16 is not None:
        trials["torch-bf16"] = Trial(0.99, 70.0, bf16)
    return Manifest(
        kind=kind,
        precision="int8" if kind.endswith("int8") else "fp32",
        files={},
        source="some/model",
        source_sha256=sha256,
        quantization={} if reduce_range is None else {"reduce_range": reduce_range},
        versions={},
        cpu=cpu,
        threads=1,
        gate=Gate("asked.json", "0" * 64, 500, 0, Bounds(0.97, 0.3)),
        trials=trials,
    )
