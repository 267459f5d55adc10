"""Connection faults, one test each, over plain streams; then through the client."""

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
    """A connection to a sandbox."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def request(self, times: int = 1) -> None:
        self.writer.write(REQUEST * times)

    async def response(self) -> bytes:
        """Read one response up to its last byte, a brace."""
        return await self.reader.readuntil(b"}")

    async def rest(self) -> bytes:
        """Read until the other side closes."""
        return await self.reader.read()

    async def silence(self) -> bytes:
        """Return the data received until there is a pause, with the connection open."""
        data = b""
        while True:
            try:
                part = await asyncio.wait_for(self.reader.read(9999), TINY)
            except TimeoutError:
                return data
            assert part, "the connection was closed"
            data += part


@contextlib.asynccontextmanager
async def connected(base_url: str) -> AsyncIterator[Peer]:
    address = httpx.URL(base_url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
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


def body_of(response: bytes) -> bytes:
    return response.partition(b"\r\n\r\n")[2]


def content_length(response: bytes) -> int:
    return int(response.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


async def test_refuse_closes_the_port_for_a_while(
    sandbox: Sandbox, base_url: str, peer: Peer
) -> None:
    """The request's connection is reset, new ones are refused, and then accepted again."""
    sandbox.faults.next(faults.refuse(TINY))
    async with connected(base_url) as other:
        peer.request()
        with pytest.raises(ConnectionResetError):
            await peer.rest()
        with pytest.raises(ConnectionRefusedError):
            await connected(base_url).__aenter__()
        other.request()
        assert b'"ok"' in await other.response()
    await wait_until_open(base_url)


async def wait_until_open(base_url: str) -> None:
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                async with connected(base_url) as peer:
                    peer.request()
                    assert b'"ok"' in await peer.response()
                    return
            await asyncio.sleep(0.005)


async def test_refuse_twice_lasts_as_long_as_the_longer_one(
    sandbox: Sandbox, base_url: str, peer: Peer
) -> None:
    sandbox.faults.next(faults.refuse(0))
    sandbox.faults.next(faults.refuse(TINY))
    async with connected(base_url) as other:
        peer.request()
        other.request()
        with pytest.raises(ConnectionResetError):
            await peer.rest()
        with pytest.raises(ConnectionResetError):
            await other.rest()
    await asyncio.sleep(0.01)
    with pytest.raises(ConnectionRefusedError):
        await connected(base_url).__aenter__()
    await wait_until_open(base_url)


async def test_hang_sends_nothing(sandbox: Sandbox, peer: Peer) -> None:
    """The record has the response that should have been sent."""
    sandbox.faults.next(faults.hang())
    peer.request()
    assert await peer.silence() == b""
    assert sandbox.arrivals[0].status == 200


async def test_hang_in_body_sends_the_head_and_half_of_the_body(
    sandbox: Sandbox, peer: Peer
) -> None:
    sandbox.faults.next(faults.hang("body"))
    peer.request()
    data = await peer.silence()
    assert len(body_of(data)) == content_length(data) // 2 > 0


async def test_hang_ends_when_the_client_disconnects(sandbox: Sandbox, base_url: str) -> None:
    """The task of the request ends with the connection."""
    sandbox.faults.next(faults.hang())
    before = asyncio.all_tasks()
    async with connected(base_url) as peer:
        peer.request()
        assert await peer.silence() == b""
        assert asyncio.all_tasks() > before
    async with asyncio.timeout(1):
        while asyncio.all_tasks() > before:  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.mark.parametrize(("after", "left"), [(None, 18), (0, 0), (3, 3), (999, 36)])
async def test_cut_closes_the_connection_within_the_body(
    sandbox: Sandbox, peer: Peer, after: int | None, left: int
) -> None:
    """After the given number of bytes; by default after half of it."""
    sandbox.faults.next(faults.cut(after))
    peer.request()
    data = await peer.rest()
    assert content_length(data) == 36
    assert len(body_of(data)) == left


async def test_reset_aborts_the_connection(sandbox: Sandbox, peer: Peer) -> None:
    """No byte is sent, and the end is not orderly."""
    sandbox.faults.next(faults.reset())
    peer.request()
    with pytest.raises(ConnectionResetError):
        await peer.rest()


async def test_trickle_sends_byte_by_byte(sandbox: Sandbox, peer: Peer) -> None:
    """The connection then serves the next request as usual."""
    sandbox.faults.next(faults.trickle(0))
    peer.request()
    sizes = []
    data = b""
    while not data.endswith(b"}"):
        part = await peer.reader.read(9999)
        sizes.append(len(part))
        data += part
    assert content_length(data) == len(body_of(data))
    assert max(sizes) < 20
    assert len(sizes) > len(data) // 3
    peer.request()
    assert b'"ok"' in await peer.response()


async def test_wrong_length_too_large_closes_the_connection(sandbox: Sandbox, peer: Peer) -> None:
    """One byte is missing."""
    sandbox.faults.next(faults.wrong_length())
    peer.request()
    data = await peer.rest()
    assert content_length(data) == len(body_of(data)) + 1


@pytest.mark.parametrize(("by", "length"), [(-1, None), (-999, 0)])
async def test_wrong_length_too_small_keeps_the_connection_open(
    sandbox: Sandbox, peer: Peer, by: int, length: int | None
) -> None:
    """Bytes are left in the connection."""
    sandbox.faults.next(faults.wrong_length(by))
    peer.request()
    data = await peer.silence()
    assert content_length(data) == (len(body_of(data)) - 1 if length is None else length)


async def test_answer_and_close_does_not_announce_the_end(sandbox: Sandbox, peer: Peer) -> None:
    """The response is complete."""
    sandbox.faults.next(faults.answer_and_close())
    peer.request()
    data = await peer.rest()
    assert content_length(data) == len(body_of(data))
    assert b"connection: close" not in data.lower()


async def test_connection_fault_applies_to_one_request(sandbox: Sandbox, peer: Peer) -> None:
    """Only the third one hangs."""
    sandbox.faults.at(3, faults.hang())
    for _ in range(2):
        peer.request()
        assert b'"ok"' in await peer.response()
    peer.request()
    assert await peer.silence() == b""


async def test_pipelined_requests_get_their_responses_in_order(
    sandbox: Sandbox, peer: Peer
) -> None:
    """With a fault for the first, the second, or both."""
    slow, none = faults.trickle(0), Fault()
    for first, second in ((slow, none), (none, slow), (slow, slow)):
        sandbox.faults.next(first)
        sandbox.faults.next(second)
        peer.request(times=2)
        assert [b'"ok"' in await peer.response() for _ in range(2)] == [True, True]


async def test_pipelined_request_gets_no_response_after_a_cut(sandbox: Sandbox, peer: Peer) -> None:
    sandbox.faults.next(faults.cut(0))
    peer.request(times=2)
    with contextlib.suppress(ConnectionResetError):
        assert body_of(await peer.rest()) == b""


async def test_connection_close_waits_for_the_fault(sandbox: Sandbox, peer: Peer) -> None:
    """HTTP closes the connection right after the response, while the fault still sends it."""
    sandbox.faults.next(faults.trickle(0))
    peer.writer.write(REQUEST[:-2] + b"Connection: close\r\n\r\n")
    data = await peer.rest()
    assert content_length(data) == len(body_of(data))


LASTING = [faults.hang(), faults.hang("body"), faults.trickle(9), faults.refuse(9)]


@pytest.mark.parametrize("fault", LASTING)
async def test_serve_ends_all_connection_faults_at_once(sandbox: Sandbox, fault: Fault) -> None:
    """No task, no socket and no warning is left."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with contextlib.AsyncExitStack() as stack:
            async with sandbox.serve() as base_url:
                sandbox.faults.always(fault)
                peers = [await stack.enter_async_context(connected(base_url)) for _ in range(3)]
                for peer in peers:
                    peer.request(times=2)
                while len(sandbox.arrivals) < 3:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                began = time.perf_counter()
            assert time.perf_counter() - began < 0.5
            assert asyncio.all_tasks() == {asyncio.current_task()}
            for peer in peers:
                with contextlib.suppress(ConnectionResetError):
                    await peer.rest()
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


async def test_connection_fault_ignores_a_closed_connection(
    sandbox: Sandbox, base_url: str
) -> None:
    """The client may disconnect before the response is ready."""
    sandbox.faults.next(faults.hang())
    async with connected(base_url) as peer:
        peer.request()
        peer.writer.transport.abort()
    while not sandbox.arrivals:  # noqa: ASYNC110
        await asyncio.sleep(0)


# Through the client.


@contextlib.asynccontextmanager
async def client_of(base_url: str) -> AsyncIterator[HTXClient]:
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
async def test_client_raises_its_own_error_for_a_fault(
    sandbox: Sandbox, base_url: str, fault: Fault, error: type[HTXError], delivery: str
) -> None:
    """The error has the right delivery, and the next call succeeds."""
    endpoint = "GET /v1/account/accounts"
    sandbox.faults.next(fault, endpoint=endpoint)
    async with client_of(base_url) as htx:
        timeout = TINY if fault == faults.hang() else 5.0
        with pytest.raises(error) as caught:
            await htx.with_options(timeout=timeout).accounts.list()
        assert caught.value.delivery == delivery
        assert await htx.with_options(retry=RetryPolicy()).accounts.list()


@pytest.mark.parametrize("fault", [faults.trickle(0), faults.answer_and_close()])
async def test_client_accepts_a_response_that_is_complete(
    sandbox: Sandbox, base_url: str, fault: Fault
) -> None:
    sandbox.faults.next(fault)
    async with client_of(base_url) as htx:
        for _ in range(2):
            assert await htx.with_options(retry=RetryPolicy()).accounts.list()


async def test_client_recovers_from_a_wrong_length_too_small(
    sandbox: Sandbox, base_url: str
) -> None:
    """The extra bytes end the connection, and the next response is that of its request."""
    sandbox.faults.next(faults.wrong_length(-1))
    async with client_of(base_url) as htx:
        with pytest.raises(HTXError) as caught:
            await htx.accounts.list()
        assert caught.value.delivery == "answered"
        assert await htx.accounts.list()


async def test_client_raises_rate_limited_error_for_too_many(
    sandbox: Sandbox, base_url: str
) -> None:
    """The HTTP status is 429."""
    sandbox.faults.next(faults.too_many())
    async with client_of(base_url) as htx:
        with pytest.raises(RateLimitedError) as caught:
            await htx.points.balance()
    assert caught.value.http_status == 429


async def test_client_error_for_maintenance_is_retryable(sandbox: Sandbox, base_url: str) -> None:
    """Calls succeed again after the maintenance."""
    sandbox.faults.always(faults.maintenance())
    async with client_of(base_url) as htx:
        for call in (htx.accounts.list, htx.points.balance):
            with pytest.raises(ServiceUnavailableError) as caught:
                await call()
            assert caught.value.retryable
        sandbox.faults.clear()
        assert await htx.accounts.list()


async def test_client_errors_for_a_refused_connection(sandbox: Sandbox, base_url: str) -> None:
    """First the open connection is lost, then a new one is refused."""
    sandbox.faults.next(faults.refuse(TINY))
    async with client_of(base_url) as htx:
        with pytest.raises(NoResponseError):
            await htx.accounts.list()
        with pytest.raises(ConnectError):
            await htx.accounts.list()
        assert await htx.with_options(retry=RetryPolicy(attempts=9)).accounts.list()


async def test_client_corrects_a_skewed_clock(sandbox: Sandbox, base_url: str) -> None:
    """If the skew is constant; an inconsistent one is an error."""
    sandbox.faults.always(faults.skewed(3600))
    async with client_of(base_url) as htx:
        assert await htx.accounts.list()
        assert htx.clock_offset() == pytest.approx(3600, abs=10)
    sandbox.faults.clear()
    sandbox.faults.always(faults.skewed(3600), endpoint="GET /v1/account/accounts")
    async with client_of(base_url) as htx:
        with pytest.raises(ClockError):
            await htx.accounts.list()


async def test_huge_body_is_not_held_in_memory(sandbox: Sandbox, base_url: str) -> None:
    """Neither by the sandbox nor by the client."""
    sandbox.faults.next(faults.huge())
    async with client_of(base_url) as htx:
        tracemalloc.start()
        try:
            with pytest.raises(DecodeError, match="max_body"):
                await htx.accounts.list()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 40 * 2**20
