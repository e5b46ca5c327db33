"""The gate of an export: it answers the same questions as torch in float32, and must say the same.

Both read the same windows through the same decoder and give answers by the same rule. They take
turns over small groups of questions, so that what else the machine does meets both alike.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spanqa.answer import Answer, rank
from spanqa.decoding import Prediction
from spanqa.errors import ModelError
from spanqa.example import Example
from spanqa.manifest import REFERENCE, Bounds, Trial
from spanqa.prediction import figures

if TYPE_CHECKING:
    from spanqa.reader import Reader

GROUP = 25
"""Questions in a turn."""


BOUNDS = {"fp32": Bounds(0.999, 0.1), "bf16": Bounds(0.97, 0.3), "int8": Bounds(0.97, 0.3)}
"""By precision, unless the command line says otherwise."""


def measure(readers: Mapping[str, Reader], examples: Sequence[Example]) -> dict[str, Trial]:
    """Let all readers answer the same labelled questions, in turn.

    Args:
        readers: by name; `REFERENCE` is what the others are compared with.
        examples: questions with reference answers.
    """
    groups = [examples[i : i + GROUP] for i in range(0, len(examples), GROUP)]
    found: dict[str, list[Prediction]] = {name: [] for name in readers}
    seconds = dict.fromkeys(readers, 0.0)
    for reader in readers.values():
        reader.predict(groups[0], n_best=1)  # first calls allocate
    for turn, group in enumerate(groups):
        names = list(readers)[:: 1 if turn % 2 else -1]
        for name in names:
            began = time.perf_counter()
            found[name] += readers[name].predict(group, n_best=1)
            seconds[name] += time.perf_counter() - began
    expected = _answers(readers[REFERENCE], found[REFERENCE])
    windows = readers[REFERENCE].windows(examples)
    trials = {}
    for name, reader in readers.items():
        same = [a == b for a, b in zip(_answers(reader, found[name]), expected, strict=True)]
        exact = figures(windows, found[name], reader.rule).exact
        trials[name] = Trial(sum(same) / len(same), exact, len(examples) / seconds[name])
    return trials


def _answers(reader: Reader, predictions: Sequence[Prediction]) -> list[tuple[str, int, int]]:
    """Text and offsets of what is answered to each question."""

    def best(prediction: Prediction) -> Answer:
        return rank([("", prediction)], reader.rule)[0]

    return [(a.text, a.start, a.end) for a in map(best, predictions)]


def require(kind: str, trials: Mapping[str, Trial], bounds: Bounds, questions: int) -> None:
    """Refuse an export that does not stand in for the reference.

    Raises:
        ModelError: its figures are below the bounds.
    """
    trial, reference = trials[kind], trials[REFERENCE]
    if bounds.admit(trial, reference):
        return
    raise ModelError(
        f"the {kind} export was not kept: of {questions} questions it answers "
        f"{trial.agreement:.1%} as torch does in fp32 (at least {bounds.min_agreement:.1%} "
        f"wanted), with exact match {trial.exact:.2f} against {reference.exact:.2f} (at most "
        f"{bounds.max_em_loss:g} lower wanted)"
    )
