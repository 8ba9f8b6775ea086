"""What stands before the service: who may ask, how much, for how long, and how often."""

from __future__ import annotations

import asyncio
import hmac
import time
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from structxlip.serving.requests import MAX_BYTES

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_WAITING = 256  # requests
MAX_BUFFERED = 256 * 2**20  # bytes of the bodies of all requests that are read or computed
BODY_S = 20.0  # seconds in which a body must have come
GONE = 499  # counted, never sent
ROUTES = tuple(f"/v1/{name}" for name in ("search", "embed", "images", "edges", "dataset"))


class Refusal(Exception):
    """A request that is not let through."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        self.answer = JSONResponse({"detail": detail}, status, headers)


def too_busy() -> Refusal:
    """The refusal of a request that may come again in a second."""
    return Refusal(429, "too many requests wait; try again in a second", **{"Retry-After": "1"})


@dataclass
class Numbers:
    """What Prometheus reads."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.counted = Counter(
            "structxlip_requests", "Requests.", ["path", "status"], registry=self.registry
        )
        self.timed = Histogram(
            "structxlip_seconds", "Time of an answer.", ["path"], registry=self.registry
        )


class Guard:
    """Lets a request through to the application, whole, or refuses it with one sentence.

    A body is read here, before the request counts as one that waits: a client that sends slowly
    holds up nobody else.

    Args:
        app: the application.
        numbers: counts and times of requests.
        token: what requests to ``/v1/`` must bear; None for none.
        hosts: names by which the service may be called; None for any. On the loopback address it
            keeps web pages out that give their own name this address (DNS rebinding).
    """

    def __init__(
        self,
        app: ASGIApp,
        numbers: Numbers,
        token: str | None = None,
        hosts: tuple[str, ...] | None = None,
    ) -> None:
        self.app, self.numbers, self.token, self.hosts = app, numbers, token, hosts
        self.waiting = self.buffered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, path, status = time.perf_counter(), _route(scope["path"]), 0
        held = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def read_more() -> Message:
            nonlocal held
            message = await receive()
            held += len(message.get("body", b""))
            self.buffered += len(message.get("body", b""))
            if held > MAX_BYTES:
                raise Refusal(413, f"a request has at most {MAX_BYTES // 2**20} MiB")
            if self.buffered > MAX_BUFFERED:
                raise too_busy()
            return message

        try:
            self._check(Headers(scope=scope), scope["path"])
            body = await _read_whole(read_more)
            if self.waiting >= MAX_WAITING:
                raise too_busy()
            self.waiting += 1
            try:
                await self.app(scope, _replayed(body, receive), answer)
            finally:
                self.waiting -= 1
        except Refusal as refusal:
            await refusal.answer(scope, receive, answer)
        except Gone:
            status = GONE
        finally:
            self.buffered -= held
            self.numbers.counted.labels(path, status).inc()
            self.numbers.timed.labels(path).observe(time.perf_counter() - started)

    def _check(self, headers: Headers, path: str) -> None:
        """Raise ``Refusal`` for a request that may not ask."""
        if self.hosts and _name(headers.get("host", "")) not in self.hosts:
            raise Refusal(421, f"this service answers at {', '.join(self.hosts)} only")
        if self.token and path.startswith("/v1/"):
            given = headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                raise Refusal(401, "send Authorization: Bearer TOKEN")


class Gone(Exception):
    """The client has left before its request was whole."""


async def _read_whole(read_more: Receive) -> bytes:
    """The body of a request."""
    parts = []
    try:
        async with asyncio.timeout(BODY_S):
            more = True
            while more:
                message = await read_more()
                if message["type"] == "http.disconnect":
                    raise Gone
                parts.append(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError:
        raise Refusal(408, f"the request did not come whole within {BODY_S:.0f} s") from None
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What an application receives of a request that was read before."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def replay() -> Message:
        return next(messages, None) or await receive()

    return replay


def _route(path: str) -> str:
    """What a path is counted as: there are many ids."""
    start = "/".join(path.split("/")[:3])
    return start if start in ROUTES else "other"


def _name(host: str) -> str:
    """The name in a ``Host`` header, without its port."""
    return host.rpartition("]")[0].removeprefix("[") or host.partition(":")[0].lower()
