"""Python's collector of cyclic garbage, out of the way of what makes many objects and no cycle."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """No collection inside.

    The collector walks over all objects whenever enough new ones have been made. For a quarter of a
    million answers, none of them part of a cycle, its walks take as long as half of the work. Where
    several threads pause, collecting begins again when the first of them is done.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
