"""The sandbox's stream on a real port, with the client of `websockets`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
)
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from htx_async.clock import Clock
from htx_async.sandbox import Fault, Sandbox, faults
from tests.sandbox.stream.client import SUBSCRIPTION, auth_request

pytestmark = pytest.mark.slow

TINY = 0.05
PUSH = "WS push"


class FastClock(Clock):
    """Clock that runs *factor* times as fast as the system's."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def monotonic(self) -> float:
        return super().monotonic() * self.factor

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return super().timeout(None if seconds is None else seconds / self.factor)


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(limits=False)


@pytest.fixture
async def url(sandbox: Sandbox) -> AsyncIterator[str]:
    async with served(sandbox) as url:
        yield url


@contextlib.asynccontextmanager
async def served(sandbox: Sandbox) -> AsyncIterator[str]:
    async with sandbox.serve() as base_url:
        yield base_url.replace("http", "ws") + "/ws/v2"
        began = time.perf_counter()
    assert time.perf_counter() - began < 0.5, "it does not end at once"
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"
    assert not sandbox._hub._sessions, "a session is left"


def connected(url: str, **options: Any) -> connect:
    return connect(url, proxy=None, **{"ping_interval": None, **options})


async def send(client: ClientConnection, message: Any) -> None:
    await client.send(json.dumps(message))


async def receive(client: ClientConnection) -> Any:
    async with asyncio.timeout(5):
        return json.loads(await client.recv())


@contextlib.asynccontextmanager
async def subscribed(url: str, **options: Any) -> AsyncIterator[ClientConnection]:
    """Connect and subscribe, and read the snapshot of the default accounts."""
    async with connected(url, **options) as client:
        await send(client, auth_request(host="127.0.0.1", at=time.time()))
        assert (await receive(client))["code"] == 200
        await send(client, SUBSCRIPTION)
        assert (await receive(client))["code"] == 200
        while (await receive(client))["data"]["accountId"] != 1000004:
            pass
        yield client


async def test_stream_is_served_beside_rest(sandbox: Sandbox, url: str) -> None:
    """Requests, snapshot, pushes and pings, from the same port."""
    async with subscribed(url) as client:
        sandbox.move("spot", "usdt", trade="1", cause="deposit")
        push = await receive(client)
        assert push["data"]["changeType"] == "deposit"
        await (await client.ping(b"?"))
        await send(client, {"action": "unsub", "ch": "accounts.update"})
        assert (await receive(client))["action"] == "unsub"
    assert [each.endpoint for each in sandbox.arrivals] == [
        "/ws/v2",
        "WS auth",
        "WS sub",
        "WS unsub",
    ]
    assert sandbox.arrivals[0].status == 101
    assert client.close_code == 1000


async def test_client_may_offer_compression_and_send_fragments(url: str) -> None:
    """Compression is not accepted; a message may arrive in several frames."""
    async with connected(url, compression="deflate") as client:
        assert client.protocol.extensions == []
        text = json.dumps(auth_request(host="127.0.0.1", at=time.time()))
        await client.send([text[:10], text[10:20], text[20:]])
        assert (await receive(client))["code"] == 200
        await client.send(b"{}")
        assert (await receive(client))["message"] == "invalid.json"
        await client.send("\x00" * 70_000)
        assert (await receive(client))["message"] == "invalid.json"


async def test_heartbeat_is_sent_by_the_clock() -> None:
    """Of the sandbox; a client without pongs is disconnected."""
    async with served(Sandbox(clock=FastClock(400))) as url, connected(url) as client:
        assert [(await receive(client)).get("action") for _ in range(3)] == ["ping", "ping", None]
        with pytest.raises(ConnectionClosed):
            await receive(client)
        assert (client.close_code, client.close_reason) == (1000, "time out")


async def test_delayed_message_wakes_the_connection(sandbox: Sandbox, url: str) -> None:
    sandbox.faults.next(faults.delayed(TINY), endpoint=PUSH)
    async with subscribed(url) as client:
        began = time.perf_counter()
        sandbox.move("spot", "usdt", trade="1")
        await receive(client)
        assert time.perf_counter() - began > TINY / 2


async def test_unknown_path_is_404(sandbox: Sandbox, url: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connected(url.replace("v2", "v9?a=b"))
    assert caught.value.response.status_code == 404
    assert (sandbox.arrivals[0].path, sandbox.arrivals[0].status) == ("/ws/v9", 404)


@pytest.mark.parametrize(
    ("fault", "status", "header"),
    [
        (faults.html(403), 403, {"content-type": "text/html"}),
        (faults.html(502), 502, {}),
        (faults.html(599), 599, {}),
        (faults.too_many(retry_after=3), 429, {"retry-after": "3"}),
        (faults.refusal("no", status=500), 500, {"content-type": "application/json"}),
    ],
)
async def test_handshake_may_be_refused(
    sandbox: Sandbox, url: str, fault: Fault, status: int, header: dict[str, str]
) -> None:
    """By the faults of every request; also if they are not for an endpoint."""
    for endpoint in ("GET /ws/v2", None):
        sandbox.faults.next(fault, endpoint=endpoint)
        with pytest.raises(InvalidStatus) as caught:
            await connected(url, process_exception=lambda error: error)
        response = caught.value.response
        assert response.status_code == status
        assert {name: response.headers[name] for name in header} == header
        assert response.body
        assert sandbox.arrivals[-1].status == status
    async with connected(url):
        pass


async def test_handshake_may_be_redirected(sandbox: Sandbox, url: str) -> None:
    sandbox.faults.next(faults.redirect("https://example.com/"), endpoint="GET /ws/v2")
    with pytest.raises(InvalidURI, match=r"https://example\.com/"):
        await connected(url)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.hang(), TimeoutError),
        (faults.hang("body"), TimeoutError),
        (faults.reset(), (ConnectionResetError, InvalidMessage)),
        (faults.cut(0), (InvalidMessage, ConnectionClosedError, TimeoutError)),
        (faults.refuse(TINY), (ConnectionResetError, InvalidMessage)),
        (faults.wrong_accept(), InvalidHandshake),
    ],
)
async def test_handshake_may_fail_on_the_connection(
    sandbox: Sandbox, url: str, fault: Fault, error: Any
) -> None:
    sandbox.faults.next(fault, endpoint="GET /ws/v2")
    with pytest.raises(error):
        async with connected(
            url, open_timeout=TINY, close_timeout=TINY, process_exception=lambda each: each
        ) as client:
            await asyncio.wait_for(client.recv(), TINY)


async def test_handshake_has_the_date_of_the_sandbox(sandbox: Sandbox, url: str) -> None:
    sandbox.faults.next(faults.skewed(86400), endpoint="GET /ws/v2")
    dates = []
    for _ in range(2):
        async with connected(url) as client:
            assert client.response is not None
            dates.append(client.response.headers["Date"])
    assert dates[0] != dates[1]
    assert len(set(dates[0].split()) & set(dates[1].split())) >= 3


async def test_connection_may_close_between_acknowledgement_and_snapshot(
    sandbox: Sandbox, url: str
) -> None:
    sandbox.faults.next(faults.answer_and_close(), endpoint="WS sub")
    async with connected(url) as client:
        await send(client, auth_request(host="127.0.0.1", at=time.time()))
        await send(client, SUBSCRIPTION)
        assert [(await receive(client))["action"] for _ in range(2)] == ["req", "sub"]
        with pytest.raises(ConnectionClosedError):
            await receive(client)
        assert client.close_code == 1006


async def test_connection_may_close_within_the_snapshot(sandbox: Sandbox, url: str) -> None:
    """In the middle of a frame."""
    sandbox.faults.at(3, faults.cut(), endpoint="WS snapshot")
    with pytest.raises(ConnectionClosedError) as caught:
        async with subscribed(url):
            pass
    assert caught.value.rcvd is None


async def test_reset_has_no_close_frame(sandbox: Sandbox, url: str) -> None:
    async with subscribed(url) as client:
        sandbox.interrupt_streams(faults.reset())
        with pytest.raises(ConnectionClosedError) as caught:
            await receive(client)
        assert caught.value.rcvd is None
        assert isinstance(caught.value.__cause__, ConnectionResetError)


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1008, 1011, 1012, 1013, 3000, 4999])
async def test_close_frame_instead_of_a_message(sandbox: Sandbox, url: str, code: int) -> None:
    reason = "" if code == 1005 else "bye"
    sandbox.faults.next(faults.close(code, reason), endpoint=PUSH)
    async with subscribed(url) as client:
        sandbox.move("spot", "usdt", trade="1")
        with pytest.raises(ConnectionClosed):
            await receive(client)
        assert (client.close_code, client.close_reason) == (code, reason)


async def test_half_open_connection_is_silent(sandbox: Sandbox, url: str) -> None:
    """No push, no pong and no close, until the client ends the connection."""
    sandbox.faults.next(faults.hang(), endpoint=PUSH)
    async with subscribed(url, close_timeout=TINY) as client:
        for amount in (1, 2):
            sandbox.move("spot", "usdt", trade=amount)
        pong = await client.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pong), TINY)
        assert client.state is State.OPEN
        began = time.perf_counter()
        await client.close()
        assert time.perf_counter() - began >= TINY
    assert client.close_code == 1006


async def test_fault_leaves_earlier_messages_alone(sandbox: Sandbox, url: str) -> None:
    """Also those of the same moment."""
    sandbox.faults.at(2, faults.hang(), endpoint=PUSH)
    async with subscribed(url, close_timeout=TINY) as client:
        sandbox.move("spot", "usdt", trade="1")
        sandbox.move("spot", "usdt", trade="2")
        assert (await receive(client))["data"]["available"] == "1"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), TINY)


async def test_interrupt_may_leave_the_connection_half_open(sandbox: Sandbox, url: str) -> None:
    async with subscribed(url, close_timeout=TINY) as client:
        sandbox.interrupt_streams(faults.hang())
        sandbox.move("spot", "usdt", trade="1")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), TINY)


async def test_refuse_closes_the_port_for_a_while(sandbox: Sandbox, url: str) -> None:
    """As a server that restarts."""
    async with subscribed(url) as client:
        sandbox.interrupt_streams(faults.refuse(TINY))
        with pytest.raises(ConnectionClosedError):
            await receive(client)
        with pytest.raises(ConnectionRefusedError):
            await connected(url)
        await asyncio.sleep(2 * TINY)
        async with connected(url):
            pass


async def test_pong_frame_may_be_lost(sandbox: Sandbox, url: str) -> None:
    """Pushes go on."""
    sandbox.faults.next(faults.lost(), endpoint="WS pong")
    async with subscribed(url) as client:
        lost = asyncio.ensure_future(await client.ping())
        sandbox.move("spot", "usdt", trade="1")
        await receive(client)
        assert not lost.done()
        await (await client.ping())


class RawClient:
    """Frames of a stream, read without `websockets` between the bytes and the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.parts: list[bytes] = []

    def send(self, message: Any) -> None:
        data = json.dumps(message).encode()
        self.writer.write(Frame(Opcode.TEXT, data).serialize(mask=True))

    async def frame(self) -> tuple[int, bool, bytes]:
        """Return opcode, FIN bit and content of the next frame."""
        head = await self.reader.readexactly(2)
        size = head[1]
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2))
        elif size == 127:
            size = int.from_bytes(await self.reader.readexactly(8))
        return head[0] & 15, head[0] > 127, await self.reader.readexactly(size)


@pytest.fixture
async def raw(url: str) -> AsyncIterator[RawClient]:
    """Return a client that has subscribed and read the snapshot."""
    _, _, authority, _ = url.split("/", 3)
    reader, writer = await asyncio.open_connection(*authority.split(":"))
    head = (
        f"GET /ws/v2 HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade"
        "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    writer.write(head.encode())
    response = await reader.readuntil(b"\r\n\r\n")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in response
    client = RawClient(reader, writer)
    client.send(auth_request(host="127.0.0.1", at=time.time()))
    client.send(SUBSCRIPTION)
    while b"1000004" not in (await client.frame())[2]:
        pass
    yield client
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("fault", "is_right"),
    [
        (
            faults.fragmented(3),
            lambda frames: [each[:2] for each in frames] == [(1, False), (0, False), (0, True)],
        ),
        (faults.binary(), lambda frames: frames[0][:2] == (2, True)),
        (
            faults.invalid_utf8(),
            lambda frames: frames[0][:2] == (1, True) and frames[0][2][-1] == 255,
        ),
        (faults.huge(2**21), lambda frames: len(frames[0][2]) == 2**21),
        (faults.html(), lambda frames: frames[0][2].startswith(b"<html>")),
        (faults.close(4000, "x"), lambda frames: frames[0] == (8, True, b"\x0f\xa0x")),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_frames_of_a_faulty_message(
    sandbox: Sandbox, raw: RawClient, fault: Fault, is_right: Callable[[Any], bool]
) -> None:
    sandbox.faults.next(fault, endpoint=PUSH)
    sandbox.move("spot", "usdt", trade="1")
    frames = [await raw.frame()]
    while not frames[-1][1]:
        frames.append(await raw.frame())
    assert is_right(frames)
    assert fault != faults.fragmented(3) or json.loads(b"".join(each[2] for each in frames))


async def test_messages_of_one_moment_share_a_segment(sandbox: Sandbox, raw: RawClient) -> None:
    """A duplicate as well as two changes: a client has to find the end of each."""
    sandbox.faults.next(faults.duplicated(), endpoint=PUSH)
    sandbox.move("spot", "usdt", trade="1")
    sandbox.move("spot", "usdt", trade="2")
    first = await raw.reader.read(2**16)
    assert first.count(b'"action":"push"') == 3


async def test_message_may_arrive_byte_by_byte(sandbox: Sandbox, raw: RawClient) -> None:
    """More than 200 segments; later messages wait, and stay whole."""
    sandbox.faults.next(faults.trickle(0.0005), endpoint=PUSH)
    sandbox.move("spot", "usdt", trade="1")
    sandbox.move("spot", "usdt", trade="2")
    parts: list[bytes] = []
    while b"".join(parts).count(b"}}") < 2:
        parts.append(await raw.reader.read(2**16))
    assert len(parts) > 100
    assert max(map(len, parts)) > 200


async def test_invalid_frame_ends_the_session(sandbox: Sandbox, raw: RawClient) -> None:
    assert len(sandbox._hub._sessions) == 1
    raw.writer.write(b"\xff\xff")
    assert (await raw.frame())[0] == 8
    assert await raw.reader.read() == b""
    await asyncio.sleep(TINY)
    assert not sandbox._hub._sessions


async def test_end_of_the_client_ends_the_session(sandbox: Sandbox, raw: RawClient) -> None:
    """Without a close frame."""
    raw.writer.write_eof()
    assert await raw.reader.read() == b""
    await asyncio.sleep(TINY)
    assert not sandbox._hub._sessions


async def test_serve_closes_open_streams_at_its_end(sandbox: Sandbox) -> None:
    """At once, and with a close frame; also if a client does not read, or a fault is played."""
    async with contextlib.AsyncExitStack() as stack:
        async with served(sandbox) as url:
            client = await stack.enter_async_context(subscribed(url))
            hung = await stack.enter_async_context(subscribed(url, close_timeout=TINY))
            sandbox.faults.at(2, faults.hang(), endpoint=PUSH)
            sandbox.move("spot", "usdt", trade="1")
            await receive(client)
        with pytest.raises(ConnectionClosed):
            await receive(client)
        assert client.close_code == 1001
        with pytest.raises(ConnectionClosed):
            await receive(hung)


async def test_serve_logs_nothing_of_a_stream(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """At any level, in any logger: messages contain signatures."""
    caplog.set_level(1)
    quiet = logging.getLogger("tests.quiet")
    quiet.setLevel(logging.CRITICAL)
    async with subscribed(url, logger=quiet):
        pass
    assert {record.name for record in caplog.records} <= {"asyncio"}


async def test_push_rate(sandbox: Sandbox, url: str) -> None:
    """A thousand changes arrive in order, without one that is missing."""
    async with subscribed(url) as client:
        for amount in range(1000):
            sandbox.move("spot", "usdt", trade=amount)
        amounts = [(await receive(client))["data"]["available"] for _ in range(1000)]
        assert amounts == [str(amount) for amount in range(1000)]
