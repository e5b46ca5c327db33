"""The processes that train together, as `torchrun` or `accelerate launch` started them.

One process is a group of one, for which all of this does nothing. Everything goes through
`accelerate`, which knows the launchers and the hardware. No torch is imported before it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from spanqa.errors import RunError, SpanQAError

T = TypeVar("T")
Key = TypeVar("Key")

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: far longer than one of them ever works alone."""
_BROKEN = ("connection", "broken pipe", "timed out", "timeout", "nccl", "gloo")
"""What the error of a process says that has lost the others."""


def size() -> int:
    """Processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def index() -> int:
    """Number of this one, from 0."""
    return int(os.environ.get("RANK", "0"))


def leads() -> bool:
    """Whether this is the process that writes and prints."""
    return index() == 0


def join() -> None:
    """Meet the other processes, so that they can be waited for.

    Raises:
        RunError: they are not met.
    """
    if size() == 1:
        return
    import torch
    from accelerate import PartialState

    cuda = torch.cuda.is_available()
    with said_who_is_missing():
        PartialState(cpu=not cuda, backend="nccl" if cuda else "gloo", timeout=PATIENCE)


def wait() -> None:
    """Wait until every process has come to this line."""
    if size() > 1:
        from accelerate.utils import wait_for_everyone

        with said_who_is_missing():
            wait_for_everyone()


def from_leader(make: Callable[[], T]) -> T:
    """What `make` returns in the leading process, given to all of them.

    Raises:
        SpanQAError: `make` raised it; the helpers end without a word.
    """
    if size() == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    made: list[T | None] = [None]
    error: SpanQAError | None = None
    if leads():
        try:
            made = [make()]
        except SpanQAError as raised:
            error = raised
    outcome = [made[0], error is None]
    with said_who_is_missing():
        broadcast_object_list(outcome)
    if error is not None:
        raise error
    if not outcome[1]:
        raise SystemExit(2)
    return outcome[0]  # type: ignore[return-value]


def gather(parts: Mapping[Key, T]) -> dict[Key, T]:
    """What all processes hold, in all of them."""
    if size() == 1:
        return dict(parts)
    from accelerate.utils import gather_object

    with said_who_is_missing():
        shares = gather_object([dict(parts)])
    return {key: value for share in shares for key, value in share.items()}


def end_helpers() -> None:
    """End all processes but the leading one: what is left to do is for one alone."""
    if size() == 1:
        return
    from accelerate import PartialState

    wait()
    PartialState().destroy_process_group()
    if not leads():
        raise SystemExit(0)


@contextmanager
def said_who_is_missing() -> Iterator[None]:
    """Turn what a process raises that has lost the others into one sentence.

    Raises:
        RunError: another process has ended or does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        broken = any(word in str(error).lower() for word in _BROKEN)
        if size() == 1 or not broken:
            raise
        raise RunError(
            f"process {index()} of {size()} has lost the others: one of them has ended, and its "
            "own message says why; the same command goes on from the last checkpoint"
        ) from error
