"""Faults on the wire: what becomes of an answer on its way."""

from __future__ import annotations

import re
from typing import Literal

import attrs

from htx_async.sandbox.fault import Wire, WireFault

Where = Literal["head", "body"]

_LENGTH = re.compile(rb"(?<=\r\ncontent-length: )\d+(?=\r\n)", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"


def _split(answer: bytes) -> tuple[bytes, bytes]:
    head, end, body = answer.partition(_END_OF_HEAD)
    return head + end, body


def _cut(answer: bytes, after: int | None) -> bytes:
    """Return the head and *after* bytes of the body; `None`: half of it."""
    head, body = _split(answer)
    return head + body[: len(body) // 2 if after is None else after]


@attrs.frozen
class Refuse(WireFault):
    """The port is closed for a while."""

    seconds: float

    async def play(self, wire: Wire, answer: bytes) -> None:
        """Reset this connection and let no other one come."""
        del answer
        await wire.refuse(self.seconds)


@attrs.frozen
class Hang(WireFault):
    """Nothing comes any more."""

    where: Where

    async def play(self, wire: Wire, answer: bytes) -> None:
        """Wait until the other side has enough of it."""
        if self.where == "body":
            wire.send(_cut(answer, None))
        await wire.lost()


@attrs.frozen
class Cut(WireFault):
    """The connection is closed within the body."""

    after: int | None

    async def play(self, wire: Wire, answer: bytes) -> None:
        """Send the head and so many bytes of the body."""
        wire.send(_cut(answer, self.after))
        wire.hang_up()


@attrs.frozen
class Reset(WireFault):
    """The connection is reset before the answer."""

    async def play(self, wire: Wire, answer: bytes) -> None:
        """Send nothing."""
        del answer
        wire.reset()


@attrs.frozen
class Trickle(WireFault):
    """The answer comes byte by byte."""

    seconds: float

    async def play(self, wire: Wire, answer: bytes) -> None:
        """Send a byte, wait, and so on."""
        for at in range(len(answer)):
            wire.send(answer[at : at + 1])
            if await wire.lost(within=self.seconds):
                return


@attrs.frozen
class WrongLength(WireFault):
    """The head tells another length than the body has."""

    by: int

    async def play(self, wire: Wire, answer: bytes) -> None:
        """Tell a wrong length; close where the other side would wait for what does not come."""
        head, body = _split(answer)
        told = b"%d" % max(0, len(body) + self.by)
        wire.send(_LENGTH.sub(told, head) + body)
        if self.by > 0:
            wire.hang_up()


@attrs.frozen
class AnswerAndClose(WireFault):
    """The connection is closed after the answer, and the head did not say so."""

    async def play(self, wire: Wire, answer: bytes) -> None:
        """Send everything and close."""
        wire.send(answer)
        wire.hang_up()
