"""The other transport: what differs from httpx. All tests can use it: `--transport aiohttp`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from htx_async import (
    NO_RETRY,
    AiohttpTransport,
    ConnectError,
    Credentials,
    DecodeError,
    HTXClient,
    InvalidInputError,
    NoResponseError,
)
from htx_async.clock import Clock
from htx_async.sandbox import Sandbox
from htx_async.transports import adapter, aiohttp
from htx_async.transports.aiohttp import AiohttpClient
from htx_async.validation import parse_base_url
from tests.virtual import VirtualClock, run

KEYS = Credentials("access-key", "secret-key")


@asynccontextmanager
async def serving(*replies: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve one connection after the other; each gets one answer per reply, then it is closed."""
    heads: list[bytes] = []
    left = list(replies)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while left:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(left.pop(0))
            await writer.drain()
            if heads[-1] and not left:
                break
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


def answer(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


def client(base_url: str, **options: object) -> HTXClient:
    return HTXClient(
        KEYS,
        base_url=base_url,
        transport=AiohttpTransport(),
        retry=NO_RETRY,
        **options,  # type: ignore[arg-type]
    )


def test_without_its_package_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is made, before any client is."""
    monkeypatch.setattr(adapter, "find_spec", lambda _: None)
    with pytest.raises(InvalidInputError, match=r'pip install "htx-async\[aiohttp\]"'):
        AiohttpTransport()


@pytest.mark.slow
async def test_it_reads_all_there_is() -> None:
    """One session serves all calls, over one connection here."""
    async with Sandbox().serve() as base_url, client(base_url) as htx:
        accounts = await htx.accounts.list()
        balance = await htx.accounts.balance(accounts[0])
        assert balance.id == accounts[0].id
        assert (await htx.points.balance()).account_id


@pytest.mark.slow
async def test_the_bytes_on_the_wire() -> None:
    """What was signed is what is sent; aiohttp adds no header of its own but the host."""
    reply = answer(b'{"status":"ok","data":[]}')
    async with serving(reply) as (base_url, heads), client(base_url) as htx:
        assert await htx.accounts.list() == ()
    lines = heads[0].split(b"\r\n")
    assert lines[0].startswith(b"GET /v1/account/accounts?AccessKeyId=access-key&")
    assert b"Timestamp=" in lines[0]
    assert b"%3A" in lines[0]
    names = {line.partition(b":")[0].lower() for line in lines[1:-2]}
    assert names == {b"host", b"accept", b"accept-encoding", b"user-agent"}


@pytest.mark.slow
async def test_a_broken_connection_is_not_silently_asked_again() -> None:
    """Law 2: aiohttp would send the request a second time, without a token."""
    good = answer(b'{"status":"ok","data":[]}')
    heads: list[bytes] = []

    async def once_then_cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (good, b""):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(reply)
        writer.close()

    server = await asyncio.start_server(once_then_cut, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, client(base_url) as htx:
        await htx.accounts.list()
        with pytest.raises(NoResponseError):
            await htx.accounts.list()
    assert len(heads) == 2


@pytest.mark.slow
async def test_headers_that_come_twice_are_one() -> None:
    """As httpx joins them."""
    reply = answer(b"x", b"content-encoding: br", b"Content-Encoding: gzip")
    async with serving(reply) as (base_url, _), client(base_url) as htx:
        with pytest.raises(DecodeError, match="nobody asked for: br, gzip"):
            await htx.accounts.list()


@pytest.mark.slow
async def test_a_port_where_nobody_listens() -> None:
    """Nothing was sent, and it says so."""
    async with client("http://127.0.0.1:1") as htx:
        with pytest.raises(ConnectError, match=r"no connection to http://127.0.0.1:1 \(aiohttp"):
            await htx.accounts.list()


async def test_socks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence, and nothing was sent."""
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    async with client("https://api.huobi.pro") as htx:
        with pytest.raises(InvalidInputError, match="SOCKS"):
            await htx.accounts.list()


async def test_closing_what_was_never_used_opens_nothing() -> None:
    """The session is made with the first request."""
    await client("https://api.huobi.pro").aclose()


@pytest.mark.parametrize(("seconds", "connect"), [(None, 10.0), (30.0, 10.0), (3.0, 3.0)])
def test_how_long_a_connection_may_take(seconds: float | None, connect: float) -> None:
    """Ten seconds, or what is left; nothing else is aiohttp's business."""
    timeout = aiohttp._timeout(seconds)
    assert (timeout.connect, timeout.total, timeout.sock_read) == (connect, None, None)


async def stopped_after_a_second(times: int) -> None:
    clock = VirtualClock()
    wire = AiohttpClient(parse_base_url("http://127.0.0.1:1"), clock, max_connections=1, max_body=1)
    async with wire.cancel_scope() as stop:
        for _ in range(times):
            clock.call_later(1.0, stop)
        await clock.sleep(60)


@pytest.mark.parametrize("times", [1, 2])
def test_an_attempt_ends_when_it_is_stopped(times: int) -> None:
    """At once, however often that is said, and it is a timeout."""

    async def story() -> float:
        with pytest.raises(TimeoutError):
            await stopped_after_a_second(times)
        return VirtualClock().monotonic()

    assert run(story()) == 1.0


def test_stopping_what_ends_already_changes_nothing() -> None:
    """As whoever leaves may do, while the attempt is cleaning up."""

    async def attempt(clock: VirtualClock) -> None:
        wire = AiohttpClient(
            parse_base_url("http://127.0.0.1:1"), clock, max_connections=1, max_body=1
        )
        async with wire.cancel_scope() as stop:
            clock.call_later(5.0, stop)
            try:
                await clock.sleep(60)
            finally:
                stop()

    async def story() -> float:
        clock = VirtualClock()
        with pytest.raises(TimeoutError):
            await attempt(clock)
        return clock.monotonic()

    assert run(story()) == 5.0


async def test_two_that_come_first_open_one_session() -> None:
    """The other one would stay open."""
    wire = AiohttpClient(
        parse_base_url("http://127.0.0.1:1"), Clock(), max_connections=1, max_body=1
    )
    first, second = await asyncio.gather(wire._open(), wire._open())
    assert first is second
    await wire.aclose()


@pytest.mark.parametrize("proxy", [None, "http://proxy:3128"])
async def test_the_way_to_htx(proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With certificates, and through the proxy of the environment if there is one."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
    context, url = aiohttp._tls_and_proxy(parse_base_url("https://api.huobi.pro"))
    assert isinstance(context, ssl.SSLContext)
    assert (url and str(url)) == proxy


async def test_a_stop_that_comes_late_stops_nothing() -> None:
    """Else it would cancel whatever the task does next."""
    async with aiohttp._CancelScope() as stop:
        pass
    stop()
    await asyncio.sleep(0)
