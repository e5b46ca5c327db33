"""Parts of a run of benchmarks, each in a process of its own.

In a shared one the last parts were slower than alone, by up to a third; see NOTES.md.
This is no part of `__main__`, as a new process imports what it is to run by its name.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor

from benchmarks.measure import quiet
from benchmarks.rows import Row, show

Part = Callable[[], Iterable[Row]]


def measured(parts: Mapping[str, Part]) -> list[Row]:
    """All rows; prints the name and the time of each part."""
    rows: list[Row] = []
    spawn = multiprocessing.get_context("spawn")
    for name, part in parts.items():
        print(f"\n{name}", flush=True)
        begin = time.perf_counter()
        with ProcessPoolExecutor(1, mp_context=spawn) as process:
            rows += process.submit(_shown, part).result()
        print(f"({time.perf_counter() - begin:.0f} s)", flush=True)
    return rows


def _shown(part: Part) -> list[Row]:
    """The rows of a part, each printed as soon as it is known."""
    quiet()
    return [show(row) for row in part()]
