"""A server under load: latency, throughput, and whether an answer is ever lost or crossed.

    python -m benchmarks.server [MODEL] [--clients 64] [--seconds 60] [--questions 200]

Starts `spanqa serve` in a process of its own and asks it over loopback, every client one question
after the other on one connection: with batches of many requests and with batches of one, with a
queue that is too short, and while it is told to stop. Questions are those of SQuAD's dev set where
SPANQA_DATA has it, else synthetic ones. Every answer is compared with the Reader's own. Exits 1
where one is lost or wrong, where a refusal has no Retry-After, where memory grows under overload,
or where the server does not stop cleanly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import DATA, conditions
from spanqa.answer import Answer
from spanqa.data import Example, load, sample
from spanqa.reader import Reader

DEV = DATA / "squad2" / "dev-v2.0.json"
TOLERANCE = 1e-3
"""Probabilities differ a little with the batch that a window is padded in."""
GROWTH_MIB = 64
"""More memory than this between the first and the last third of the overload is a leak."""
GRACE = 60


@dataclass(frozen=True)
class Asked:
    """A question, as a body, with the Reader's own two best answers."""

    body: bytes
    own: tuple[Answer, ...]

    def matches(self, answer: dict[str, Any]) -> bool:
        """Whether an answer is the Reader's own, or as likely as that where two are tied."""
        return any(
            (answer["text"], answer["start"]) == (own.text, own.start)
            and abs(answer["probability"] - own.probability) < TOLERANCE
            for own in self.own
            if abs(own.probability - self.own[0].probability) < TOLERANCE or own is self.own[0]
        )


@dataclass
class Load:
    """What clients saw."""

    seconds: list[float] = field(default_factory=list)
    """Of every answer."""
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    lost: int = 0
    """Begun before any signal, and without a response."""
    no_retry_after: int = 0
    memory: list[float] = field(default_factory=list)
    """MiB, one a second."""


def prepare(model: str, count: int) -> list[Asked]:
    """Questions with what the Reader answers to each."""
    examples: Sequence[Example] = load(str(DEV) if DEV.is_file() else "synthetic:eval").examples
    examples = sample(examples, min(count, len(examples)), 42)
    reader = Reader.from_pretrained(model)
    own = reader.stream(((e.question, e.context) for e in examples), top_k=2)
    return [
        Asked(json.dumps({"question": e.question, "context": e.context}).encode(), answers)
        for e, answers in zip(examples, own, strict=True)
    ]


@contextmanager
def served(model: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server's process and port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "spanqa.cli", "serve", model, "--port", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the server did not start")
        yield process, int(line.rpartition(":")[2])
    finally:
        process.kill()
        process.wait()


class Connection:
    """One HTTP connection, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, body: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Status, headers and body of the response; OSError or EOFError where there is none."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(
            b"POST /answer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        content = json.loads(await self.reader.readexactly(int(headers["content-length"])))
        if headers.get("connection") == "close":
            self.close()
        return int(first.split()[1]), headers, content

    def close(self) -> None:
        """Close it; the next `ask` opens another."""
        if self.writer is not None:
            self.writer.close()
        self.writer = None


async def client(load: Load, port: int, asked: Sequence[Asked], until: asyncio.Event) -> None:
    """Ask one question after the other until told to stop, or until nobody answers."""
    connection = Connection(port)
    n = 0
    try:
        while not until.is_set():
            question, n = asked[n % len(asked)], n + 1
            began = time.perf_counter()
            try:
                status, headers, content = await connection.ask(question.body)
            except (OSError, EOFError):
                load.lost += 1
                return
            load.statuses[status] += 1
            if status == 200:
                load.seconds.append(time.perf_counter() - began)
                load.wrong += not question.matches(content["results"][0]["answers"][0])
            elif status == 429:
                load.no_retry_after += not headers.get("retry-after", "").isdigit()
                await asyncio.sleep(0.05)  # a tenth of what it is told: overload is wanted
    finally:
        connection.close()


def resident(pid: int) -> float:
    """MiB in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 2**10


async def put_under_load(
    process: subprocess.Popen[str],
    port: int,
    asked: Sequence[Asked],
    clients: int,
    seconds: float,
    *,
    stop_it: bool = False,
) -> Load:
    """Let all clients ask for some time; at its end tell the server to stop, if wanted."""
    load, until = Load(), asyncio.Event()
    shift = max(1, len(asked) // clients)
    tasks = [
        asyncio.create_task(client(load, port, [*asked[n * shift :], *asked], until))
        for n in range(clients)
    ]
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        await asyncio.sleep(min(1.0, left))
        load.memory.append(resident(process.pid))
    until.set()  # each waits for its response, and asks no more
    if stop_it:
        process.send_signal(signal.SIGTERM)
    await asyncio.gather(*tasks)
    return load


def print_load(name: str, load: Load, seconds: float) -> None:
    """One line."""
    taken = np.array(load.seconds or [np.nan]) * 1e3
    p50, p95 = np.percentile(taken, [50, 95])
    others = ", ".join(f"{n} x {s}" for s, n in sorted(load.statuses.items()) if s != 200)
    print(
        f"{name:<22}{len(load.seconds):>9}{len(load.seconds) / seconds:>9.1f}"
        f"{p50:>10.0f}{p95:>10.0f}{load.lost:>6}{load.wrong:>7}  {others}",
        flush=True,
    )


def growth(memory: Sequence[float]) -> float:
    """MiB between the medians of the first and the last third."""
    third = max(1, len(memory) // 3)
    return float(np.median(memory[-third:]) - np.median(memory[:third]))


def main() -> int:
    """All four loads."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--questions", type=int, default=200)
    args = parser.parse_args()
    print(*conditions(("torch", "transformers", "fastapi", "uvicorn")), sep="\n")
    asked = prepare(args.model, args.questions)
    source = "SQuAD 2.0 dev" if DEV.is_file() else "synthetic"
    print(f"{len(asked)} questions ({source}), {args.clients} clients, {args.seconds:g} s each")
    print(f"{'':<22}{'answers':>9}{'q/s':>9}{'p50 ms':>10}{'p95 ms':>10}{'lost':>6}{'wrong':>7}")
    failures = []
    plans = {
        "dynamic batches": (),
        "batches of one": ("--batch-questions", "1"),
        "overload, queue of 4": ("--queue-requests", "4"),
        "SIGTERM in mid-load": (),
    }
    for name, options in plans.items():
        stops = name.startswith("SIGTERM")
        with served(args.model, *options, "--grace", str(GRACE)) as (process, port):
            load = asyncio.run(
                put_under_load(process, port, asked, args.clients, args.seconds, stop_it=stops)
            )
            print_load(name, load, args.seconds)
            if stops and process.wait(GRACE + 10) != 0:
                failures.append(f"{name}: the server ended with {process.returncode}")
        if load.lost or load.wrong or load.no_retry_after or not load.seconds:
            failures.append(
                f"{name}: {len(load.seconds)} answers, {load.lost} lost, {load.wrong} wrong, "
                f"{load.no_retry_after} refusals without Retry-After"
            )
        if name.startswith("overload"):
            grown = growth(load.memory)
            print(f"  memory {max(load.memory):.0f} MiB at most, grown by {grown:+.1f} MiB")
            if grown > GROWTH_MIB:
                failures.append(f"{name}: memory grew by {grown:.0f} MiB")
            if args.clients > 5 and not load.statuses[429]:
                failures.append(f"{name}: nothing was refused")
    for failure in failures:
        print(f"FAILED {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
