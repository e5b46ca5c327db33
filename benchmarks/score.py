"""Time of scoring: spanqa beside transformers' squad_metrics.squad_evaluate, in one run.

    python -m benchmarks.score DATA_DIR [--peer FILE]

DATA_DIR holds squad2/dev-v2.0.json and, in predictions/, a system's predictions with its
probabilities of no answer. transformers took squad_metrics out in version 5, so --peer names the
module of an earlier version, or a wheel that contains it:

    pip download --no-deps transformers==4.57.6
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import platform
import statistics
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from spanqa.data import Example, load
from spanqa.environment import cpu_name
from spanqa.metrics import evaluate, read_na_probs, read_predictions

MODULE = "transformers/data/metrics/squad_metrics.py"
SYSTEM = "distilbert-hiva-ijca"


def load_peer(path: Path | None) -> ModuleType:
    """The module `squad_metrics`: of the installed transformers, or of a file or wheel."""
    if path is None:
        return importlib.import_module("transformers.data.metrics.squad_metrics")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            source = wheel.read(MODULE).decode()
    else:
        source = path.read_text(encoding="utf-8")
    return _run_alone(source, str(path))


def _run_alone(source: str, where: str) -> ModuleType:
    """Run the module without its package: scoring uses neither tokenizer nor logger."""
    stubs: dict[str, dict[str, Any]] = {
        "peer": {},
        "peer.data": {},
        "peer.models": {},
        "peer.models.bert": {"BasicTokenizer": None},
        "peer.utils": {"logging": SimpleNamespace(get_logger=lambda name: None)},
    }
    for name, content in stubs.items():
        stub = sys.modules[name] = ModuleType(name)
        stub.__path__ = []
        vars(stub).update(content)
    module = ModuleType("peer.data.metrics.squad_metrics")
    module.__package__ = "peer.data.metrics"
    sys.modules["peer.data.metrics"] = ModuleType("peer.data.metrics")
    sys.modules["peer.data.metrics"].__path__ = []
    exec(compile(source, where, "exec"), vars(module))
    return module


def peer_example(example: Example) -> Any:
    """An example as `squad_evaluate` reads it."""
    answers = [{"text": answer.text} for answer in example.answers]
    return SimpleNamespace(qas_id=example.id, answers=answers)


def alternate(
    runs: Mapping[str, Callable[[], Mapping[str, float]]], repeats: int
) -> tuple[dict[str, float], dict[str, Mapping[str, float]]]:
    """Median seconds and results of each, run in turn so that both meet the same load."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    results: dict[str, Mapping[str, float]] = {}
    for _ in range(repeats):
        for name, run in runs.items():
            begin = time.perf_counter()
            results[name] = run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}, results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", type=Path, help="squad_metrics.py or a wheel with it")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    try:
        peer = load_peer(args.peer)
    except ModuleNotFoundError:
        parser.error("this transformers has no squad_metrics; name one by --peer (see --help)")

    examples = load(args.data / "squad2" / "dev-v2.0.json", misaligned="keep").examples
    predictions = read_predictions(args.data / "predictions" / f"{SYSTEM}.pred.json")
    na_probs = read_na_probs(args.data / "predictions" / f"{SYSTEM}.na_prob.json")
    peer_examples = [peer_example(example) for example in examples]

    def peer_run() -> Mapping[str, float]:
        with contextlib.redirect_stdout(io.StringIO()):
            figures: Mapping[str, float] = peer.squad_evaluate(
                peer_examples, predictions, no_answer_probs=na_probs
            )
        return figures

    def own_run() -> Mapping[str, float]:
        return evaluate(examples, predictions, na_probs=na_probs).as_dict()

    seconds, results = alternate({"peer": peer_run, "spanqa": own_run}, args.repeats)
    common = results["spanqa"].keys() & results["peer"].keys()
    differing = [key for key in common if results["spanqa"][key] != results["peer"][key]]
    report = {
        "questions": len(examples),
        "spanqa_seconds": round(seconds["spanqa"], 4),
        "peer_seconds": round(seconds["peer"], 4),
        "ratio": round(seconds["peer"] / seconds["spanqa"], 2),
        "keys_compared": len(common),
        "keys_differing": differing,
        "repeats": args.repeats,
        "peer": args.peer.name if args.peer else "installed transformers",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cpu": f"{cpu_name()}, {os.cpu_count()} cores",
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
