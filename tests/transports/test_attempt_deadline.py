"""Nothing is sent after the end of an attempt, e.g. by a process that was paused."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Literal

import httpx
import pytest

from htx_async import (
    NO_RETRY,
    ConnectError,
    Credentials,
    Event,
    HTTPTransport,
    HTXClient,
    RateLimit,
    RetryPolicy,
)
from htx_async.clock import Clock
from htx_async.transports import http_pool
from htx_async.transports.connect import connect
from htx_async.transports.http_errors import ExchangeError
from htx_async.transports.http_parser import ResponseParser
from htx_async.transports.http_pool import ConnectionPool
from htx_async.validation import Origin
from tests.transports.http_bytes import with_length
from tests.transports.raw_server import LoopFactory, each_event_loop, repeating, run, serve
from tests.virtual import VirtualClock, VirtualLoop

pytestmark = pytest.mark.slow
KEYS = Credentials("key", "secret")
BODY = b'{"status":"ok","data":1}'
ATTEMPT = 5.0
LIMIT = RateLimit(2, per=60.0)
ONE_RETRY = RetryPolicy(attempts=2, initial_delay=0.01, max_delay=0.01)


def block_loop(seconds: float) -> None:
    """Let time pass without an iteration of the loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop._jumping.time += seconds


class BlockOnce:
    """Listener that blocks the loop once, when an event of *kind* is emitted."""

    def __init__(self, kind: str, seconds: float) -> None:
        self.kind, self.seconds = kind, seconds
        self.errors: list[str | None] = []

    def __call__(self, event: Event) -> None:
        if event.kind == "failed":
            self.errors.append(event.error)
        if event.kind == self.kind:
            self.kind = ""
            block_loop(self.seconds)


def client_of(origin: Origin, **options: Any) -> HTXClient:
    options = {"attempt_timeout": ATTEMPT, "retry": ONE_RETRY, "clock": VirtualClock(), **options}
    return HTXClient(KEYS, base_url=str(origin), **options)


def connections(kind: str, paths: list[str]) -> HTTPTransport | httpx.MockTransport | None:
    """Return a transport of that *kind*; one of httpx records the *paths* of its requests."""

    def respond(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200, content=BODY)

    if kind == "own":
        return None
    return HTTPTransport() if kind == "shared" else httpx.MockTransport(respond)


@pytest.mark.parametrize("kind", ["own", "shared", "httpx"])
@pytest.mark.parametrize("when", ["acquired", "sent"])
def test_attempt_of_a_paused_process_sends_nothing(when: str, kind: str) -> None:
    """Its token is free again, and the retry is sent, on a reused connection or a new one."""

    async def main() -> None:
        paths: list[str] = []
        listener = BlockOnce("", ATTEMPT)
        async with (
            serve(repeating(with_length(BODY))) as server,
            client_of(server.origin, transport=connections(kind, paths), on_event=listener) as htx,
        ):
            for number in (1, 2):
                listener.kind = when
                await htx.get(f"/v1/{number}", limit=LIMIT)  # a third token would take 60 s
                assert VirtualClock().monotonic() == pytest.approx(number * ATTEMPT, abs=0.1)
            assert listener.errors == ["ConnectError"] * 2
            assert len(paths or server.requests) == 2

    run(VirtualLoop, main())


@pytest.mark.parametrize("kind", ["own", "shared", "httpx"])
def test_attempt_of_a_process_paused_until_just_before_its_end_is_sent(kind: str) -> None:
    async def main() -> None:
        listener = BlockOnce("sent", ATTEMPT - 0.001)
        async with (
            serve(repeating(with_length(BODY))) as server,
            client_of(server.origin, transport=connections(kind, []), on_event=listener) as htx,
        ):
            await htx.get("/v1/x", limit=LIMIT)
            assert not listener.errors

    run(VirtualLoop, main())


def test_attempt_time_begins_when_the_token_is_issued() -> None:
    """Not when the caller runs: the loop may be blocked in between."""

    async def main() -> None:
        listener = BlockOnce("response", ATTEMPT)  # the slot was passed on just before
        async with (
            serve(repeating(with_length(BODY))) as server,
            client_of(server.origin, max_connections=1, on_event=listener) as htx,
        ):
            await asyncio.gather(htx.get("/v1/1", limit=LIMIT), htx.get("/v1/2", limit=LIMIT))
            assert listener.errors == ["ConnectError"]
            assert len(server.requests) == 2

    run(VirtualLoop, main())


@pytest.mark.parametrize("step", ["environment", "connected"])
def test_attempt_that_is_over_after_connecting_sends_nothing(
    step: Literal["environment", "connected"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what may be wrong, and the delivery is known."""

    async def slow_connect(*arguments: Any) -> None:
        if step == "environment":
            block_loop(ATTEMPT)
        await connect(*arguments)
        if step == "connected":
            block_loop(ATTEMPT)

    monkeypatch.setattr(http_pool, "connect", slow_connect)

    async def main() -> None:
        async with (
            serve(repeating(with_length(BODY))) as server,
            client_of(server.origin, retry=NO_RETRY) as htx,
        ):
            with pytest.raises(ConnectError) as caught:
                await htx.get("/v1/x", limit=LIMIT)
            assert (caught.value.delivery, caught.value.retryable) == ("not_sent", True)
            expected = "functions that block" if step == "connected" else "no connection in time"
            assert expected in str(caught.value)
            assert htx.limits()["GET /v1/x"].available == 2
            assert server.requests == []

    run(VirtualLoop, main())


@each_event_loop
def test_request_is_written_at_once(loop_factory: LoopFactory) -> None:
    """Not at the end of the loop's iteration: the loop may be blocked before that."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            origin = Origin("http", "127.0.0.1", listener.getsockname()[1])
            pool = ConnectionPool(origin, Clock(), max_connections=1, max_body=1)
            connection = await pool._connect(60.0 + Clock().monotonic(), http_pool.Timeouts())
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(0)
                exchange = connection.exchange(
                    b"GET / HTTP/1.1\r\n\r\n", ResponseParser(max_body=1)
                )
                exchange.send(None)  # until it waits for the response
                assert peer.recv(100).startswith(b"GET /")
            with pytest.raises(ExchangeError):
                exchange.throw(ExchangeError("x", "ReadError"))
            await pool.aclose()

    run(loop_factory, main())
