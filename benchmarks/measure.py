"""What benchmarks share: runs in turn, peers in processes of their own, conditions, limits."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

from spanqa.environment import cpu_name

ROOT = Path(__file__).parent.parent
PEER_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
"""`make peers` installs it; see there for the packages and their versions."""
PACKAGES = ("torch", "transformers", "tokenizers", "numpy")
DATA = Path(os.environ.get("SPANQA_DATA", ROOT.parent / "shared" / "data"))


class Peer:
    """A script under `peers/`, run by the peers' Python: one JSON line in, one out.

    It measures its own time, so that starting it and talking to it are not counted.
    """

    def __init__(self, script: str, *arguments: str | Path) -> None:
        if not PEER_PYTHON.exists():
            raise SystemExit("the peers are not installed: run `make peers` first")
        self.process = subprocess.Popen(
            [PEER_PYTHON, ROOT / "benchmarks" / "peers" / script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"},
        )

    def ask(self, job: str, **values: Any) -> dict[str, Any]:
        """Run one job and return what the script prints for it.

        Raises:
            SystemExit: the script has ended, having said why on standard error.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"job": job, **values}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer ended during {job!r}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def seconds_of(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def in_turn(runs: Mapping[str, Callable[[], float]], turns: int) -> dict[str, float]:
    """Median of the seconds that each returns, run in turn so that all meet the same load.

    Every other turn goes backwards, as what comes first finds other caches.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns):
        for name in list(runs)[:: -1 if turn % 2 else 1]:
            taken[name].append(runs[name]())
    return {name: statistics.median(times) for name, times in taken.items()}


def around(own: Callable[[], object], peer: Callable[[], float]) -> dict[str, float]:
    """Seconds of a peer that takes long, run once between two runs of ours, which are averaged."""
    before = seconds_of(own)
    theirs = peer()
    return {"own": (before + seconds_of(own)) / 2, "peer": theirs}


def alternate(
    runs: Mapping[str, Callable[[], object]], seconds_each: float, turns: int
) -> dict[str, float]:
    """Median seconds of one call of each, the quick ones repeated up to `seconds_each` a turn."""
    repeats = {}
    for name, run in runs.items():
        run()  # first calls allocate
        repeats[name] = max(1, round(seconds_each / seconds_of(run)))

    def mean(run: Callable[[], object], times: int) -> float:
        return seconds_of(lambda: [run() for _ in range(times)]) / times

    return in_turn({name: partial(mean, runs[name], n) for name, n in repeats.items()}, turns)


def matmul_rate(size: int = 2048) -> float:
    """Float32 operations a second of a large matrix product: what the processor can do."""
    a = torch.randn(size, size)
    return 2 * size**3 / alternate({"product": lambda: a @ a}, 0.0, 5)["product"]


def copy_rate(megabytes: int = 256) -> float:
    """Bytes a second that a large copy moves, read and written."""
    a = np.ones(megabytes << 20, np.uint8)
    b = np.empty_like(a)
    return 2 * a.nbytes / alternate({"copy": lambda: np.copyto(b, a)}, 0.0, 5)["copy"]


def conditions(packages: Sequence[str] = PACKAGES) -> list[str]:
    """Machine, load, limits and versions, one a line."""
    return [
        f"cpu      {cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        f"load     {os.getloadavg()[0]:.1f} (1 minute average at the start)",
        f"limits   {matmul_rate() / 1e9:.0f} GFLOP/s (float32 matrix product), "
        f"{copy_rate() / 1e9:.1f} GB/s (large copy, read and written)",
        f"python   {platform.python_version()}",
        "packages " + ", ".join(f"{name} {version(name)}" for name in packages),
    ]


def quiet() -> None:
    """No progress bars and no advice of transformers between the rows."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
