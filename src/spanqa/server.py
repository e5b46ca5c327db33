"""The server: `create_app` makes the application, `spanqa.serving` runs it.

    POST /answer        questions over texts -> ranked answers
    GET  /              the page
    GET  /health        the process is alive
    GET  /ready         it answers questions
    GET  /metrics       counters in Prometheus' format
    GET  /openapi.json  the interface

Every error is `{"error": "one sentence"}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from spanqa import __version__
from spanqa.errors import MissingExtraError

try:
    from fastapi import FastAPI, Request
    from fastapi.telemetry import TelemetryConfig
    from starlette.exceptions import HTTPException
    from starlette.middleware.cors import CORSMiddleware
    from starlette.requests import ClientDisconnect
    from starlette.responses import JSONResponse, Response

    from spanqa.counters import Counters
    from spanqa.guard import GONE, Guard, State
except ModuleNotFoundError as error:
    raise MissingExtraError("the server", "serve") from error

from spanqa.batcher import Answers, Batcher, Closed, Full, Job, Reading
from spanqa.request import Refusal, read_job, results_of
from spanqa.schema import ERROR_SCHEMA, EXAMPLES, RESPONSE_SCHEMA, request_schema
from spanqa.settings import ServerSettings

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
WARM_UP = (("Is the model warm?",), {"": "The first call of a model takes longer than others."})
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""Some of it is on by default, and would send where the environment of the process says."""
STOPPING = "the server is being stopped; ask another one, or this one again later"
logger = logging.getLogger("spanqa.server")


class Service:
    """The state that the routes of one application share."""

    def __init__(self, reader: Reading, settings: ServerSettings) -> None:
        self.settings = settings
        self.batcher = Batcher(
            reader,
            queue_requests=settings.queue_requests,
            queue_characters=settings.queue_characters,
            batch_questions=settings.batch_questions,
            batch_characters=settings.batch_characters,
            done=lambda batch: self.counters.batch(batch),
        )
        self.counters = Counters(lambda: self.batcher.waiting)
        self.state = State()

    async def answer(self, request: Request) -> dict[str, Any]:
        """The body of the response to one request for answers.

        Raises:
            Refusal: there is an error to be told.
            ClientDisconnect: there is nobody to tell it.
        """
        limits = self.settings
        try:
            async with asyncio.timeout(limits.time_limit):
                if self.state.stopping:
                    raise Closed
                self.batcher.require_room()  # before the body is read for nothing
                job = read_job(await _body(request, limits.max_body), limits)
                self.batcher.submit(job)
                found = await self._found(job, request)
        except TimeoutError as error:
            self.counters.rejected("late")
            sentence = f"the time limit of {limits.time_limit:g} s (time_limit) has passed"
            raise Refusal(504, sentence) from error
        except Full as full:
            self.counters.rejected("full")
            raise Refusal(429, str(full), {"Retry-After": str(full.seconds)}) from full
        except Closed as closed:
            self.counters.rejected("stopping")
            raise Refusal(503, STOPPING, {"Retry-After": "10"}) from closed
        except ClientDisconnect:
            self.counters.rejected("gone")
            raise
        self.counters.answered(len(job.questions))
        return results_of(job, found)

    async def _found(self, job: Job, request: Request) -> Answers:
        """The answers, unless the client goes away before."""
        found = asyncio.wrap_future(job.future)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            both: set[asyncio.Future[Any]] = {found, gone}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not found.done():
                raise ClientDisconnect
            return found.result()
        finally:
            gone.cancel()
            found.cancel()
            self.batcher.drop(job)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Start the batcher, answer one question, and end the batcher at last."""
        self.batcher.start()
        warm_up = Job(*WARM_UP)
        self.batcher.submit(warm_up)
        await asyncio.wrap_future(warm_up.future)
        self.state.warm = True
        yield
        self.state.stopping = True
        self.batcher.give_up()  # by now nobody waits


async def _body(request: Request, limit: int) -> bytes:
    """The body of a request; never more than `limit` bytes and a chunk are held."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        got = repr(kind) if kind else "nothing"
        raise Refusal(415, f"the content type must be application/json, got {got}")
    too_large = Refusal(413, f"the body is too large; the limit is {limit:,} bytes (max_body)")
    length = request.headers.get("content-length", "0")
    # Its digits first, as Python refuses to read numbers of thousands of them.
    if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > limit):
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def create_app(
    reader: Reading, settings: ServerSettings | None = None, *, api_key: str | None = None
) -> FastAPI:
    """The application, for `serve` or any ASGI server with one worker and lifespan events.

    Args:
        reader: a `Reader`; one thread of the application calls it.
        settings: limits and budgets; `host`, `port`, `grace` and `api_key_file` are for `serve`.
        api_key: what clients have to send; everybody may ask if left out.
    """
    settings = settings or ServerSettings()
    service = Service(reader, settings)
    app = FastAPI(
        title="spanqa",
        summary="Questions over texts: answers that are exact spans of them, or no answer.",
        version=__version__,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
        lifespan=service.lifespan,
    )
    app.state.service = service
    _add_errors(app)
    _add_answer(app, service, keyed=api_key is not None)
    _add_states(app, service)
    _add_page(app)
    app.add_middleware(
        Guard,
        routes=frozenset(getattr(route, "path", "") for route in app.routes),
        counters=service.counters,
        api_key=api_key,
        state=service.state,
    )
    if settings.cors_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origin,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Retry-After"],
        )
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        sentences = {
            404: "there is nothing at this path; see /openapi.json",
            405: f"{request.method} is not allowed here",
        }
        sentence = sentences.get(error.status_code, error.detail)
        return JSONResponse({"error": sentence}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failure(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": "the server failed; its log says why"}, 500)

    @app.exception_handler(Refusal)
    async def refusal(_: Request, error: Refusal) -> Response:
        return JSONResponse({"error": error.sentence}, error.status, error.headers)


def _add_answer(app: FastAPI, service: Service, *, keyed: bool) -> None:
    errors = {
        400: "The body is not JSON, or not UTF-8.",
        413: "The body is too large.",
        415: "The content type is not application/json.",
        422: "The request is not what is asked for, or beyond a limit.",
        429: "The queue is full; Retry-After says when to try again.",
        500: "The model failed.",
        503: "The server is being stopped.",
        504: "The time limit has passed.",
    }
    if keyed:
        errors[401] = "The API key is missing or wrong."
    responses: dict[int | str, dict[str, Any]] = {
        status: _described(sentence, ERROR_SCHEMA) for status, sentence in sorted(errors.items())
    }
    responses[200] = _described("Answers to every question, best first.", RESPONSE_SCHEMA)
    body = {"schema": request_schema(service.settings), "examples": EXAMPLES}

    @app.post(
        "/answer",
        summary="Answer questions over texts",
        responses=responses,
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": body}}},
    )
    async def answer(request: Request) -> Response:
        try:
            content = await service.answer(request)
        except Refusal:
            raise
        except ClientDisconnect:
            return Response(status_code=GONE)  # reaches nobody
        except Exception:
            logger.exception("the model failed")
            return JSONResponse({"error": "the model failed; the server's log says why"}, 500)
        return JSONResponse(content, headers={"Cache-Control": "no-store"})


def _described(sentence: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": sentence, "content": {"application/json": {"schema": schema}}}


def _add_states(app: FastAPI, service: Service) -> None:
    state = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}

    @app.get("/health", responses={200: _described("The process is alive.", state)})
    async def health() -> Response:
        return JSONResponse({"status": "alive"})

    unready = _described("It does not answer questions, yet or any more.", ERROR_SCHEMA)
    ready_now = _described("It answers questions.", state)

    @app.get("/ready", responses={200: ready_now, 503: unready})
    async def ready() -> Response:
        if service.state.stopping:
            return JSONResponse({"error": STOPPING}, 503)
        if not service.state.warm:
            return JSONResponse({"error": "the model is not warm yet"}, 503)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        return Response(service.counters.text(), media_type="text/plain; version=0.0.4")


def _add_page(app: FastAPI) -> None:
    def file(name: str) -> Callable[[Request], Awaitable[Response]]:
        path = PAGE / name
        content, kind = path.read_bytes(), TYPES[path.suffix]

        async def send(_: Request) -> Response:
            return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

        return send

    app.add_route("/", file("index.html"), include_in_schema=False)
    for name in ("page.css", "page.js", "page.svg"):
        app.add_route(f"/{name}", file(name), include_in_schema=False)
