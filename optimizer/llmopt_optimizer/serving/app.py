"""The ASGI application: routes, limits, and answers that stream.

Completions are raw ASGI: a framework's streaming response costs more than the tokens. Everything else is
starlette's. The application owns nothing but its pump.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from llmopt_optimizer.serving.clock import Answer, Pump
from llmopt_optimizer.serving.metrics import CONTENT_TYPE, exposition
from llmopt_optimizer.serving.protocol import Wanted, Words, wanted_chat, wanted_text, words

Read = Callable[[bytes, float], Wanted]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask of the server."""

    body_bytes: int = 4 * 2**20
    streams: int = 4096
    requests_per_s: float = 10_000.0
    token: str | None = None
    """Every request must carry it (`Authorization: Bearer …`); None: nobody is asked."""


@dataclass(slots=True)
class Budget:
    """A token bucket: `rate` a second, saved up for one second."""

    rate: float
    left: float = field(init=False)
    seen_s: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.left = max(1.0, self.rate)

    def take(self) -> bool:
        """Whether one more request is within the rate."""
        now_s = time.perf_counter()
        self.left = min(max(1.0, self.rate), self.left + (now_s - self.seen_s) * self.rate)
        self.seen_s = now_s
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


class RefusedError(Exception):
    """A request that is answered with an HTTP status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Completions:
    """The endpoint of one kind of completions."""

    pump: Pump
    limits: Limits
    budget: Budget
    model: str
    characters_per_token: float
    read: Read
    open_streams: list[int]
    """One number that both endpoints share: requests under way."""
    answered: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            wanted = await self._wanted(receive)
            answer = self._submitted(wanted)
        except RefusedError as refusal:
            await _refuse(refusal.status, str(refusal))(scope, receive, send)
            return
        self.answered += 1
        pieces = words(wanted, self.answered, int(time.time()), self.model)
        self.open_streams[0] += 1
        try:
            await (_stream(pieces, answer, send) if wanted.stream else _whole(pieces, answer, send))
        finally:
            self.open_streams[0] -= 1

    async def _wanted(self, receive: Receive) -> Wanted:
        body = await _body(receive, self.limits.body_bytes)
        try:
            return self.read(body, self.characters_per_token)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            raise RefusedError(400, f"{where}: {first['msg']}") from error

    def _submitted(self, wanted: Wanted) -> Answer:
        if not self.budget.take():
            raise RefusedError(429, f"more than {self.limits.requests_per_s:g} requests a second")
        if self.open_streams[0] >= self.limits.streams:
            raise RefusedError(429, f"{self.limits.streams} requests are under way: come later")
        answer = self.pump.submit(wanted.input_tokens, wanted.output_tokens)
        if answer is None:
            raise RefusedError(503, "the simulated run is full: let requests end, or start with --requests")
        return answer


async def _body(receive: Receive, most: int) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the client left")
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise RefusedError(413, f"the body has more than {most} bytes")
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


async def _stream(pieces: Words, answer: Answer, send: Send) -> None:
    started = False
    while not answer.ended or answer.tokens:
        tokens = await answer.next()
        if not started:
            await _start(send, answer, b"text/event-stream")
            started = True
        if answer.rejected:
            await send({"type": "http.response.body", "body": _too_long()})
            return
        body = pieces.events(tokens) + (pieces.ending() if answer.ended else b"")
        await send({"type": "http.response.body", "body": body, "more_body": not answer.ended})


async def _whole(pieces: Words, answer: Answer, send: Send) -> None:
    while not answer.ended:
        await answer.next()
    await _start(send, answer, b"application/json")
    body = _too_long() if answer.rejected else pieces.whole()
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, answer: Answer, content_type: bytes) -> None:
    status, kind = (400, b"application/json") if answer.rejected else (200, content_type)
    headers = [(b"content-type", kind), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": status, "headers": headers})


def _too_long() -> bytes:
    return _error("the deployment cannot serve this: it does not fit its KV cache, or a queue is full")


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error"}}).encode()


def _refuse(status: int, message: str) -> Response:
    headers = {"retry-after": "1"} if status in (429, 503) else {}
    return Response(_error(message), status, headers, "application/json")


def application(pump: Pump, limits: Limits, model: str, characters_per_token: float) -> ASGIApp:
    """The application around a pump, which works while the application runs."""
    budget, streams = Budget(limits.requests_per_s), [0]

    def completions(read: Read) -> Completions:
        return Completions(pump, limits, budget, model, characters_per_token, read, streams)

    async def health(_: Request) -> Response:
        return Response()

    async def models(_: Request) -> Response:
        card = {"id": model, "object": "model", "created": 0, "owned_by": "llmopt"}
        return JSONResponse({"object": "list", "data": [card]})

    async def metrics(_: Request) -> Response:
        pump.look()
        text = exposition([*pump.finished_runs, pump.run], pump.tokens, model)
        return Response(text, media_type=CONTENT_TYPE)

    @asynccontextmanager
    async def working(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(pump.work())
        yield
        task.cancel()

    routes = [
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/v1/models", models),
        Route("/v1/completions", completions(wanted_text), methods=["POST"]),
        Route("/v1/chat/completions", completions(wanted_chat), methods=["POST"]),
    ]
    app: ASGIApp = Starlette(routes=routes, lifespan=working)
    return app if limits.token is None else _guarded(app, limits.token)


def _guarded(app: ASGIApp, token: str) -> ASGIApp:
    """The application for those who know the token; `/health` is for everybody."""
    expected = f"Bearer {token}".encode()

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, expected):
                await _refuse(401, "this server asks for its token: Authorization: Bearer …")(
                    scope, receive, send
                )
                return
        await app(scope, receive, send)

    return guarded
