"""Faults of the connection: what happens to a complete response or message on its way."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

import attrs

from htx_async.sandbox.connection import ConnectionFault, FaultyConnection

Where = Literal["head", "body"]

_LENGTH = re.compile(rb"(?<=\r\ncontent-length: )\d+(?=\r\n)", re.IGNORECASE)
_ACCEPT = re.compile(rb"(?<=\r\nsec-websocket-accept: )[^\r]+(?=\r\n)", re.IGNORECASE)
_WRONG_ACCEPT = b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="  # the right form
_END_OF_HEAD = b"\r\n\r\n"


def _split(response: bytes) -> tuple[bytes, bytes]:
    if not response.startswith(b"HTTP/"):  # the frames of a message
        return b"", response
    head, end, body = response.partition(_END_OF_HEAD)
    return head + end, body


def _truncate(response: bytes, size: int | None) -> bytes:
    """Return the head and *size* bytes of the body; `None`: half of it."""
    head, body = _split(response)
    return head + body[: len(body) // 2 if size is None else size]


@attrs.frozen
class Refuse(ConnectionFault):
    """The port is closed for a while."""

    seconds: float

    async def play(self, connection: FaultyConnection, _response: bytes, /) -> None:
        """Reset the connection and refuse new ones."""
        await connection.refuse(self.seconds)


@attrs.frozen
class Hang(ConnectionFault):
    """The response stops, and the connection stays open."""

    where: Where

    async def play(self, connection: FaultyConnection, response: bytes, /) -> None:
        """Wait until the client closes the connection."""
        if self.where == "body":
            connection.send(_truncate(response, None))
        await connection.wait_lost()


@attrs.frozen
class Cut(ConnectionFault):
    """The connection is closed within the body."""

    after: int | None

    async def play(self, connection: FaultyConnection, response: bytes, /) -> None:
        """Send the head and part of the body, and close."""
        connection.send(_truncate(response, self.after))
        connection.disconnect()


@attrs.frozen
class Reset(ConnectionFault):
    """The connection is reset before the response."""

    async def play(self, connection: FaultyConnection, _response: bytes, /) -> None:
        """Reset the connection."""
        connection.reset()


@attrs.frozen
class Trickle(ConnectionFault):
    """The response arrives byte by byte."""

    seconds: float

    async def play(self, connection: FaultyConnection, response: bytes, /) -> None:
        """Send one byte at a time, with a pause after each."""
        for at in range(len(response)):
            connection.send(response[at : at + 1])
            if await connection.wait_lost(self.seconds):
                return


@attrs.frozen
class WrongLength(ConnectionFault):
    """`Content-Length` is not the length of the body."""

    for_messages: ClassVar[bool] = False
    by: int

    async def play(self, connection: FaultyConnection, response: bytes, /) -> None:
        """Send the wrong length; close if the client would wait for more bytes."""
        head, body = _split(response)
        length = b"%d" % max(0, len(body) + self.by)
        connection.send(_LENGTH.sub(length, head) + body)
        if self.by > 0:
            connection.disconnect()


@attrs.frozen
class AnswerAndClose(ConnectionFault):
    """The connection is closed after the response, and the head does not announce it."""

    async def play(self, connection: FaultyConnection, response: bytes, /) -> None:
        """Send the response and close."""
        connection.send(response)
        connection.disconnect()


@attrs.frozen
class WrongAccept(ConnectionFault):
    """The handshake of a stream has a wrong `Sec-WebSocket-Accept`."""

    for_messages: ClassVar[bool] = False

    async def play(self, connection: FaultyConnection, response: bytes, /) -> None:
        """Send the response with the wrong header."""
        connection.send(_ACCEPT.sub(_WRONG_ACCEPT, response))
