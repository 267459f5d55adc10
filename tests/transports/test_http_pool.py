"""Exchanges over real sockets: which response a caller gets, and which connection it uses."""

from __future__ import annotations

import asyncio
import gzip
import math
import socket
import threading
import time
from contextlib import suppress

import pytest

from htx_async.clock import Clock
from htx_async.transports.base import MAX_IDLE
from htx_async.transports.http_connection import HTTPConnection
from htx_async.transports.http_errors import ExchangeError
from htx_async.transports.http_parser import ResponseParser
from htx_async.transports.http_pool import ConnectionPool, Timeouts
from htx_async.validation import Origin
from tests.transports.http_bytes import GZIPPED, JSON, chunked, response, with_chunks, with_length
from tests.transports.raw_server import (
    NO_TIMEOUTS,
    TARGET,
    LoopFactory,
    Peer,
    answering,
    each_event_loop,
    get,
    open_pool,
    repeating,
    run,
    serve,
    silent,
    until,
)
from tests.virtual import VirtualClock, VirtualLoop

pytestmark = pytest.mark.slow

OTHER = b'{"code":200,"data":"of the next request"}'
SURPLUS = with_length(b'{"code":200,"data":"of another request"}')
NEXT = repeating(with_length(OTHER))
LENGTH, CHUNKED = b"Content-Length: 22", b"Transfer-Encoding: chunked"
GZIP = b"Content-Encoding: gzip"

KEPT = {
    "length": with_length(JSON),
    "chunked with trailer": with_chunks(JSON, b"X-Checksum: 1"),
    "100 first": response(status=b"HTTP/1.1 100 Continue") + with_length(JSON),
    "103 first": response(b"Link: </>", status=b"HTTP/1.1 103 Early Hints") + with_length(JSON),
    "HTTP/1.0 with keep-alive": with_length(
        JSON, b"Connection: keep-alive", status=b"HTTP/1.0 200 OK"
    ),
    "gzip": with_length(GZIPPED, GZIP),
}
CLOSED = {
    "two responses": with_length(JSON) + SURPLUS,
    "surplus line end": with_length(JSON) + b"\r\n",
    "close": with_length(JSON, b"Connection: close"),
    "HTTP/1.0": with_length(JSON, status=b"HTTP/1.0 200 OK"),
}
UNTIL_THE_END = {
    "close-delimited": response(body=JSON),
    "close-delimited HTTP/1.0": response(status=b"HTTP/1.0 200 OK", body=JSON),
}
FAILURES = {
    "double length": (response(LENGTH, LENGTH, body=JSON), "RemoteProtocolError"),
    "length with chunks": (response(LENGTH, CHUNKED, body=chunked(JSON)), "RemoteProtocolError"),
    "cut in the head": (with_length(JSON)[:30], "ReadError"),
    "cut in the length": (with_length(JSON)[:-1], "ReadError"),
    "cut in a chunk": (with_chunks(JSON)[:-10], "ReadError"),
    "nothing": (b"", "ReadError"),
    "head of 200 KB": (with_length(JSON, b"X: " + b"x" * 200_000), "RemoteProtocolError"),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "RemoteProtocolError"),
    "gzip cut": (with_length(GZIPPED[:-3], GZIP), "RemoteProtocolError"),
}
PROBLEMS = {
    "gzip with trailing bytes": with_length(GZIPPED + b"x", GZIP),
    "gzip bomb": with_length(gzip.compress(bytes(10_000_000), mtime=0), GZIP),
    "large body": with_length(b"x" * 100_001),
    "large chunks": response(CHUNKED, body=chunked(b"x" * 100_001, size=1000)),
}


@each_event_loop
@pytest.mark.parametrize("stream", KEPT.values(), ids=KEPT)
def test_connection_is_reused_after_response(stream: bytes, loop_factory: LoopFactory) -> None:
    """Each caller gets the response to its request."""

    async def main() -> None:
        handler = answering(stream, then=NEXT)
        async with serve(handler) as server, open_pool(server.origin) as pool:
            assert (await get(pool)).body == JSON
            assert (await get(pool)).body == OTHER
            assert len(server.peers) == 1

    run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize("stream", CLOSED.values(), ids=CLOSED)
def test_connection_is_closed_after_response(stream: bytes, loop_factory: LoopFactory) -> None:
    """What follows on the connection belongs to nobody."""

    async def main() -> None:
        async with (
            serve(answering(stream, SURPLUS, then=silent), NEXT) as server,
            open_pool(server.origin) as pool,
        ):
            assert (await get(pool)).body == JSON
            assert (await get(pool)).body == OTHER
            assert len(server.peers) == 2

    run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize("stream", UNTIL_THE_END.values(), ids=UNTIL_THE_END)
def test_response_may_end_with_connection(stream: bytes, loop_factory: LoopFactory) -> None:
    """A server without keep-alive need not announce a length."""

    async def main() -> None:
        async with (
            serve(answering(stream), NEXT) as server,
            open_pool(server.origin) as pool,
        ):
            assert (await get(pool)).body == JSON
            assert (await get(pool)).body == OTHER

    run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize(("stream", "kind"), FAILURES.values(), ids=FAILURES)
def test_failure_closes_connection(stream: bytes, kind: str, loop_factory: LoopFactory) -> None:
    """The next exchange is not affected."""

    async def main() -> None:
        async with serve(answering(stream), NEXT) as server, open_pool(server.origin) as pool:
            with pytest.raises(ExchangeError) as caught:
                await get(pool)
            assert (caught.value.kind, caught.value.is_sent) == (kind, True)
            assert caught.value.__context__ is None
            assert (await get(pool)).body == OTHER
            assert len(server.peers) == 2

    run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize("stream", PROBLEMS.values(), ids=PROBLEMS)
def test_body_that_cannot_be_used_has_no_content(stream: bytes, loop_factory: LoopFactory) -> None:
    """The status is known: it may say more."""

    async def main() -> None:
        async with serve(answering(stream), NEXT) as server, open_pool(server.origin) as pool:
            result = await get(pool)
            assert (result.status, result.body) == (200, b"")
            assert result.problem
            assert (await get(pool)).body == OTHER

    run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize("surplus", [SURPLUS, b"\r\n", b"x"])
def test_connection_with_data_while_idle_is_closed(
    surplus: bytes, loop_factory: LoopFactory
) -> None:
    """A late response must not be taken for the next one."""

    async def main() -> None:
        is_due, is_closed = asyncio.Event(), asyncio.Event()

        async def send_late(peer: Peer) -> None:
            await is_due.wait()
            peer.writer.write(surplus)
            with suppress(ConnectionError):
                await peer.reader.read()
            is_closed.set()

        async with (
            serve(answering(with_length(JSON), then=send_late), NEXT) as server,
            open_pool(server.origin) as pool,
        ):
            assert (await get(pool)).body == JSON
            is_due.set()
            await is_closed.wait()
            assert (await get(pool)).body == OTHER

    run(loop_factory, main())


@each_event_loop
def test_connection_with_unread_surplus_is_not_reused(loop_factory: LoopFactory) -> None:
    """The loop may not have read the surplus yet when the next request is due."""

    async def main() -> None:
        async with open_pool(await _in_thread(with_length(JSON), late=SURPLUS)) as pool:
            assert (await get(pool)).body == JSON
            time.sleep(0.02)  # noqa: ASYNC251 - blocks the loop on purpose
            assert (await get(pool)).body == OTHER

    run(loop_factory, main())


@each_event_loop
def test_connection_that_ended_while_idle_is_not_reused(loop_factory: LoopFactory) -> None:
    """The same holds for the end of the stream."""

    async def main() -> None:
        async with open_pool(await _in_thread(with_length(JSON), late=b"")) as pool:
            assert (await get(pool)).body == JSON
            time.sleep(0.02)  # noqa: ASYNC251 - blocks the loop on purpose
            assert (await get(pool)).body == OTHER

    run(loop_factory, main())


async def _in_thread(stream: bytes, late: bytes) -> Origin:
    """
    Serve two connections from a thread.

    The first one gets *stream*, a little later *late*, and is closed; the second one gets `OTHER`.
    """
    listener = socket.create_server(("127.0.0.1", 0))

    def serve_two() -> None:
        with listener, suppress(ConnectionError):
            for first, second in ((stream, late), (with_length(OTHER), b"")):
                accepted, _ = listener.accept()
                with accepted:
                    accepted.recv(10_000)
                    accepted.sendall(first)
                    time.sleep(0.005)
                    accepted.sendall(second)

    threading.Thread(target=serve_two).start()
    return Origin("http", "127.0.0.1", listener.getsockname()[1])


@each_event_loop
def test_connection_lost_while_idle_is_replaced(loop_factory: LoopFactory) -> None:
    """Servers close idle connections at any time; no caller notices it."""

    async def main() -> None:
        async with (
            serve(answering(with_length(JSON)), NEXT) as server,
            open_pool(server.origin) as pool,
        ):
            assert (await get(pool)).body == JSON
            await until(lambda: pool.open_connections == 0)
            assert (await get(pool)).body == OTHER

    run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize("how", ["FIN", "RST"])
def test_connection_lost_while_sending_has_unknown_delivery(
    how: str, loop_factory: LoopFactory
) -> None:
    """The server may have processed the request. The transport does not send it again."""

    async def main() -> None:
        async def lose(peer: Peer) -> None:
            await peer.request()
            if how == "RST":
                peer.reset()

        async with (
            serve(answering(with_length(JSON), then=lose), NEXT) as server,
            open_pool(server.origin) as pool,
        ):
            assert (await get(pool)).body == JSON
            with pytest.raises(ExchangeError, match="without a response") as caught:
                await get(pool)
            assert (caught.value.kind, caught.value.is_sent) == ("ReadError", True)
            assert (await get(pool)).body == OTHER
            assert len(server.requests) == 3

    run(loop_factory, main())


@each_event_loop
def test_response_before_request_was_sent_closes_connection(loop_factory: LoopFactory) -> None:
    """The rest of the request would be read as the next one."""

    async def main() -> None:
        async with (
            serve(answering(with_length(JSON), then=silent), NEXT) as server,
            open_pool(server.origin) as pool,
        ):
            content = bytes(20_000_000)
            lines = b"Host: htx\r\nContent-Length: %d\r\n" % len(content)
            result = await pool.exchange("POST", TARGET, lines, content, timeouts=NO_TIMEOUTS)
            assert result.body == JSON
            assert (await get(pool)).body == OTHER

    run(loop_factory, main())


@each_event_loop
def test_bytes_before_the_request_are_rejected(loop_factory: LoopFactory) -> None:
    """The server cannot know what was requested."""

    async def early(peer: Peer) -> None:
        peer.writer.write(SURPLUS)
        await silent(peer)

    async def main() -> None:
        async with serve(early, NEXT) as server, open_pool(server.origin) as pool:
            connection = await pool._connect(math.inf, Timeouts())
            parser = ResponseParser(max_body=1000)
            while not connection.has_unread_bytes() and connection.is_open:  # noqa: ASYNC110
                await asyncio.sleep(0)
            with pytest.raises(ExchangeError, match="sent data before the request") as caught:
                await connection.exchange(b"GET / HTTP/1.1\r\n\r\n", parser)
            assert (caught.value.is_sent, caught.value.retryable) == (False, True)
            assert (await get(pool)).body == OTHER

    run(loop_factory, main())


@each_event_loop
def test_connection_closed_before_the_request_is_not_used(loop_factory: LoopFactory) -> None:
    """Nothing was sent."""

    async def main() -> None:
        async with serve(answering()) as server, open_pool(server.origin) as pool:
            connection = await pool._connect(math.inf, Timeouts())
            await until(lambda: not connection.is_open)
            with pytest.raises(ExchangeError, match="closed before the request was sent") as caught:
                await connection.exchange(b"GET / HTTP/1.1\r\n\r\n", ResponseParser(max_body=9))
            assert not caught.value.is_sent

    run(loop_factory, main())


def test_attach_that_fails_after_its_cancellation_is_not_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody waits for it."""

    async def fail(*_: object, **__: object) -> None:
        await asyncio.sleep(0)
        raise ConnectionResetError

    async def main() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", fail)
        connection = HTTPConnection(Clock(), set(), memoryview(bytearray(10)))
        with socket.socket() as sock:
            attaching = asyncio.create_task(connection.attach(sock))
            await asyncio.sleep(0)
            attaching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attaching
            connection.discard()
            await connection.closed

    run(asyncio.SelectorEventLoop, main())


@each_event_loop
def test_new_connection_replaces_the_oldest_idle_one(loop_factory: LoopFactory) -> None:
    """There are never more than `max_connections`."""

    async def main() -> None:
        async with serve(NEXT) as server, open_pool(server.origin, max_connections=2) as pool:
            await asyncio.gather(get(pool), get(pool))
            for _ in range(5):
                await get(pool, fresh=True)
                await until(lambda: pool.open_connections <= 2)
            assert len(server.peers) == 7
            await until(lambda: sum(not peer.is_over for peer in server.peers) == 2)

    run(loop_factory, main())


@each_event_loop
def test_cancelled_exchange_resets_connection(loop_factory: LoopFactory) -> None:
    """The server learns that the request was given up, and its slot is free at once."""

    async def main() -> None:
        errors: list[type[BaseException] | None] = []

        async def wait(peer: Peer) -> None:
            await peer.request()
            task.cancel()
            try:
                await peer.reader.read()
            except ConnectionResetError as error:
                errors.append(type(error))

        async with (
            serve(wait, NEXT) as server,
            open_pool(server.origin, max_connections=1) as pool,
        ):
            task = asyncio.create_task(get(pool))
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await get(pool)).body == OTHER
        assert errors == [ConnectionResetError]

    run(loop_factory, main())


@each_event_loop
def test_pool_limits_connections_and_serves_in_order(loop_factory: LoopFactory) -> None:
    """A waiting exchange can be cancelled; the others do not notice it."""

    async def main() -> None:
        order: list[int] = []

        async def call(pool: ConnectionPool, number: int) -> None:
            await get(pool)
            order.append(number)

        async with serve(NEXT) as server, open_pool(server.origin, max_connections=1) as pool:
            tasks = [asyncio.create_task(call(pool, number)) for number in range(6)]
            await asyncio.sleep(0)
            tasks[2].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert order == [0, 1, 3, 4, 5]
            assert len(server.peers) == 1

    run(loop_factory, main())


@each_event_loop
def test_pool_reuses_the_last_connection_first(loop_factory: LoopFactory) -> None:
    """So that surplus connections become idle."""

    async def main() -> None:
        async with serve(NEXT) as server, open_pool(server.origin, max_connections=3) as pool:
            await asyncio.gather(*(get(pool) for _ in range(9)))
            assert len(server.peers) == 3
            before = [len(peer.requests) for peer in server.peers]
            for _ in range(5):
                await get(pool)
            after = [len(peer.requests) for peer in server.peers]
            assert sorted(map(int.__sub__, after, before)) == [0, 0, 5]
            await get(pool, fresh=True)
            assert len(server.peers) == 4

    run(loop_factory, main())


def test_pool_timeout_names_the_limit(virtual_time: VirtualClock) -> None:
    """A caller that leaves waits for nothing any more."""

    async def main() -> None:
        async with (
            serve(silent) as server,
            open_pool(server.origin, max_connections=1, clock=virtual_time) as pool,
        ):
            blocking = asyncio.create_task(get(pool, total=math.inf))
            await asyncio.sleep(0)
            with pytest.raises(ExchangeError, match="all 1 connections to http://") as caught:
                await get(pool, Timeouts(pool=2.0))
            assert (caught.value.kind, caught.value.is_sent) == ("PoolTimeout", False)
            assert virtual_time.monotonic() == pytest.approx(2.0)
            assert pool.slots.in_use == 1
            blocking.cancel()

    run(VirtualLoop, main())


@pytest.mark.parametrize(
    ("timeouts", "total", "expected"),
    [
        (Timeouts(), 9.0, 9.0),
        (Timeouts(first_byte=3.0), 9.0, 3.0),
        (Timeouts(read=2.0), math.inf, 2.0),
        (Timeouts(first_byte=5.0, read=6.0), 4.0, 4.0),
    ],
)
def test_silent_connection_times_out(
    timeouts: Timeouts, total: float, expected: float, virtual_time: VirtualClock
) -> None:
    """One that was reused, by `first_byte`; other idle ones may be as dead, and are closed."""

    async def main() -> None:
        first = answering(with_length(JSON), then=silent)
        async with (
            serve(first, first, NEXT) as server,
            open_pool(server.origin, clock=virtual_time) as pool,
        ):
            await asyncio.gather(get(pool), get(pool))
            start = virtual_time.monotonic()
            with pytest.raises(ExchangeError, match="no response in time") as caught:
                await get(pool, timeouts, total=total)
            assert (caught.value.kind, caught.value.is_sent) == ("ReadTimeout", True)
            assert virtual_time.monotonic() - start == pytest.approx(expected)
            assert (await get(pool)).body == OTHER
            assert len(server.peers) == 3

    run(VirtualLoop, main())


def test_first_byte_timeout_does_not_apply_to_new_connection(virtual_time: VirtualClock) -> None:
    """Nor to the rest of the response."""

    async def main() -> None:
        async def slow(peer: Peer) -> None:
            for _ in range(2):
                await peer.request()
                peer.writer.write(with_length(JSON)[:1])
                await asyncio.sleep(4)
                peer.writer.write(with_length(JSON)[1:])

        timeouts = Timeouts(first_byte=1.0)
        async with (
            serve(slow) as server,
            open_pool(server.origin, clock=virtual_time) as pool,
        ):
            for _ in range(2):
                result = await get(pool, timeouts)
                assert result.body == JSON
                assert virtual_time.monotonic() - result.first_byte_at == pytest.approx(4.0)
            assert len(server.peers) == 1

    run(VirtualLoop, main())


def test_read_timeout_applies_to_each_part(virtual_time: VirtualClock) -> None:
    """As httpx's does: a slow response is not a dead one."""

    async def main() -> None:
        async def slow(peer: Peer) -> None:
            await peer.request()
            for byte in with_length(JSON)[:-1]:
                await asyncio.sleep(4)
                peer.writer.write(bytes([byte]))
            await silent(peer)

        async with (
            serve(slow) as server,
            open_pool(server.origin, clock=virtual_time) as pool,
        ):
            with pytest.raises(ExchangeError, match="no complete response in time"):
                await get(pool, Timeouts(read=5.0), total=math.inf)
            parts = len(with_length(JSON)) - 1
            assert virtual_time.monotonic() == pytest.approx(4.0 * parts + 5.0)

    run(VirtualLoop, main())


def test_idle_connection_expires(virtual_time: VirtualClock) -> None:
    """After a minute, by itself; whatever the timeout of its last exchange was."""

    async def main() -> None:
        async with (
            serve(NEXT) as server,
            open_pool(server.origin, clock=virtual_time) as pool,
        ):
            await get(pool, total=9.0)
            await asyncio.sleep(MAX_IDLE - 1)
            await get(pool, total=math.inf)
            assert len(server.peers) == 1
            await asyncio.sleep(MAX_IDLE - 1)
            assert pool.open_connections == 1
            await asyncio.sleep(2)
            assert pool.open_connections == 0

    run(VirtualLoop, main())


def test_idle_connection_expires_while_the_loop_is_blocked(virtual_time: VirtualClock) -> None:
    """As after a sleep of the machine: the timer is late."""

    async def main() -> None:
        async with (
            serve(NEXT) as server,
            open_pool(server.origin, clock=virtual_time) as pool,
        ):
            await get(pool)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop._jumping.time += MAX_IDLE + 1
            await get(pool)
            assert len(server.peers) == 2

    run(VirtualLoop, main())


@each_event_loop
def test_aclose_ends_everything(loop_factory: LoopFactory) -> None:
    """Exchanges in every phase fail; nothing can be sent afterwards."""

    async def main() -> None:
        async with serve(answering(with_length(JSON), then=silent), silent) as server:
            async with open_pool(server.origin, max_connections=2) as pool:
                await get(pool)
                tasks = [asyncio.create_task(get(pool)) for _ in range(4)]
                await until(lambda: len(server.peers) == 2)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            kinds = [result.kind for result in results if isinstance(result, ExchangeError)]
            assert kinds == ["ReadError", kinds[1], "ConnectError", "ConnectError"]
            assert len(kinds) == 4
            assert pool.open_connections == 0
            with pytest.raises(ExchangeError, match="the transport is closed"):
                await get(pool)
            await asyncio.gather(pool.aclose(), pool.aclose())

    run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize("steps", range(6))
def test_aclose_can_be_cancelled_and_repeated(steps: int, loop_factory: LoopFactory) -> None:
    """It begins to close all connections at once; the second time, it waits for that."""

    async def main() -> None:
        async with serve(silent) as server:
            pool = ConnectionPool(server.origin, Clock(), max_connections=4, max_body=1)
            exchanges = [asyncio.create_task(get(pool)) for _ in range(2)]
            await until(lambda: len(server.peers) == 2)
            closing = asyncio.create_task(pool.aclose())
            for _ in range(steps):
                await asyncio.sleep(0)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
            async with asyncio.timeout(1):
                await pool.aclose()
            assert pool.open_connections == 0
            assert all(exchange.done() for exchange in exchanges)
            await asyncio.gather(*exchanges, return_exceptions=True)

    run(loop_factory, main())


@each_event_loop
def test_aclose_is_not_affected_by_other_aclose(loop_factory: LoopFactory) -> None:
    """If that is cancelled."""

    async def main() -> None:
        async with serve(NEXT) as server, open_pool(server.origin) as pool:
            await get(pool)
            first, second = (asyncio.create_task(pool.aclose()) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            results = await asyncio.gather(first, second, return_exceptions=True)
            assert [type(result) for result in results] == [asyncio.CancelledError, type(None)]
            assert pool.open_connections == 0

    run(loop_factory, main())


async def test_aclose_does_not_depend_on_max_connections() -> None:
    """It waits for the exchanges that run."""
    started_at = time.monotonic()
    async with open_pool(Origin("http", "127.0.0.1", 1), max_connections=10**7):
        pass
    assert time.monotonic() - started_at < 1.0


def test_aclose_interrupts_connecting(virtual_time: VirtualClock) -> None:
    """It does not wait for a name server, for example."""

    async def main() -> None:
        async def resolve(*_: object, **__: object) -> None:
            await asyncio.Event().wait()

        asyncio.get_running_loop().getaddrinfo = resolve  # type: ignore[method-assign, assignment]
        async with open_pool(Origin("http", "localhost", 1), clock=virtual_time) as pool:
            task = asyncio.create_task(get(pool))
            await asyncio.sleep(1)
        with pytest.raises(ExchangeError, match="the transport is closed") as caught:
            await task
        assert (caught.value.kind, caught.value.retryable) == ("ConnectError", False)
        assert caught.value.__context__ is None
        assert virtual_time.monotonic() == pytest.approx(1.0)

    run(VirtualLoop, main())
