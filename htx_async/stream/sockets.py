"""What a connection of a stream must be able to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias


class SocketClosedError(Exception):
    """The connection is lost. Its text has the reason, and contains no secret."""


class Socket(Protocol):
    """A WebSocket connection. Cancelling any of its methods loses no message."""

    async def send(self, text: str) -> None:
        """Send a message; raise `SocketClosedError` if that is not possible."""
        ...

    async def receive(self) -> str | bytes:
        """Return the next message; raise `SocketClosedError` if there is none any more."""
        ...

    async def aclose(self) -> None:
        """Close the connection, within a second or two."""
        ...


OpenSocket: TypeAlias = Callable[[], Awaitable[Socket]]
"""Opens a connection; raises an `HTXError`."""
