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
from tests.sandbox.signer import url

ACCOUNTS = "/v1/account/accounts"
TIMESTAMP = "/v1/common/timestamp"

pytestmark = pytest.mark.slow


@contextlib.asynccontextmanager
async def connected(
    base_url: str, *, buffer: int = 0
) -> AsyncIterator[tuple[asyncio.StreamReader, Any]]:
    """Connect; *buffer*: bytes that the system keeps for us until they are read; 0: it knows."""
    where = httpx.URL(base_url)
    ours = socket.socket()
    if buffer:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    ours.settimeout(0.0)
    await asyncio.get_running_loop().sock_connect(ours, (where.host, where.port))
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_signed_request_over_a_socket() -> None:
    """The base URL is on the loopback; the host that is signed has no port."""
    async with Sandbox().serve() as base_url, httpx.AsyncClient(base_url=base_url) as http:
        assert base_url.startswith("http://127.0.0.1:")
        response = await http.get(url(ACCOUNTS, host="127.0.0.1", at=time.time()))
        assert response.json()["status"] == "ok"
        response = await http.get(url(ACCOUNTS, host="127.0.0.1", at=time.time() - 999))
        assert "Invalid submission time" in response.json()["err-msg"]
        assert response.headers.get_list("date")[1:] == []
        assert "server" not in response.headers


async def test_small_answers_are_fast() -> None:
    """No answer waits for an acknowledgement: a hundred in a row take less than 1 s."""
    async with Sandbox(limits=False).serve() as base_url, connected(base_url) as (reader, writer):
        began = time.perf_counter()
        for _ in range(100):
            writer.write(b"GET /v1/common/timestamp HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"}")
        assert time.perf_counter() - began < 1


async def test_it_ends_at_once_and_leaves_nothing_behind() -> None:
    """With idle connections open, with half a request in one, and without any task left."""
    async with contextlib.AsyncExitStack() as stack:
        async with Sandbox().serve() as base_url:
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=base_url))
            await http.get(TIMESTAMP)
            fresh, _ = await stack.enter_async_context(connected(base_url))
            half, writer = await stack.enter_async_context(connected(base_url))
            writer.write(b"GET /v1/com")
            await writer.drain()
            began = time.perf_counter()
        assert time.perf_counter() - began < 0.5
        assert await fresh.read() == b""
        with contextlib.suppress(ConnectionResetError):
            assert await half.read() == b""
        assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(httpx.ConnectError):
            await http.get(TIMESTAMP)


async def test_the_loop_watches_nothing_of_it_any_more() -> None:
    """Neither the listening socket nor a connection."""
    loop: Any = asyncio.get_running_loop()
    before = set(loop._selector.get_map())
    async with Sandbox().serve() as base_url, httpx.AsyncClient() as http:
        await http.get(base_url + TIMESTAMP)
        assert set(loop._selector.get_map()) > before
    assert set(loop._selector.get_map()) == before


async def test_nothing_is_logged_and_signals_are_left_alone(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """At any level, in any logger: request lines have signatures in them."""
    caplog.set_level(1)
    for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        caplog.set_level(1, name)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    async with Sandbox().serve() as base_url, connected(base_url) as (reader, writer):
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
        writer.write(b"GET /v1/common/timestamp?Signature=hush HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"}")
        writer.write(b"what?\r\n\r\n")
        await reader.read()
    names = {record.name for record in caplog.records}
    assert names <= {"asyncio"}
    assert capfd.readouterr() == ("", "")


async def test_logging_of_others_is_left_as_it_was() -> None:
    """Who runs a uvicorn of its own in this process keeps its logs."""
    names = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
    loggers = [logging.getLogger(name) for name in names]
    before = [(each.level, each.propagate, each.handlers[:], each.disabled) for each in loggers]
    async with Sandbox().serve():
        pass
    after = [(each.level, each.propagate, each.handlers[:], each.disabled) for each in loggers]
    assert after == before


async def test_a_port_that_is_taken_is_an_os_error() -> None:
    """It names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            async with Sandbox().serve(port=port):
                pass


async def test_a_port_can_be_asked_for_again() -> None:
    """One after the other, at once."""
    async with Sandbox().serve() as first:
        port = httpx.URL(first).port
        async with httpx.AsyncClient() as http:
            await http.get(first + TIMESTAMP)
    assert port is not None
    async with Sandbox().serve(port=port) as second:
        assert second == first


async def test_two_sandboxes_run_next_to_each_other() -> None:
    """Each with its own arrivals."""
    one, two = Sandbox(), Sandbox()
    async with one.serve() as first, two.serve() as second, httpx.AsyncClient() as http:
        await http.get(first + TIMESTAMP)
        await http.get(first + TIMESTAMP)
        await http.get(second + TIMESTAMP)
    assert (len(one.arrivals), len(two.arrivals)) == (2, 1)


async def test_ipv6_has_its_brackets() -> None:
    """In the URL, and not in what is signed."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    async with Sandbox().serve(host="::1") as base_url, httpx.AsyncClient() as http:
        assert base_url.startswith("http://[::1]:")
        response = await http.get(base_url + url(ACCOUNTS, host="::1", at=time.time()))
        assert response.json()["status"] == "ok"


class Slow(Sandbox):
    """A sandbox whose answers take until *released*; *entered* when one is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer once released."""
        self.entered.set()
        await self.released.wait()
        await super().__call__(scope, receive, send)


async def test_what_is_being_answered_is_finished() -> None:
    """An answer that is ready within the second of grace arrives."""
    slow = Slow()
    async with httpx.AsyncClient() as http:
        async with slow.serve() as base_url:
            asking = asyncio.create_task(http.get(base_url + TIMESTAMP))
            await slow.entered.wait()
            asyncio.get_running_loop().call_later(0.01, slow.released.set)
        assert (await asking).json()["status"] == "ok"


async def test_what_takes_too_long_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the grace its connection ends, and nothing stays behind."""
    monkeypatch.setattr(server, "_GRACE", 0.02)
    slow = Slow()
    async with httpx.AsyncClient() as http:
        async with slow.serve() as base_url:
            asking = asyncio.create_task(http.get(base_url + TIMESTAMP))
            await slow.entered.wait()
        with contextlib.suppress(httpx.HTTPError):
            assert (await asking).status_code == 500
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_who_does_not_read_does_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that nobody fetches is dropped after the grace."""
    monkeypatch.setattr(server, "_GRACE", 0.02)
    sandbox = Sandbox(currencies=40_000, limits=False)
    path = url(f"{ACCOUNTS}/1000001/balance", host="x", at=time.time())
    async with contextlib.AsyncExitStack() as stack:
        async with sandbox.serve() as base_url:
            _, writer = await stack.enter_async_context(connected(base_url, buffer=4096))
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            while not sandbox.arrivals:  # noqa: ASYNC110
                await asyncio.sleep(0)
            began = time.perf_counter()
        assert time.perf_counter() - began < 1
        writer.transport.abort()


async def test_without_uvicorn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only listening needs it."""
    monkeypatch.delitem(sys.modules, "htx_async.sandbox.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ImportError, match=r'pip install "htx-async\[sandbox\]"'):
        async with Sandbox().serve():
            pass


@pytest.mark.parametrize("port", [-1, 65_536])
async def test_a_port_that_is_none_is_told(port: int) -> None:
    """And no socket is left open."""
    with pytest.raises(ValueError, match="from 0 to 65535"):
        async with Sandbox().serve(port=port):
            pass
