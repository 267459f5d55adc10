"""Faults in the messages of a stream: what HTX, or the network, sends instead."""

from __future__ import annotations

from typing import ClassVar

import attrs

from htx_async.sandbox.fault import Fault
from htx_async.sandbox.stream.messages import Close, Message

_INVALID_UTF8 = b"\xff"


@attrs.frozen
class MessageFault(Fault):
    """Fault that only a message can have, and not a response."""

    for_responses: ClassVar[bool] = False


@attrs.frozen
class Copies(MessageFault):
    """The message is sent *times* times; 0: it is lost."""

    times: int

    @property
    def copies(self) -> int:
        """Return the number of times that the message is sent."""
        return self.times


@attrs.frozen
class Delayed(MessageFault):
    """The message is sent later, after messages that follow it."""

    seconds: float

    @property
    def delay(self) -> float:
        """Return the seconds after which the message is sent."""
        return self.seconds


@attrs.frozen
class Unsubscribed(MessageFault):
    """The message is sent, but nothing follows: HTX forgets the subscription."""

    @property
    def refuses(self) -> bool:
        """Return `True`: nothing follows."""
        return True


@attrs.frozen
class Closed(MessageFault):
    """A close frame is sent instead of the message."""

    close: Close

    def message(self, _original: Message, /) -> Close:
        """Return the close frame."""
        return self.close


@attrs.frozen
class Fragmented(MessageFault):
    """The message is sent in several frames."""

    frames: int

    def message(self, original: Message, /) -> Message:
        """Return *original* in several frames."""
        return attrs.evolve(original, frames=self.frames)


@attrs.frozen
class Binary(MessageFault):
    """The message is sent as binary data."""

    def message(self, original: Message, /) -> Message:
        """Return *original* as binary data."""
        return attrs.evolve(original, opcode="binary")


@attrs.frozen
class InvalidUTF8(MessageFault):
    """The message is sent as text that is not UTF-8."""

    def message(self, original: Message, /) -> Message:
        """Return *original* with a byte that UTF-8 does not have."""
        return attrs.evolve(original, data=original.data + _INVALID_UTF8)
