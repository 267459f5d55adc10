"""
Connections of a served sandbox, on which connection faults are played.

uvicorn gets a `FaultyConnection` instead of asyncio's transport. It passes everything on, except
the response to a request with a connection fault: it buffers that one, and the fault decides what
is sent. This runs in the task of the request, so it needs no task of its own, and a connection that
is kept alive serves the next request as usual.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import attrs

from htx_async.clock import Clock
from htx_async.sandbox.fault import Fault
from htx_async.sandbox.request import Scope

_EXTENSION = "htx_async.connection"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # the value of SO_LINGER


class ListeningPort(abc.ABC):
    """Port of a served sandbox, which can be closed for a while."""

    def __init__(self, clock: Clock) -> None:
        self.clock: Clock = clock
        self.ended: asyncio.Event = asyncio.Event()
        self._closers = 0

    @abc.abstractmethod
    async def open(self) -> None:
        """Accept connections."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let the system refuse connections, but keep the port."""

    @contextlib.asynccontextmanager
    async def closed(self) -> AsyncGenerator[None]:
        """Refuse connections within this context."""
        if not self._closers:
            self.close()
        self._closers += 1
        try:
            yield
        finally:
            self._closers -= 1
            if not (self._closers or self.ended.is_set()):
                await self.open()


class FaultyConnection:
    """One connection: a transport for uvicorn, and a raw connection for faults."""

    def __init__(self, transport: asyncio.Transport, port: ListeningPort) -> None:
        self._transport = transport
        self._port = port
        self._buffer: bytearray | None = None
        self._close_after_fault = False
        self._lock = asyncio.Lock()
        self.ended: asyncio.Event = asyncio.Event()
        self.extensions: dict[str, FaultyConnection] = {_EXTENSION: self}

    # Called by uvicorn.

    def write(self, data: bytes) -> None:
        """Send *data*; during a fault, buffer it."""
        if self._buffer is None:
            self._transport.write(data)
        else:
            self._buffer += data

    def close(self) -> None:
        """Close the connection; during a fault, after it."""
        if self._buffer is None:
            self._transport.close()
        else:
            self._close_after_fault = True

    def is_closing(self) -> bool:
        """Return whether the connection is closed or will be."""
        return self._close_after_fault or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        # Everything else (`abort`, `get_extra_info`, flow control) is the transport's.
        return getattr(self._transport, name)

    # Called by faults.

    def send(self, data: bytes) -> None:
        """Send *data* unchanged."""
        self._transport.write(data)

    def disconnect(self) -> None:
        """Close the connection after the data that was sent."""
        self._transport.close()

    def reset(self) -> None:
        """Abort the connection with an RST."""
        sock: socket.socket = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    async def wait_lost(self, seconds: float | None = None) -> bool:
        """Wait until the connection or the server ends; `False` after *seconds*."""
        return await self._wait(self.ended, seconds)

    async def refuse(self, seconds: float) -> None:
        """Reset the connection, and refuse new ones for *seconds*."""
        async with self._port.closed():
            self.reset()
            await self._wait(self._port.ended, seconds)

    async def _wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        with contextlib.suppress(TimeoutError):
            async with self._port.clock.timeout(seconds):
                await event.wait()
        return event.is_set()

    # Called by the sandbox.

    async def play(self, fault: ConnectionFault, respond: Callable[[], Awaitable[None]]) -> None:
        """Run *respond*, and let *fault* send what it writes."""
        async with self._lock:  # a pipelined request waits for the response before it
            self._buffer = bytearray()
            try:
                await respond()
                response, self._buffer = bytes(self._buffer), bytearray()
                if not self.ended.is_set():
                    await fault.play(self, response)
            finally:
                self._end_fault()

    def _end_fault(self) -> None:
        late, self._buffer = self._buffer, None
        if self.ended.is_set():
            self._transport.abort()
        elif late and not self._transport.is_closing():
            self._transport.write(bytes(late))
        if self._close_after_fault:
            self._transport.close()


@attrs.frozen
class ConnectionFault(Fault, abc.ABC):
    """Failure below HTTP: the response is complete but does not arrive as it is."""

    @abc.abstractmethod
    async def play(self, connection: FaultyConnection, response: bytes, /) -> None:
        """Fail on *connection* instead of sending *response* (head and body)."""


def connection_of(scope: Scope, fault: ConnectionFault) -> FaultyConnection:
    """Return the connection of the request; `RuntimeError` with `httpx.ASGITransport`."""
    connection = scope.get("extensions", {}).get(_EXTENSION)
    if connection is None:
        message = f"{fault} needs a connection, see Sandbox.serve()"
        raise RuntimeError(message)
    assert isinstance(connection, FaultyConnection)
    return connection
