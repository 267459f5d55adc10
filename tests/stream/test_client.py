"""`stream()` of a client: with REST of the sandbox, the client's clock, and its end."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Any

import httpx
import pytest

from htx_async import (
    Account,
    AccountState,
    AccountType,
    ClientClosedError,
    Credentials,
    HTTPTransport,
    HTXClient,
    InvalidInputError,
)
from htx_async.sandbox import Sandbox
from htx_async.stream.hub import _open_websocket
from htx_async.validation import Origin
from tests.stream.exchange import FakeExchange, refusal
from tests.virtual import VirtualClock

KEYS = Credentials("access-key", "secret-key")


def client(clock: VirtualClock, **options: Any) -> tuple[HTXClient, FakeExchange]:
    """Return a client of the sandbox, whose sockets are scripted."""
    transport = httpx.ASGITransport(app=Sandbox(clock=clock))
    credentials = options.pop("credentials", KEYS)
    htx = HTXClient(credentials, transport=transport, clock=clock, **options)
    exchange = FakeExchange(clock)
    hub = htx._stream_hub()
    hub.settings = hub.settings._replace(open_socket=exchange.open)
    hub.can_connect = True
    return htx, exchange


async def test_stream_joins_rest_of_the_sandbox(virtual_time: VirtualClock) -> None:
    """And closing the client ends its streams; entering one afterwards raises."""
    htx, exchange = client(virtual_time)
    other = htx.with_options(timeout=5.0).accounts.stream("spot")
    async with htx, htx.accounts.stream("spot") as live, other as second:
        assert live.synced
        assert second.synced
        assert len(exchange.sockets) == 1
        assert live["spot"].balance() == await htx.accounts.balance("spot")
        assert await second.verified("spot", max_age=0) == await htx.accounts.balance("spot")
        waiting = asyncio.create_task(anext(live.events(), None))
        await asyncio.sleep(0)
        await htx.aclose()
        assert (await waiting, live.status, second.status) == (None, "closed", "closed")
        with pytest.raises(ClientClosedError, match="stream is closed"):
            await live.verified("spot", max_age=10)
    assert not exchange.socket.is_open
    with pytest.raises(ClientClosedError, match="client is closed"):
        async with htx.accounts.stream():
            pytest.fail("the client is closed")
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_authentication_is_signed_with_the_corrected_clock(
    virtual_time: VirtualClock,
) -> None:
    """The sandbox's clock is right, the client's is an hour behind."""
    skewed = VirtualClock(skew=-3600.0)
    transport = httpx.ASGITransport(app=Sandbox(clock=virtual_time))
    exchange = FakeExchange(skewed)
    async with HTXClient(KEYS, transport=transport, clock=skewed) as htx:
        hub = htx._stream_hub()
        hub.settings = hub.settings._replace(open_socket=exchange.open)
        hub.can_connect = True
        async with htx.accounts.stream("spot"):
            timestamp = exchange.socket.sent[0]["params"]["timestamp"]
    assert timestamp.startswith("2023-11-14T22:13:2")


async def test_ed25519_key_that_is_refused_names_the_cause(virtual_time: VirtualClock) -> None:
    """HTX documents HMAC-SHA256 only."""
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    htx, exchange = client(virtual_time, credentials=Credentials.ed25519("k", pem))
    exchange.auth += [refusal(2001, "invalid.signatureMethod")]
    account = Account(1, AccountType.SPOT, "", AccountState.WORKING)

    class Reads(FakeExchange):
        """REST that accepts any key."""

    async with htx:
        stream = htx.accounts.stream("spot")
        stream._reads = Reads(virtual_time, accounts=(account,))
        with pytest.raises(Exception, match="try an HMAC-SHA256 key"):
            await stream.__aenter__()


async def test_missing_extra_is_named(
    virtual_time: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    htx, _ = client(virtual_time)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InvalidInputError, match=r'pip install "htx-async\[stream\]"'):
        htx.accounts.stream()


@pytest.mark.slow
async def test_socket_is_opened_by_websockets() -> None:
    """On the address of the client."""
    with pytest.raises(Exception, match=r"could not connect to http://127\.0\.0\.1:9"):
        await _open_websocket(Origin("http", "127.0.0.1", 9))


async def test_wrong_arguments_send_nothing(virtual_time: VirtualClock) -> None:
    htx, exchange = client(virtual_time)
    wrong: list[Any] = [[], {"spot": 1}, 1.5, b"spot"]
    for accounts in wrong:
        with pytest.raises(InvalidInputError, match="accounts must"):
            htx.accounts.stream(accounts)
    assert not exchange.sockets


@pytest.mark.parametrize(
    ("transport", "is_usable"),
    [
        (httpx.ASGITransport(app=Sandbox()), False),
        (httpx.AsyncHTTPTransport(), False),
        (HTTPTransport(), True),
        (None, True),
    ],
)
async def test_stream_does_not_bypass_a_transport(transport: Any, is_usable: bool) -> None:
    """A test of the sandbox would send the key to HTX."""
    async with HTXClient(KEYS, transport=transport) as htx:
        if is_usable:
            htx.accounts.stream()
        else:
            with pytest.raises(InvalidInputError, match=r"omit it, or let a test serve the sandb"):
                htx.accounts.stream()
