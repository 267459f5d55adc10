"""A server on a real socket that responds with raw bytes, and clients to call it with."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import pytest

from htx_async.clock import Clock
from htx_async.transports.http_pool import ConnectionPool, Timeouts
from htx_async.transports.http_response import HTTPResponse
from htx_async.validation import Origin

SECRET = b"4F65x5A2bLyMWVQj3Aqp"
TARGET = b"/v1/x?Signature=" + SECRET
HEADERS = b"Host: htx\r\n"
NO_TIMEOUTS = Timeouts()


LoopFactory = Callable[[], asyncio.AbstractEventLoop]
EVENT_LOOPS: dict[str, LoopFactory] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": pytest.importorskip("uvloop").new_event_loop,
}
each_event_loop = pytest.mark.parametrize("loop_factory", EVENT_LOOPS.values(), ids=EVENT_LOOPS)
"""Decorator of the tests that run on every event loop that must work."""


def run(loop_factory: LoopFactory, main: Coroutine[Any, Any, None]) -> None:
    """Run *main*, and check that nothing is left."""
    problems: list[dict[str, Any]] = []

    async def checked() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, problem: problems.append(problem)
        )
        await main
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(checked())
    assert problems == []


@attrs.define
class Peer:
    """
    The server's end of a connection.

    Attributes:
        is_over: Whether it was closed, by either side.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: list[bytes] = attrs.field(factory=list)
    is_over: bool = False

    async def request(self) -> bytes:
        """Return the head of the next request."""
        self.requests.append(await self.reader.readuntil(b"\r\n\r\n"))
        return self.requests[-1]

    def reset(self) -> None:
        """Close the connection at once, with RST."""
        sock = self.writer.get_extra_info("socket")
        # uvloop's has no `setsockopt`.
        with socket.socket(fileno=socket.dup(sock.fileno())) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Handler = Callable[[Peer], Awaitable[object]]


@attrs.define
class Server:
    """
    A server, and what it has received.

    Attributes:
        peers: Its connections, also those that are closed.
    """

    origin: Origin
    peers: list[Peer] = attrs.field(factory=list)

    @property
    def requests(self) -> list[bytes]:
        """The heads of all requests."""
        return [request for peer in self.peers for request in peer.requests]


@asynccontextmanager
async def serve(
    *handlers: Handler, context: ssl.SSLContext | None = None, scheme: str = ""
) -> AsyncIterator[Server]:
    """Serve the n-th connection by the n-th handler; the last one serves the rest, too."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(peer: Peer, handler: Handler) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await handler(peer)
        finally:
            peer.is_over = True
            peer.writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        server.peers.append(peer)
        handler = handlers[min(len(server.peers), len(handlers)) - 1]
        tasks.add(asyncio.create_task(handle(peer, handler)))

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    scheme = scheme or ("https" if context else "http")
    port = listener.sockets[0].getsockname()[1]
    server = Server(Origin(scheme, "localhost" if context else "127.0.0.1", port))
    try:
        yield server
    finally:
        for _ in range(20):  # asyncio loses a connection that is accepted while a server closes
            await asyncio.sleep(0)
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in server.peers:
            peer.writer.transport.abort()
            with suppress(Exception):
                await peer.writer.wait_closed()


def answering(*streams: bytes, then: Handler | None = None) -> Handler:
    """Return a handler that answers the n-th request with the n-th stream, then calls *then*."""

    async def handle(peer: Peer) -> None:
        for stream in streams:
            await peer.request()
            peer.writer.write(stream)
        if then is not None:
            await then(peer)

    return handle


def repeating(stream: bytes) -> Handler:
    """Return a handler that answers each request with *stream*."""

    async def handle(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.writer.write(stream)

    return handle


async def silent(peer: Peer) -> None:
    """Keep the connection open, and send nothing."""
    while await peer.reader.read(10_000):
        pass


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until *condition* holds."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError


@asynccontextmanager
async def open_pool(
    origin: Origin, *, max_connections: int = 4, max_body: int = 100_000, clock: Clock | None = None
) -> AsyncIterator[ConnectionPool]:
    """Return a pool that is closed at the end."""
    pool = ConnectionPool(
        origin, clock or Clock(), max_connections=max_connections, max_body=max_body
    )
    try:
        yield pool
    finally:
        await pool.aclose()


async def get(
    pool: ConnectionPool,
    timeouts: Timeouts = NO_TIMEOUTS,
    *,
    total: float = 5.0,
    fresh: bool = False,
) -> HTTPResponse:
    """Return the response to a GET that takes at most *total* seconds, once it has a slot."""
    async with pool.slot(timeouts.pool):
        deadline = pool._clock.monotonic() + total
        return await pool.exchange(
            "GET", TARGET, HEADERS, deadline=deadline, timeouts=timeouts, fresh=fresh
        )
