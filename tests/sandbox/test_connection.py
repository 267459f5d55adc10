"""Faults on the wire, one test each, with plain streams for a peer; then through the client."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import tracemalloc
import warnings
from collections.abc import AsyncIterator

import attrs
import httpx
import pytest

from htx_async import (
    NO_RETRY,
    ClockError,
    ConnectError,
    Credentials,
    DecodeError,
    HTXClient,
    HTXError,
    NoResponseError,
    RateLimitedError,
    RetryPolicy,
    ServiceUnavailableError,
)
from htx_async.sandbox import Fault, Sandbox, faults

pytestmark = pytest.mark.slow

TIMESTAMP = "/v1/common/timestamp"
REQUEST = b"GET /v1/common/timestamp HTTP/1.1\r\nHost: x\r\n\r\n"
TINY = 0.05


@attrs.frozen
class Peer:
    """A connection to a sandbox, and what it says."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def ask(self, times: int = 1) -> None:
        self.writer.write(REQUEST * times)

    async def answer(self) -> bytes:
        """Read one answer to the bracket that ends it."""
        return await self.reader.readuntil(b"}")

    async def rest(self) -> bytes:
        """Read until the other side closes."""
        return await self.reader.read()

    async def silence(self) -> bytes:
        """Return what comes until nothing has come for a while, with the connection open."""
        came = b""
        while True:
            try:
                part = await asyncio.wait_for(self.reader.read(9999), TINY)
            except TimeoutError:
                return came
            assert part, "the connection was closed"
            came += part


@contextlib.asynccontextmanager
async def connected(base_url: str) -> AsyncIterator[Peer]:
    where = httpx.URL(base_url)
    reader, writer = await asyncio.open_connection(where.host, where.port)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(limits=False)


@pytest.fixture
async def base_url(sandbox: Sandbox) -> AsyncIterator[str]:
    async with sandbox.serve() as base_url:
        yield base_url
        began = time.perf_counter()
    assert time.perf_counter() - began < 0.5, "it does not end at once"
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"


@pytest.fixture
async def peer(base_url: str) -> AsyncIterator[Peer]:
    async with connected(base_url) as peer:
        yield peer


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def told_length(answer: bytes) -> int:
    return int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


async def test_refuse(sandbox: Sandbox, base_url: str, peer: Peer) -> None:
    """The request's connection is reset, new ones are refused, then all is as before."""
    sandbox.faults.next(faults.refuse(TINY))
    async with connected(base_url) as other:
        peer.ask()
        with pytest.raises(ConnectionResetError):
            await peer.rest()
        with pytest.raises(ConnectionRefusedError):
            await connected(base_url).__aenter__()
        other.ask()
        assert b'"ok"' in await other.answer()
    await open_again(base_url)


async def open_again(base_url: str) -> None:
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                async with connected(base_url) as peer:
                    peer.ask()
                    assert b'"ok"' in await peer.answer()
                    return
            await asyncio.sleep(0.005)


async def test_refuse_twice_at_a_time(sandbox: Sandbox, base_url: str, peer: Peer) -> None:
    """The longer one counts."""
    sandbox.faults.next(faults.refuse(0))
    sandbox.faults.next(faults.refuse(TINY))
    async with connected(base_url) as other:
        peer.ask()
        other.ask()
        with pytest.raises(ConnectionResetError):
            await peer.rest()
        with pytest.raises(ConnectionResetError):
            await other.rest()
    await asyncio.sleep(0.01)
    with pytest.raises(ConnectionRefusedError):
        await connected(base_url).__aenter__()
    await open_again(base_url)


async def test_hang_before_the_head(sandbox: Sandbox, peer: Peer) -> None:
    """Not a byte; the request is remembered with the answer it should have had."""
    sandbox.faults.next(faults.hang())
    peer.ask()
    assert await peer.silence() == b""
    assert sandbox.arrivals[0].status == 200


async def test_hang_within_the_body(sandbox: Sandbox, peer: Peer) -> None:
    """The head and half of the body."""
    sandbox.faults.next(faults.hang("body"))
    peer.ask()
    came = await peer.silence()
    assert len(body_of(came)) == told_length(came) // 2 > 0


async def test_who_gives_up_frees_what_hangs(sandbox: Sandbox, base_url: str) -> None:
    """Its task ends with the connection."""
    sandbox.faults.next(faults.hang())
    before = asyncio.all_tasks()
    async with connected(base_url) as peer:
        peer.ask()
        assert await peer.silence() == b""
        assert asyncio.all_tasks() > before
    async with asyncio.timeout(1):
        while asyncio.all_tasks() > before:  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.mark.parametrize(("after", "left"), [(None, 18), (0, 0), (3, 3), (999, 36)])
async def test_cut(sandbox: Sandbox, peer: Peer, after: int | None, left: int) -> None:
    """Closed after so many bytes of the body, half of it if nothing is said."""
    sandbox.faults.next(faults.cut(after))
    peer.ask()
    came = await peer.rest()
    assert told_length(came) == 36
    assert len(body_of(came)) == left


async def test_reset(sandbox: Sandbox, peer: Peer) -> None:
    """No byte, and not an orderly end either."""
    sandbox.faults.next(faults.reset())
    peer.ask()
    with pytest.raises(ConnectionResetError):
        await peer.rest()


async def test_trickle(sandbox: Sandbox, peer: Peer) -> None:
    """Byte by byte; then the connection serves the next request as ever."""
    sandbox.faults.next(faults.trickle(0))
    peer.ask()
    sizes = []
    came = b""
    while not came.endswith(b"}"):
        part = await peer.reader.read(9999)
        sizes.append(len(part))
        came += part
    assert told_length(came) == len(body_of(came))
    assert max(sizes) < 20
    assert len(sizes) > len(came) // 3
    peer.ask()
    assert b'"ok"' in await peer.answer()


async def test_wrong_length_too_large(sandbox: Sandbox, peer: Peer) -> None:
    """One byte never comes."""
    sandbox.faults.next(faults.wrong_length())
    peer.ask()
    came = await peer.rest()
    assert told_length(came) == len(body_of(came)) + 1


@pytest.mark.parametrize(("by", "told"), [(-1, None), (-999, 0)])
async def test_wrong_length_too_small(
    sandbox: Sandbox, peer: Peer, by: int, told: int | None
) -> None:
    """Bytes are left in the connection, which stays open."""
    sandbox.faults.next(faults.wrong_length(by))
    peer.ask()
    came = await peer.silence()
    assert told_length(came) == (len(body_of(came)) - 1 if told is None else told)


async def test_answer_and_close(sandbox: Sandbox, peer: Peer) -> None:
    """A whole answer that did not say so."""
    sandbox.faults.next(faults.answer_and_close())
    peer.ask()
    came = await peer.rest()
    assert told_length(came) == len(body_of(came))
    assert b"connection: close" not in came.lower()


async def test_each_request_of_a_connection_has_its_fault(sandbox: Sandbox, peer: Peer) -> None:
    """Only the third one hangs."""
    sandbox.faults.at(3, faults.hang())
    for _ in range(2):
        peer.ask()
        assert b'"ok"' in await peer.answer()
    peer.ask()
    assert await peer.silence() == b""


async def test_who_asks_before_the_answer_gets_both_in_order(sandbox: Sandbox, peer: Peer) -> None:
    """With a fault for the first, the second, or both."""
    slow, none = faults.trickle(0), Fault()
    for first, second in ((slow, none), (none, slow), (slow, slow)):
        sandbox.faults.next(first)
        sandbox.faults.next(second)
        peer.ask(times=2)
        assert [b'"ok"' in await peer.answer() for _ in range(2)] == [True, True]


async def test_nobody_answers_after_a_cut(sandbox: Sandbox, peer: Peer) -> None:
    """Also who asked before it."""
    sandbox.faults.next(faults.cut(0))
    peer.ask(times=2)
    with contextlib.suppress(ConnectionResetError):
        assert body_of(await peer.rest()) == b""


async def test_who_wants_to_close_gets_all_of_it_first(sandbox: Sandbox, peer: Peer) -> None:
    """HTTP closes at once after the answer; the fault is not done by then."""
    sandbox.faults.next(faults.trickle(0))
    peer.writer.write(REQUEST[:-2] + b"Connection: close\r\n\r\n")
    came = await peer.rest()
    assert told_length(came) == len(body_of(came))


ENDLESS = [faults.hang(), faults.hang("body"), faults.trickle(9), faults.refuse(9)]


@pytest.mark.parametrize("fault", ENDLESS)
async def test_the_end_of_serve_is_the_end_of_all(sandbox: Sandbox, fault: Fault) -> None:
    """At once, with nothing left: no task, no socket, no warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with contextlib.AsyncExitStack() as stack:
            async with sandbox.serve() as base_url:
                sandbox.faults.always(fault)
                peers = [await stack.enter_async_context(connected(base_url)) for _ in range(3)]
                for peer in peers:
                    peer.ask(times=2)
                while len(sandbox.arrivals) < 3:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                began = time.perf_counter()
            assert time.perf_counter() - began < 0.5
            assert asyncio.all_tasks() == {asyncio.current_task()}
            for peer in peers:
                with contextlib.suppress(ConnectionResetError):
                    await peer.rest()
        gc.collect()
    assert [str(each.message) for each in caught] == []


async def test_a_fault_that_comes_too_late(sandbox: Sandbox, base_url: str) -> None:
    """Who has gone by the time of the answer misses nothing."""
    sandbox.faults.next(faults.hang())
    async with connected(base_url) as peer:
        peer.ask()
        peer.writer.transport.abort()
    while not sandbox.arrivals:  # noqa: ASYNC110
        await asyncio.sleep(0)


# Through the client.


@contextlib.asynccontextmanager
async def asking(base_url: str) -> AsyncIterator[HTXClient]:
    credentials = Credentials("access-key", "secret-key")
    async with HTXClient(credentials, base_url=base_url, timeout=5, retry=NO_RETRY) as htx:
        yield htx


@pytest.mark.parametrize(
    ("fault", "error", "delivery"),
    [
        (faults.maintenance(), ServiceUnavailableError, "answered"),
        (faults.html(), ServiceUnavailableError, "answered"),
        (faults.redirect(), ServiceUnavailableError, "answered"),
        (faults.field("data[0].id", None), DecodeError, "answered"),
        (faults.gzip_garbage(), DecodeError, "answered"),
        (faults.cut(), NoResponseError, "unknown"),
        (faults.reset(), NoResponseError, "unknown"),
        (faults.wrong_length(), NoResponseError, "unknown"),
        (faults.hang(), HTXError, "unknown"),
    ],
)
async def test_what_the_client_makes_of_it(
    sandbox: Sandbox, base_url: str, fault: Fault, error: type[HTXError], delivery: str
) -> None:
    """An error of its own, which tells the delivery; the next call is as ever."""
    endpoint = "GET /v1/account/accounts"
    sandbox.faults.next(fault, endpoint=endpoint)
    async with asking(base_url) as htx:
        timeout = TINY if fault == faults.hang() else 5.0
        with pytest.raises(error) as caught:
            await htx.with_options(timeout=timeout).accounts.list()
        assert caught.value.delivery == delivery
        assert await htx.with_options(retry=RetryPolicy()).accounts.list()


@pytest.mark.parametrize("fault", [faults.trickle(0), faults.answer_and_close()])
async def test_what_the_client_does_not_mind(sandbox: Sandbox, base_url: str, fault: Fault) -> None:
    """The answer is whole, after all."""
    sandbox.faults.next(fault)
    async with asking(base_url) as htx:
        for _ in range(2):
            assert await htx.with_options(retry=RetryPolicy()).accounts.list()


async def test_a_body_longer_than_its_head_says(
    sandbox: Sandbox, base_url: str, transport_name: str
) -> None:
    """What is left over spoils the next answer at most, not the one after that."""
    sandbox.faults.next(faults.wrong_length(-1))
    async with asking(base_url) as htx:
        with pytest.raises(HTXError) as caught:
            await htx.accounts.list()
        # aiohttp notices that it is no HTTP; httpx reads what the head says.
        assert caught.value.delivery == {"httpx": "answered", "aiohttp": "unknown"}[transport_name]
        with contextlib.suppress(NoResponseError):
            await htx.accounts.list()
        assert await htx.accounts.list()


async def test_429_is_an_error_that_tells_how_long(sandbox: Sandbox, base_url: str) -> None:
    """By the header of the limit: all of a window."""
    sandbox.faults.next(faults.too_many())
    async with asking(base_url) as htx:
        with pytest.raises(RateLimitedError) as caught:
            await htx.points.balance()
    assert caught.value.http_status == 429


async def test_a_maintenance_window_is_transient(sandbox: Sandbox, base_url: str) -> None:
    """And over when it is over."""
    sandbox.faults.always(faults.maintenance())
    async with asking(base_url) as htx:
        for asked in (htx.accounts.list, htx.points.balance):
            with pytest.raises(ServiceUnavailableError) as caught:
                await asked()
            assert caught.value.retryable
        sandbox.faults.clear()
        assert await htx.accounts.list()


async def test_a_port_that_refuses(sandbox: Sandbox, base_url: str) -> None:
    """First the connection breaks off, then none comes about."""
    sandbox.faults.next(faults.refuse(TINY))
    async with asking(base_url) as htx:
        with pytest.raises(NoResponseError):
            await htx.accounts.list()
        with pytest.raises(ConnectError):
            await htx.accounts.list()
        assert await htx.with_options(retry=RetryPolicy(attempts=9)).accounts.list()


async def test_a_wrong_clock_is_noticed_and_corrected(sandbox: Sandbox, base_url: str) -> None:
    """If it is wrong all the time; a clock that changes its mind is an error."""
    sandbox.faults.always(faults.skewed(3600))
    async with asking(base_url) as htx:
        assert await htx.accounts.list()
        assert htx.clock_offset() == pytest.approx(3600, abs=10)
    sandbox.faults.clear()
    sandbox.faults.always(faults.skewed(3600), endpoint="GET /v1/account/accounts")
    async with asking(base_url) as htx:
        with pytest.raises(ClockError):
            await htx.accounts.list()


async def test_200_mb_are_not_held(sandbox: Sandbox, base_url: str) -> None:
    """Neither by the sandbox nor by the client."""
    sandbox.faults.next(faults.huge())
    async with asking(base_url) as htx:
        tracemalloc.start()
        try:
            with pytest.raises(DecodeError, match="max_body"):
                await htx.accounts.list()
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 40 * 2**20
