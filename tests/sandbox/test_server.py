"""The sandbox on a real port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from htx_async.sandbox import Sandbox, server
from htx_async.sandbox.request import Receive, Scope, Send
from tests.sandbox.signer import signed_url

ACCOUNTS = "/v1/account/accounts"
TIMESTAMP = "/v1/common/timestamp"

pytestmark = pytest.mark.slow


@contextlib.asynccontextmanager
async def connected(
    base_url: str, *, buffer: int = 0
) -> AsyncIterator[tuple[asyncio.StreamReader, Any]]:
    """Connect. *buffer*: size of the receive buffer in bytes; 0: the system's default."""
    address = httpx.URL(base_url)
    client = socket.socket()
    if buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(0.0)
    await asyncio.get_running_loop().sock_connect(client, (address.host, address.port))
    reader, writer = await asyncio.open_connection(sock=client)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def settings(loggers: list[logging.Logger]) -> list[Any]:
    return [
        (logger.level, logger.propagate, logger.handlers[:], logger.disabled) for logger in loggers
    ]


async def test_serve_accepts_signed_requests() -> None:
    """The base URL is on the loopback; the signed host has no port."""
    async with Sandbox().serve() as base_url, httpx.AsyncClient(base_url=base_url) as http:
        assert base_url.startswith("http://127.0.0.1:")
        response = await http.get(signed_url(ACCOUNTS, host="127.0.0.1", at=time.time()))
        assert response.json()["status"] == "ok"
        response = await http.get(signed_url(ACCOUNTS, host="127.0.0.1", at=time.time() - 999))
        assert "Invalid submission time" in response.json()["err-msg"]
        assert response.headers.get_list("date")[1:] == []
        assert "server" not in response.headers


async def test_serve_sends_small_responses_at_once() -> None:
    """No response waits for an acknowledgement: 100 in a row take less than 1 s."""
    async with Sandbox(limits=False).serve() as base_url, connected(base_url) as (reader, writer):
        began = time.perf_counter()
        for _ in range(100):
            writer.write(b"GET /v1/common/timestamp HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"}")
        assert time.perf_counter() - began < 1


async def test_serve_ends_at_once_and_leaves_nothing_behind() -> None:
    """With idle connections open, and half a request in one of them."""
    async with contextlib.AsyncExitStack() as stack:
        async with Sandbox().serve() as base_url:
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=base_url))
            await http.get(TIMESTAMP)
            idle, _ = await stack.enter_async_context(connected(base_url))
            half, writer = await stack.enter_async_context(connected(base_url))
            writer.write(b"GET /v1/com")
            await writer.drain()
            began = time.perf_counter()
        assert time.perf_counter() - began < 0.5
        assert await idle.read() == b""
        with contextlib.suppress(ConnectionResetError):
            assert await half.read() == b""
        assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(httpx.ConnectError):
            await http.get(TIMESTAMP)


async def test_serve_leaves_no_socket_in_the_event_loop() -> None:
    """Neither the listening socket nor a connection."""
    loop: Any = asyncio.get_running_loop()
    before = set(loop._selector.get_map())
    async with Sandbox().serve() as base_url, httpx.AsyncClient() as http:
        await http.get(base_url + TIMESTAMP)
        assert set(loop._selector.get_map()) > before
    assert set(loop._selector.get_map()) == before


async def test_serve_logs_nothing_and_installs_no_signal_handlers(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """At any level, in any logger: request lines contain signatures."""
    caplog.set_level(1)
    for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        caplog.set_level(1, name)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with Sandbox().serve() as base_url, connected(base_url) as (reader, writer):
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
        writer.write(b"GET /v1/common/timestamp?Signature=hush HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"}")
        writer.write(b"what?\r\n\r\n")
        await reader.read()
    names = {record.name for record in caplog.records}
    assert names <= {"asyncio"}
    assert capfd.readouterr() == ("", "")


async def test_serve_does_not_change_the_loggers_of_uvicorn() -> None:
    """Another uvicorn in this process keeps its logs."""
    names = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
    loggers = [logging.getLogger(name) for name in names]
    before = settings(loggers)
    async with Sandbox().serve():
        pass
    after = settings(loggers)
    assert after == before


async def test_serve_raises_os_error_for_a_port_in_use() -> None:
    """It names the port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            async with Sandbox().serve(port=port):
                pass


async def test_serve_can_reuse_a_port_at_once() -> None:
    async with Sandbox().serve() as first:
        port = httpx.URL(first).port
        async with httpx.AsyncClient() as http:
            await http.get(first + TIMESTAMP)
    assert port is not None
    async with Sandbox().serve(port=port) as second:
        assert second == first


async def test_serve_two_sandboxes_at_a_time() -> None:
    """Each with its own arrivals."""
    one, two = Sandbox(), Sandbox()
    async with one.serve() as first, two.serve() as second, httpx.AsyncClient() as http:
        await http.get(first + TIMESTAMP)
        await http.get(first + TIMESTAMP)
        await http.get(second + TIMESTAMP)
    assert (len(one.arrivals), len(two.arrivals)) == (2, 1)


async def test_serve_ipv6_address_has_brackets_in_the_url() -> None:
    """But not in the signed host."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    async with Sandbox().serve(host="::1") as base_url, httpx.AsyncClient() as http:
        assert base_url.startswith("http://[::1]:")
        response = await http.get(base_url + signed_url(ACCOUNTS, host="::1", at=time.time()))
        assert response.json()["status"] == "ok"


class SlowSandbox(Sandbox):
    """Sandbox that responds once *released*; *entered* is set by the first request."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond once released."""
        self.entered.set()
        await self.released.wait()
        await super().__call__(scope, receive, send)


async def test_serve_finishes_open_requests() -> None:
    """If the response is ready within the grace period."""
    slow = SlowSandbox()
    async with httpx.AsyncClient() as http:
        async with slow.serve() as base_url:
            response = asyncio.create_task(http.get(base_url + TIMESTAMP))
            await slow.entered.wait()
            asyncio.get_running_loop().call_later(0.01, slow.released.set)
        assert (await response).json()["status"] == "ok"


async def test_serve_aborts_open_requests_after_the_grace_period(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No task is left."""
    monkeypatch.setattr(server, "_GRACE_PERIOD", 0.02)
    slow = SlowSandbox()
    async with httpx.AsyncClient() as http:
        async with slow.serve() as base_url:
            response = asyncio.create_task(http.get(base_url + TIMESTAMP))
            await slow.entered.wait()
        with contextlib.suppress(httpx.HTTPError):
            assert (await response).status_code == 500
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_serve_aborts_a_connection_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the grace period."""
    monkeypatch.setattr(server, "_GRACE_PERIOD", 0.02)
    sandbox = Sandbox(currencies=40_000, limits=False)
    path = signed_url(f"{ACCOUNTS}/1000001/balance", host="x", at=time.time())
    async with contextlib.AsyncExitStack() as stack:
        async with sandbox.serve() as base_url:
            _, writer = await stack.enter_async_context(connected(base_url, buffer=4096))
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            while not sandbox.arrivals:  # noqa: ASYNC110
                await asyncio.sleep(0)
            began = time.perf_counter()
        assert time.perf_counter() - began < 1
        writer.transport.abort()


async def test_serve_without_uvicorn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "htx_async.sandbox.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ImportError, match=r'pip install "htx-async\[sandbox\]"'):
        async with Sandbox().serve():
            pass


@pytest.mark.parametrize("port", [-1, 65_536])
async def test_serve_rejects_an_invalid_port(port: int) -> None:
    """No socket is left open."""
    with pytest.raises(ValueError, match="from 0 to 65535"):
        async with Sandbox().serve(port=port):
            pass
