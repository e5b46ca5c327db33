"""Serving: runs the application of `spanqa.server` until it is told to stop."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from types import FrameType

from spanqa.batcher import Reading
from spanqa.errors import MissingExtraError, ModelError, RecipeError
from spanqa.server import Service, create_app
from spanqa.settings import ServerSettings

try:
    import uvicorn
except ModuleNotFoundError as error:
    raise MissingExtraError("the server", "serve") from error


class _Server(uvicorn.Server):
    """Told to stop, it refuses new questions, answers those it has, and only then closes."""

    def __init__(
        self, config: uvicorn.Config, service: Service, started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self.service, self.tell_started = service, started
        self.deadline = math.inf
        self.swept = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so when questions are answered."""
        await super().startup(sockets)
        self.tell_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins to stop, a second one does not wait."""
        grace = 0.0 if self.service.state.stopping else self.service.settings.grace
        self.service.state.stopping = True
        self.deadline = time.monotonic() + grace

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: close where nobody waits any more, or has waited long enough.

        What had been sent before the signal may not have been read when it comes; it has been one
        tick later, so that one tick has to pass.
        """
        if self.service.state.stopping:
            late = time.monotonic() >= self.deadline
            if late:
                self.service.batcher.give_up()
            self.should_exit = late or (self.swept and self.service.state.inside == 0)
            self.swept = True
        return await super().on_tick(counter)


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address, not listening yet.

    Raises:
        RecipeError: the address cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RecipeError(
            f"cannot listen on {host}, port {port}: {reason}; --host and --port choose another"
        ) from error
    return bound


def serve(
    load: Callable[[], Reading],
    settings: ServerSettings,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Answer over HTTP until SIGTERM or SIGINT, then finish what was accepted.

    Args:
        load: makes the reader, once the address is known to be free.
        settings: where to listen, limits and budgets.
        say: is told the address when questions are answered.

    Raises:
        SpanQAError: the address or the API key cannot be used, or what `load` raises.
    """
    api_key = settings.api_key()
    with bind(settings.host, settings.port) as listener:
        app = create_app(load(), settings, api_key=api_key)
        config = uvicorn.Config(
            app,
            access_log=False,
            h11_max_incomplete_event_size=2**16,
            http="h11",
            lifespan="on",
            log_level="warning",
            loop="asyncio",
            server_header=False,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=75,
            ws="none",
        )
        address = _address(listener)
        try:
            _Server(config, app.state.service, lambda: say(address)).run(sockets=[listener])
        except SystemExit as stop:  # uvicorn has printed why
            raise ModelError("the model failed at its first question, as said above") from stop


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
