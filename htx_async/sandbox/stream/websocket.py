"""
WebSocket connections of a served sandbox: frames, around a `StreamSession`.

uvicorn hands over a connection whose first request is an upgrade. From then on, the frames of
`websockets` (without its I/O) are written to the same `FaultyConnection`, so that a fault can
change their bytes. An ASGI scope of the type `websocket` has no place for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from htx_async.clock import Clock
from htx_async.sandbox.connection import ConnectionFault, FaultyConnection
from htx_async.sandbox.fault import Fault
from htx_async.sandbox.request import ParsedRequest
from htx_async.sandbox.responses import SandboxResponse
from htx_async.sandbox.stream.hub import StreamHub
from htx_async.sandbox.stream.messages import Close, Message
from htx_async.sandbox.stream.session import StreamOutput, StreamSession

if TYPE_CHECKING:
    from uvicorn.server import ServerState

_NO_STATUS = 1005
_GOING_AWAY = 1001
_FRAME_TYPES = (Opcode.TEXT, Opcode.BINARY)

# Outside of the hierarchy, so that no handler gets a record: messages contain signatures.
_NULL_LOGGER = logging.Logger("htx_async.sandbox", logging.CRITICAL + 1)  # noqa: LOG001  # on purpose, see above


class _Frames(ServerProtocol):
    """Frames of a server, which leaves the response to ping frames to others."""

    def __init__(self) -> None:
        super().__init__(logger=_NULL_LOGGER)
        self.pings: list[bytes] = []

    def send_frame(self, frame: Frame) -> None:
        """Send *frame*, unless it is a pong frame."""
        if frame.opcode is Opcode.PONG:
            self.pings.append(bytes(frame.data))
        else:
            super().send_frame(frame)

    def send_pong(self, data: bytes) -> None:  # type: ignore[override]
        """Send a pong frame."""
        super().send_frame(Frame(Opcode.PONG, data))


class WebSocketProtocol(asyncio.Protocol):
    """A WebSocket connection, of the class that uvicorn expects."""

    def __init__(
        self, hub: StreamHub, clock: Clock, *, server_state: ServerState, **_: Any
    ) -> None:
        self._hub = hub
        self._clock = clock
        self._server_state = server_state
        self._frames = _Frames()
        self._message: list[bytes] = []
        self._opcode = Opcode.TEXT
        self._outputs: deque[StreamOutput] = deque()
        self._wake = asyncio.Event()
        self._session: StreamSession | None = None
        self.connection: FaultyConnection
        self.transport: FaultyConnection

    def connection_made(self, transport: FaultyConnection) -> None:  # type: ignore[override]
        """Use *transport*, which uvicorn hands over."""
        self.connection = self.transport = transport
        self._server_state.connections.add(self)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Handle what the client sent."""
        self._frames.receive_data(data)
        for event in self._frames.events_received():
            if isinstance(event, Request):
                self._start(event)
            else:
                assert isinstance(event, Frame)
                self._receive(event)
        for ping in self._frames.pings:
            self._outputs += self._open_session.receive_ping(ping)
        self._frames.pings.clear()
        self._flush()
        self._wake.set()

    def eof_received(self) -> None:
        """Handle the end of what the client sends."""
        self._frames.receive_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """End everything that uses the connection."""
        del exc
        self._server_state.connections.discard(self)
        self.connection.ended.set()
        self._wake.set()

    def shutdown(self) -> None:
        """Close the connection, as the server ends."""
        self._encode(Close(_GOING_AWAY))
        self._flush()
        self.connection.close()
        self._wake.set()

    @property
    def _open_session(self) -> StreamSession:
        assert self._session is not None, "the handshake is complete"
        return self._session

    def _start(self, request: Request) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(request))
        task.add_done_callback(self._server_state.tasks.discard)
        self._server_state.tasks.add(task)

    def _receive(self, frame: Frame) -> None:
        """Pass a message on as soon as it is complete."""
        if frame.opcode in _FRAME_TYPES:
            self._opcode = frame.opcode
        elif frame.opcode is not Opcode.CONT:
            return
        self._message.append(bytes(frame.data))
        if frame.fin:
            data = b"".join(self._message)
            self._message.clear()
            is_text = self._opcode is Opcode.TEXT
            message = data.decode(errors="replace") if is_text else data
            self._outputs += self._open_session.receive(message)

    async def _serve(self, request: Request) -> None:
        parsed = _parsed(request, self.connection.get_extra_info("peername"))
        fault, response = self._hub.handshake(parsed)
        try:
            if response.status == HTTPStatus.SWITCHING_PROTOCOLS:
                # Before the response: the first message follows at once.
                self._session = self._hub.open(parsed, self._deliver)
            await self._play(fault, functools.partial(self._respond, request, response, fault))
            if self._session is not None:
                await self._send_outputs(self._session)
        finally:
            if self._session is not None:
                self._session.end()

    def _respond(self, request: Request, response: SandboxResponse, fault: Fault) -> None:
        is_accepted = response.status == HTTPStatus.SWITCHING_PROTOCOLS
        handshake = self._frames.accept(request) if is_accepted else _http_response(response)
        headers = [pair for pair in handshake.headers.raw_items() if pair[0] != "Date"]
        date = formatdate(self._clock.now() + fault.clock_offset, usegmt=True)
        handshake.headers = Headers([("Date", date), *headers])
        self._frames.send_response(handshake)

    def _deliver(self, outputs: list[StreamOutput]) -> None:
        self._outputs += outputs
        self._wake.set()

    async def _send_outputs(self, session: StreamSession) -> None:
        while not self.connection.is_closing():
            self._outputs += session.tick()
            while self._outputs:
                output = self._outputs.popleft()
                if output.fault is None:  # with those that follow, if possible, in one segment
                    self._encode(output.item)
                else:
                    self._flush()
                    await self._play(output.fault, functools.partial(self._encode, output.item))
            self._flush()
            await self._wait(session.next_tick - self._clock.monotonic())

    async def _play(self, fault: Fault, write: Callable[[], None]) -> None:
        async def respond() -> None:
            write()
            self._flush()

        if isinstance(fault, ConnectionFault):
            await self.connection.play(fault, respond)
        else:
            await respond()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(max(0.0, seconds)):
                await self._wake.wait()
        self._wake.clear()

    def _encode(self, item: Message | Close | None) -> None:
        if self._frames.state is not State.OPEN or item is None:
            return
        if isinstance(item, Close):
            self._frames.send_close(None if item.code == _NO_STATUS else item.code, item.reason)
        elif item.opcode == "pong":
            self._frames.send_pong(item.data)
        else:
            self._encode_data(item)

    def _encode_data(self, message: Message) -> None:
        size = max(1, -(-len(message.data) // message.frames))
        first, *parts = [message.data[at : at + size] for at in range(0, len(message.data), size)]
        send = self._frames.send_text if message.opcode == "text" else self._frames.send_binary
        send(first, fin=not parts)
        for number, part in enumerate(parts, 1):
            self._frames.send_continuation(part, fin=number == len(parts))

    def _flush(self) -> None:
        parts = self._frames.data_to_send()
        if any(parts):
            self.connection.write(b"".join(parts))
        if b"" in parts:  # the end of the data
            self.connection.close()


def _parsed(request: Request, peer: tuple[Any, ...] | None) -> ParsedRequest:
    raw_path, _, query = request.path.partition("?")
    headers = [
        (name.encode(), value.encode("latin-1")) for name, value in request.headers.raw_items()
    ]
    scope = {
        "method": "GET",
        "path": raw_path,
        "query_string": query.encode(),
        "headers": headers,
        "client": peer,
    }
    return ParsedRequest.from_scope(scope)


def _http_response(response: SandboxResponse) -> Response:
    known = response.status in HTTPStatus.__members__.values()
    pairs = (
        (b"content-type", response.content_type),
        (b"content-length", b"%d" % len(response.body)),
        (b"connection", b"close"),
        *response.headers,
    )
    headers = Headers([(name.decode(), value.decode()) for name, value in pairs])
    phrase = HTTPStatus(response.status).phrase if known else ""
    return Response(response.status, phrase, headers, response.body)
