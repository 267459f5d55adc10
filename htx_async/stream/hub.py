"""The streams of one client, and the connection that they share."""

from __future__ import annotations

import functools
from typing import Any, Protocol

from htx_async.auth.provider import CredentialStore
from htx_async.clock import Clock, ServerClock
from htx_async.errors import ClientClosedError
from htx_async.stream.observer import ObservedKind, Observer
from htx_async.stream.shared import Accounts, Settings, SharedConnection
from htx_async.stream.sockets import OpenSocket, Socket
from htx_async.validation import Origin


class Stream(Protocol):
    """A stream, as the hub knows it."""

    async def aclose(self) -> None:
        """Leave the hub."""
        ...


class StreamHub:
    """
    The streams of one client, which share one connection.

    Args:
        origin: HTX's address.
        clock: Source of time.
        server_clock: HTX's time.
        credentials: The credentials of the client.
        open_socket: Opens a connection; `None`: one of websockets.

    Attributes:
        can_connect: Whether it may connect to the origin: a transport that the caller has passed to
            the client may lead elsewhere, as that of a test does.
    """

    def __init__(
        self,
        origin: Origin,
        clock: Clock,
        server_clock: ServerClock,
        credentials: CredentialStore,
        open_socket: OpenSocket | None = None,
    ) -> None:
        self.clock: Clock = clock
        opener = open_socket or functools.partial(_open_websocket, origin)
        self.settings: Settings = Settings(origin, clock, server_clock, credentials, opener)
        self._streams: dict[Stream, Observer] = {}
        self._shared: SharedConnection | None = None
        self._closing: list[SharedConnection] = []
        self._is_closed = False
        self.can_connect: bool = True

    def join(self, stream: Stream, accounts: Accounts, observe: Observer) -> SharedConnection:
        """Add a stream, and return the connection that it shares."""
        if self._is_closed:
            msg = "this client is closed: create a new one"
            raise ClientClosedError(msg)
        self._streams[stream] = observe
        if self._shared is None:
            self._shared = SharedConnection(self.settings, accounts, self._observe)
        return self._shared

    async def leave(self, stream: Stream) -> None:
        """Remove a stream; the last one closes the connection."""
        self._streams.pop(stream, None)
        if not self._streams and self._shared is not None:
            self._closing.append(self._shared)
            self._shared = None
        await self._close()

    async def aclose(self) -> None:
        """Close all streams: their iterators end."""
        self._is_closed = True
        for stream in tuple(self._streams):
            await stream.aclose()
        await self._close()

    async def _close(self) -> None:
        """Wait for connections that nobody uses, also for those whose `leave` was cancelled."""
        while self._closing:
            shared = self._closing[0]
            await shared.aclose()
            if shared in self._closing:
                self._closing.remove(shared)

    def _observe(self, kind: ObservedKind, data: Any) -> None:
        for observe in self._streams.values():
            observe(kind, data)


async def _open_websocket(origin: Origin) -> Socket:
    from htx_async.stream import connection  # noqa: PLC0415 - an extra

    return await connection.open_websocket(origin)
