"""A connection to Ray: on this machine alone, or to a cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from spanqa.errors import MissingExtraError, RunError


def require_ray(purpose: str) -> None:
    """Check that Ray is installed.

    Raises:
        MissingExtraError: it is not.
    """
    if find_spec("ray") is None:
        raise MissingExtraError(purpose, "ray")


@contextmanager
def connected(address: str | None, **alone: Any) -> Iterator[Any]:
    """Ray, connected to a cluster or to one of its own on this machine.

    Nothing is sent about its use. A connection that exists already is used and left open.

    Args:
        address: of a cluster; Ray is started on this machine, and stopped, if left out.
        alone: what `ray.init` is told in that case.

    Raises:
        RunError: there is no cluster at `address`.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported
    import ray

    opened = not ray.is_initialized()
    if opened:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        own: dict[str, Any] = {} if address else {"include_dashboard": False, **alone}
        try:
            ray.init(address or "local", **quiet, **own)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise RunError(
                f"there is no Ray cluster at {address or 'this machine'} ({error})"
            ) from error
    try:
        yield ray
    finally:
        if opened:
            ray.shutdown()
