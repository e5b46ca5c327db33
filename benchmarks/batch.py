"""Batch answering: a node killed in mid-job, memory over time, and rows a second a core.

    python -m benchmarks.batch [--rows 100000] [--questions 400] [--only NAME ...]

    nodes    synthetic rows on a Ray cluster of two nodes of this machine, one core each; one is
             killed at half. The model is a small BERT with random weights: what is shown is that
             every row is answered once, not the answers. Every hundredth row cannot be answered.
    speed    the shipped reader over questions of SQuAD 2.0's dev set, a worker on every core

Exits 1 where a row is missing, doubled or out of order, an answer is not the Reader's own, or
memory grows.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray is imported

import numpy as np
import psutil
import ray
from ray.cluster_utils import Cluster

from benchmarks.measure import DATA, conditions, quiet
from spanqa.batch import Totals, answer_corpus
from spanqa.data import load, sample
from spanqa.job import Output
from spanqa.model import SpanQAModel, resolve_encoder
from spanqa.reader import Reader
from spanqa.settings import BatchSettings
from spanqa.storage import Place
from spanqa.tokenizer import load_tokenizer

PASSAGES = 2_000
"""Different questions; rows repeat them."""
BAD = 100
"""Every so many rows one has no question."""
CHECKED = 200
"""Rows whose answers are compared with the Reader's own."""
GROWTH_MIB = 64
"""More memory than this in the second half of the time than in the first is a leak."""
WORKER, DRIVER = "worker", "driver"


def random_model(folder: Path) -> Path:
    """A one-layer BERT of hidden size 32 with random weights, and a real vocabulary."""
    import torch
    from transformers import BertConfig, BertModel

    tokenizer = load_tokenizer(resolve_encoder("offline"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder / "encoder")
    tokenizer.save_pretrained(folder / "encoder")
    SpanQAModel.from_encoder(str(folder / "encoder"), "span-crf").save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model"


def synthetic_rows(count: int) -> Iterator[dict[str, Any]]:
    """Rows; questions over one passage are neighbours."""
    examples = load(f"synthetic:train:{PASSAGES}").examples
    for n in range(count):
        example = examples[n % len(examples)]
        question = example.question if n % BAD else None
        yield {"id": f"r{n}", "question": question, "context": example.context}


def write_rows(path: Path, rows: Iterator[dict[str, Any]]) -> Path:
    """A JSONL file."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
    return path


class Memory:
    """Resident memory of the driver and of every worker, in MiB, once a second."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, int], list[float]] = {}
        self.highest: dict[str, list[float]] = {DRIVER: [], WORKER: []}
        """Of all processes of a kind, once a second."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(1.0):
            self._note(DRIVER, [me])
            workers = psutil.process_iter(["cmdline"])
            self._note(WORKER, [p for p in workers if "MapWorker" in str(p.info["cmdline"])])

    def _note(self, kind: str, processes: Sequence[psutil.Process]) -> None:
        sizes = []
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                sizes.append(process.memory_info().rss / 2**20)
                self.seen.setdefault((kind, process.pid), []).append(sizes[-1])
        if sizes:
            self.highest[kind].append(max(sizes))

    def grown(self) -> float:
        """MiB by which a process was larger in the second half of the time than any in the first.

        Workers come and go, and grow while they load the model.
        """
        return max(
            max(sizes[len(sizes) // 2 :]) - max(sizes[: len(sizes) // 2])
            for sizes in self.highest.values()
        )

    def show(self) -> None:
        """One line for every process."""
        for (kind, pid), sizes in self.seen.items():
            tenths = " ".join(
                f"{part.mean():.0f}" for part in np.array_split(sizes, 10) if len(part)
            )
            print(
                f"  {kind} {pid}, {len(sizes)} s: {max(sizes):.0f} MiB at most; by tenths {tenths}"
            )


@contextmanager
def two_nodes() -> Iterator[tuple[Cluster, Any]]:
    """A cluster of two nodes with one core each, and the second of them."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    second = cluster.add_node(num_cpus=1)
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.WARNING)
    try:
        yield cluster, second
    finally:
        ray.shutdown()
        cluster.shutdown()


def problems_with(folder: Path, source: Path, model: str) -> list[str]:
    """What is wrong with the answers to `synthetic_rows`."""
    found: list[str] = []
    answers = _lines(folder / "answers")
    rejected = _lines(folder / "rejected")
    kept: list[tuple[dict[str, Any], dict[str, Any]]] = []
    with source.open(encoding="utf-8") as file:
        for n, line in enumerate(file):
            row = json.loads(line)
            nothing: dict[str, Any] = {"id": "nothing", "row": n + 1}
            given = next(rejected if row["question"] is None else answers, nothing)
            if given["id"] != row["id"] or given["row"] != n + 1:
                found.append(f"row {row['id']}: {given['id']} stands in its place")
                return found
            if row["question"] is not None and n % max(1, PASSAGES // CHECKED) == 1:
                kept.append((row, given))
    found += [f"{row['id']} is there once more" for row in islice(answers, 1)]
    found += [f"{row['id']} is rejected once more" for row in islice(rejected, 1)]
    reader = Reader.from_pretrained(model)
    for row, given in kept[:CHECKED]:
        own = reader.answer(row["question"], row["context"])[0]
        answer = given["answers"][0]
        if abs(own.probability - answer["probability"]) > 1e-4:
            found.append(f"row {row['id']}: the Reader answers {own}")
    return found


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.iterdir()):
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def nodes(rows: int) -> list[str]:
    """All rows on two nodes, one of which is killed at half; what went wrong."""
    with (
        tempfile.TemporaryDirectory() as name,
        two_nodes() as (cluster, second),
        Memory() as memory,
    ):
        folder = Path(name)
        model = str(random_model(folder))
        source = write_rows(folder / "rows.jsonl", synthetic_rows(rows))
        print(f"{rows:,} rows, {source.stat().st_size / 2**20:.0f} MiB, two nodes of one core")
        began, killed = time.perf_counter(), 0.0

        def kill(totals: Totals) -> None:
            nonlocal killed
            if not killed and totals.done >= totals.shards // 2:
                killed = time.perf_counter() - began
                cluster.remove_node(second, allow_graceful=False)
                print(
                    f"  {killed:.0f} s: node killed after {totals.done} of {totals.shards} shards"
                )

        totals = answer_corpus(
            model, str(source), str(folder / "out"), BatchSettings(workers=2), say=kill
        )
        seconds = time.perf_counter() - began
        print(f"  {totals.answered:,} answered, {totals.rejected:,} rejected, {seconds:.0f} s")
        memory.show()
        found = problems_with(folder / "out", source, model)
        bad = -(-rows // BAD)
        if (totals.answered, totals.rejected) != (rows - bad, bad):
            found.append(f"{totals} of {rows:,} rows")
        if not killed:
            found.append("no node was killed")
        if memory.grown() > GROWTH_MIB:
            found.append(f"memory grew by {memory.grown():.0f} MiB")
        if not found:
            grown = f"memory {memory.grown():+.0f} MiB in the second half"
            print(f"  every row once and in order; {grown}")
        return found


def speed(questions: int) -> list[str]:
    """The shipped reader on every core; what went wrong."""
    examples = sample(load(DATA / "squad2" / "dev-v2.0.json").examples, questions, 42)
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name, Memory() as memory:
        folder = Path(name)
        rows = ({"id": e.id, "question": e.question, "context": e.context} for e in examples)
        source = write_rows(folder / "rows.jsonl", rows)
        settings = BatchSettings(shard_rows=-(-questions // (4 * cores)), workers=cores)
        began = time.perf_counter()
        totals = answer_corpus("default", str(source), str(folder / "out"), settings)
        wall = time.perf_counter() - began
        spent = [
            report.seconds for report in Output(Place.of(str(folder / "out")), "jsonl").finished()
        ]
        rate = totals.answered / sum(spent)
        print(
            f"{totals.answered:,} questions of SQuAD 2.0 dev, the shipped reader, {cores} workers"
        )
        print(f"  {rate:.2f} rows a second a core while answering; {wall:.0f} s with all starts")
        memory.show()
    return [] if totals.answered == questions else [f"{totals} of {questions} questions"]


def main() -> int:
    """Both parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--only", nargs="+", choices=("nodes", "speed"), default=("nodes", "speed"))
    args = parser.parse_args()
    quiet()
    print(*conditions(("torch", "transformers", "ray")), sep="\n")
    failures = []
    if "nodes" in args.only:
        failures += nodes(args.rows)
    if "speed" in args.only:
        failures += speed(args.questions)
    for failure in failures:
        print(f"FAILED {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
