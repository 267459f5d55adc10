"""
The front of a served sandbox: it stands between a socket and HTTP, and plays faults on the wire.

Each connection has a `Front` where uvicorn expects asyncio's transport. It hands everything on,
but for a request that meets a fault on the wire: then it holds back what HTTP writes, and the
fault decides what becomes of it. That runs in the request's own task, so that there is no other
one to look after, and a connection that is kept alive serves its next request as ever.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from htx_async.clock import Clock
from htx_async.sandbox.fault import WireFault
from htx_async.sandbox.request import Scope

Answering = Callable[[], Awaitable[None]]

_EXTENSION = "htx_async.front"
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close means reset


class Gate(abc.ABC):
    """The port of a served sandbox, which can be closed for a while."""

    def __init__(self, clock: Clock) -> None:
        self.clock: Clock = clock
        self.over: asyncio.Event = asyncio.Event()
        self._shutters = 0

    @abc.abstractmethod
    async def open(self) -> None:
        """Let connections come."""

    @abc.abstractmethod
    def shut(self) -> None:
        """Let the system refuse connections, but keep the port."""

    @contextlib.asynccontextmanager
    async def closed(self) -> AsyncGenerator[None]:
        """Refuse connections within this context."""
        if not self._shutters:
            self.shut()
        self._shutters += 1
        try:
            yield
        finally:
            self._shutters -= 1
            if not (self._shutters or self.over.is_set()):
                await self.open()


class Front:
    """The front of one connection. To uvicorn it is a transport, to faults a wire."""

    def __init__(self, transport: asyncio.Transport, gate: Gate) -> None:
        self._transport = transport
        self._gate = gate
        self._held: bytearray | None = None
        self._hung_up = False
        self._turn = asyncio.Lock()
        self.over: asyncio.Event = asyncio.Event()
        self.extensions: dict[str, Front] = {_EXTENSION: self}

    # What HTTP calls.

    def write(self, data: bytes) -> None:
        """Send *data*, or hold it."""
        if self._held is None:
            self._transport.write(data)
        else:
            self._held += data

    def close(self) -> None:
        """Close the connection, once nothing is held any more."""
        if self._held is None:
            self._transport.close()
        else:
            self._hung_up = True

    def is_closing(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return self._hung_up or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        # All else (`abort`, `get_extra_info`, pauses) goes straight to the transport.
        return getattr(self._transport, name)

    # What faults call.

    def send(self, data: bytes) -> None:
        """Send *data* as it is."""
        self._transport.write(data)

    def hang_up(self) -> None:
        """Close the connection after what was sent."""
        self._transport.close()

    def reset(self) -> None:
        """End the connection at once, and let the other side know it (RST)."""
        connection: socket.socket = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._transport.abort()

    async def lost(self, within: float | None = None) -> bool:
        """Wait until the connection, or the server, ends; whether it did *within* seconds."""
        with contextlib.suppress(TimeoutError):
            async with self._gate.clock.timeout(within):
                await self.over.wait()
        return self.over.is_set()

    async def refuse(self, seconds: float) -> None:
        """Reset the connection, and refuse new ones for so long."""
        async with self._gate.closed():
            self.reset()
            with contextlib.suppress(TimeoutError):
                async with self._gate.clock.timeout(seconds):
                    await self._gate.over.wait()

    # What the sandbox calls.

    async def play(self, fault: WireFault, answering: Answering) -> None:
        """Let *fault* have what *answering* writes."""
        async with self._turn:  # who asks again before the answer waits for its turn
            self._held = bytearray()
            try:
                await answering()
                answer, self._held = bytes(self._held), bytearray()
                if not self.over.is_set():
                    await fault.play(self, answer)
            finally:
                self._release()

    def _release(self) -> None:
        late, self._held = self._held, None
        if self.over.is_set():
            self._transport.abort()
        elif late and not self._transport.is_closing():
            self._transport.write(bytes(late))
        if self._hung_up:
            self._transport.close()


def find(scope: Scope, fault: WireFault) -> Front:
    """Return the front that the request came through, to play *fault*."""
    front = scope.get("extensions", {}).get(_EXTENSION)
    if front is None:
        message = f"{fault} is a fault on the wire: it needs a connection, see Sandbox.serve()"
        raise RuntimeError(message)
    assert isinstance(front, Front)
    return front
