"""The aiohttp transport: differences from httpx. `--transport aiohttp` runs all tests with it."""

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
    """Serve one connection at a time, send one reply per request, then close it."""
    heads: list[bytes] = []
    remaining = list(replies)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while remaining:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(remaining.pop(0))
            await writer.drain()
            if heads[-1] and not remaining:
                break
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


def make_response(body: bytes, *headers: bytes) -> bytes:
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


def test_aiohttp_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constructor of the transport raises."""
    monkeypatch.setattr(adapter, "find_spec", lambda _: None)
    with pytest.raises(InvalidInputError, match=r'pip install "htx-async\[aiohttp\]"'):
        AiohttpTransport()


@pytest.mark.slow
async def test_aiohttp_reads_accounts_balance_and_points() -> None:
    """One session serves all calls."""
    async with Sandbox().serve() as base_url, client(base_url) as htx:
        accounts = await htx.accounts.list()
        balance = await htx.accounts.balance(accounts[0])
        assert balance.id == accounts[0].id
        assert (await htx.points.balance()).account_id


@pytest.mark.slow
async def test_aiohttp_sends_the_signed_bytes() -> None:
    """The request is sent as signed; aiohttp adds only the Host header."""
    reply = make_response(b'{"status":"ok","data":[]}')
    async with serving(reply) as (base_url, heads), client(base_url) as htx:
        assert await htx.accounts.list() == ()
    lines = heads[0].split(b"\r\n")
    assert lines[0].startswith(b"GET /v1/account/accounts?AccessKeyId=access-key&")
    assert b"Timestamp=" in lines[0]
    assert b"%3A" in lines[0]
    names = {line.partition(b":")[0].lower() for line in lines[1:-2]}
    assert names == {b"host", b"accept", b"accept-encoding", b"user-agent"}


@pytest.mark.slow
async def test_aiohttp_does_not_resend_on_a_broken_connection() -> None:
    """By default aiohttp sends the request again, without a token, which breaks law 2."""
    success = make_response(b'{"status":"ok","data":[]}')
    heads: list[bytes] = []

    async def reply_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (success, b""):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(reply)
        writer.close()

    server = await asyncio.start_server(reply_once, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, client(base_url) as htx:
        await htx.accounts.list()
        with pytest.raises(NoResponseError):
            await htx.accounts.list()
    assert len(heads) == 2


@pytest.mark.slow
async def test_aiohttp_joins_repeated_headers() -> None:
    """Repeated headers are joined with a comma, as in httpx."""
    reply = make_response(b"x", b"content-encoding: br", b"Content-Encoding: gzip")
    async with serving(reply) as (base_url, _), client(base_url) as htx:
        with pytest.raises(DecodeError, match="encoding that was not requested: br, gzip"):
            await htx.accounts.list()


@pytest.mark.slow
async def test_aiohttp_refused_connection_is_connect_error() -> None:
    async with client("http://127.0.0.1:1") as htx:
        with pytest.raises(
            ConnectError, match=r"could not connect to http://127.0.0.1:1 \(aiohttp"
        ):
            await htx.accounts.list()


async def test_aiohttp_rejects_a_socks_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call raises before anything is sent."""
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    async with client("https://api.huobi.pro") as htx:
        with pytest.raises(InvalidInputError, match="SOCKS"):
            await htx.accounts.list()


async def test_aclose_of_an_unused_aiohttp_transport_opens_nothing() -> None:
    """The session is created with the first request."""
    await client("https://api.huobi.pro").aclose()


@pytest.mark.parametrize(("seconds", "connect"), [(None, 10.0), (30.0, 10.0), (3.0, 3.0)])
def test_aiohttp_limits_only_the_connect_timeout(seconds: float | None, connect: float) -> None:
    """Connecting may take 10 s or the time left; aiohttp enforces no other timeout."""
    timeout = aiohttp._timeout(seconds)
    assert (timeout.connect, timeout.total, timeout.sock_read) == (connect, None, None)


async def stop_after_a_second(times: int) -> None:
    clock = VirtualClock()
    transport = AiohttpClient(
        parse_base_url("http://127.0.0.1:1"), clock, max_connections=1, max_body=1
    )
    async with transport.cancel_scope() as stop:
        for _ in range(times):
            clock.call_later(1.0, stop)
        await clock.sleep(60)


@pytest.mark.parametrize("times", [1, 2])
def test_aiohttp_attempt_ends_with_timeout_error_when_stopped(times: int) -> None:
    """Stopping twice has the same effect as stopping once."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            await stop_after_a_second(times)
        return VirtualClock().monotonic()

    assert run(main()) == 1.0


def test_aiohttp_stop_during_cleanup_has_no_effect() -> None:
    """The attempt may be stopped a second time while it cleans up."""

    async def attempt(clock: VirtualClock) -> None:
        transport = AiohttpClient(
            parse_base_url("http://127.0.0.1:1"), clock, max_connections=1, max_body=1
        )
        async with transport.cancel_scope() as stop:
            clock.call_later(5.0, stop)
            try:
                await clock.sleep(60)
            finally:
                stop()

    async def main() -> float:
        clock = VirtualClock()
        with pytest.raises(TimeoutError):
            await attempt(clock)
        return clock.monotonic()

    assert run(main()) == 5.0


async def test_aiohttp_opens_one_session_for_concurrent_first_requests() -> None:
    """A second session would stay open."""
    transport = AiohttpClient(
        parse_base_url("http://127.0.0.1:1"), Clock(), max_connections=1, max_body=1
    )
    first, second = await asyncio.gather(transport._open(), transport._open())
    assert first is second
    await transport.aclose()


@pytest.mark.parametrize("proxy", [None, "http://proxy:3128"])
async def test_aiohttp_uses_tls_and_the_proxy_of_the_environment(
    proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
    context, url = aiohttp._tls_and_proxy(parse_base_url("https://api.huobi.pro"))
    assert isinstance(context, ssl.SSLContext)
    assert (url and str(url)) == proxy


async def test_aiohttp_late_stop_has_no_effect() -> None:
    """It must not cancel what the task does next."""
    async with aiohttp._CancelScope() as stop:
        pass
    stop()
    await asyncio.sleep(0)
