"""What surrounds every request: the key, the headers, the counters, and who is still inside."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spanqa.counters import Counters

GONE = 499
"""Counted where the client went away before its response began (nginx's number for it)."""
KEYED = ("/answer", "/metrics")
"""Routes that need the key, if there is one; the page has to load before it can ask for it."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass
class State:
    """Where a server stands in its life."""

    warm: bool = False
    """The model has answered a first question."""
    stopping: bool = False
    """No new questions are taken."""
    inside: int = 0
    """Requests for answers that have no response yet."""


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: frozenset[str],
        counters: Counters,
        api_key: str | None,
        state: State,
    ) -> None:
        """Surround `app`.

        Args:
            app: what answers.
            routes: paths that are counted by name; all others are one, or a scanner would fill the
                memory with names.
            counters: where requests are counted.
            api_key: what `Authorization: Bearer` must hold; None lets everybody in.
            state: whose `inside` is counted; while stopping, connections are closed, so that
                clients look for another server.
        """
        self.app, self.routes, self.counters, self.state = app, routes, counters, state
        self._digest = None if api_key is None else _digest(api_key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), GONE

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if self.state.stopping:
                    headers["Connection"] = "close"
            await send(message)

        path = _route(scope)
        asks = path == "/answer"
        self.state.inside += asks
        try:
            app = self.app if self._may_enter(scope, path) else _locked
            await app(scope, receive, watched)
        finally:
            self.state.inside -= asks
            route = path if path in self.routes else "other"
            self.counters.request(route, status, time.perf_counter() - began)

    def _may_enter(self, scope: Scope, path: str) -> bool:
        if self._digest is None or path not in KEYED:
            return True
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        given = _digest(key.strip().encode("latin-1"))
        return hmac.compare_digest(given, self._digest) and scheme.lower() == "bearer"


def _route(scope: Scope) -> str:
    """The path that the application goes by: without the prefix that it is mounted at."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    inside = root and (path == root or path.startswith(f"{root}/"))
    return path[len(root) :] if inside else path


async def _locked(scope: Scope, receive: Receive, send: Send) -> None:
    sentence = "the API key is missing or wrong; send it as 'Authorization: Bearer KEY'"
    headers = {"WWW-Authenticate": "Bearer"}
    await JSONResponse({"error": sentence}, 401, headers)(scope, receive, send)


def _digest(key: bytes) -> bytes:
    """Of one length whatever the key's, so that comparing takes one time."""
    return hashlib.sha256(key).digest()
