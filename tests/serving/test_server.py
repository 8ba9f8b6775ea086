"""The running service: odd clients, many clients, and whatever its own description allows."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from structxlip.errors import UserError
from structxlip.serving import guard
from structxlip.serving.guard import LOOPBACK
from structxlip.serving.search import Searcher
from structxlip.serving.server import allow_connections, listen
from structxlip.serving.service import create_app

CONNECTIONS = 1000


@pytest.fixture(scope="module")
def address(searcher: Searcher) -> Iterator[tuple[str, int]]:
    """A server that runs in a thread of the tests."""
    allow_connections()
    app = create_app(searcher, hosts=LOOPBACK)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    listening = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()
    server.should_exit = True
    thread.join()


def request(address: tuple[str, int], body: str, host: str = "127.0.0.1:8017") -> bytes:
    return (
        f"POST /v1/search HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def ask(address: tuple[str, int], **changes: str) -> tuple[int, str]:
    """The status and the text of an answer."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request(address, '{"text": "a", "k": 1}', **changes))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body.decode()


def test_it_answers_to_its_own_name_alone(address: tuple[str, int]) -> None:
    for host in ("127.0.0.1:8017", "localhost", "[::1]:8017"):
        assert asyncio.run(ask(address, host=host))[0] == 200
    for host in ("shop.example", "localhost.shop.example:8017", ""):
        status, body = asyncio.run(ask(address, host=host))
        assert status == 421
        assert json.loads(body)["detail"].startswith("this service answers at 127.0.0.1, localhost")


def test_slow_and_idle_clients_hold_up_nobody(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_S", 1.0)

    async def use() -> None:
        idle = [await asyncio.open_connection(*address) for _ in range(CONNECTIONS)]
        slow = idle[: guard.MAX_WAITING + 10]  # more than may wait to be computed
        for _, writer in slow:
            writer.write(request(address, " " * 100)[:-50])
        started = time.monotonic()
        for _ in range(5):
            assert (await ask(address))[0] == 200
        assert time.monotonic() - started < 10
        answers = await asyncio.gather(*(reader.readline() for reader, _ in slow))
        assert {line.split()[1] for line in answers} == {b"408"}
        for _, writer in idle:
            writer.close()
        for _, writer in idle:
            with suppress(ConnectionError):
                await writer.wait_closed()

    asyncio.run(use())


def test_a_port_that_is_taken_is_told_with_one_that_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} of 127.0.0.1 .* add `--port (\d+)`"):
            listen("127.0.0.1", port)
    with pytest.raises(UserError, match=r"203\.0\.113\.1 cannot be listened at"):
        listen("203.0.113.1", 8017)


@pytest.fixture(scope="module")
def description(searcher: Searcher) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(searcher))


described = schemathesis.pytest.from_fixture("description")


@described.parametrize()
@settings(max_examples=15, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_its_description_allows_is_answered_as_described(case: schemathesis.Case) -> None:
    case.call_and_validate(
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ]
    )
