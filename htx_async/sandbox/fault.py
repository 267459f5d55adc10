"""What a fault is: something that goes wrong with one answer."""

from __future__ import annotations

import abc
from typing import Protocol

import attrs

from htx_async.sandbox.rate_windows import Verdict
from htx_async.sandbox.responses import Answer


@attrs.frozen
class Fault:
    """
    Something that goes wrong with one answer; a value, made by the functions of `faults`.

    This one itself changes nothing.
    """

    @property
    def ahead(self) -> float:
        """Return by how many seconds HTX's clock is ahead for the request."""
        return 0.0

    def answer(self, honest: Answer, version: int) -> Answer:
        """Return what is answered instead of *honest*, on a path of *version* 1 or 2."""
        del version
        return honest

    def limit(self, honest: Verdict | None, per: float) -> Verdict | None:
        """Return what the headers tell of the limit; *per*: seconds that a window lasts."""
        del per
        return honest


class Wire(Protocol):
    """One connection, below HTTP."""

    def send(self, data: bytes) -> None:
        """Send *data* as it is."""
        ...

    def hang_up(self) -> None:
        """Close the connection after what was sent."""
        ...

    def reset(self) -> None:
        """End the connection at once, and let the other side know it (RST)."""
        ...

    async def lost(self, within: float | None = None) -> bool:
        """Wait until the connection, or the server, ends; whether it did *within* seconds."""
        ...

    async def refuse(self, seconds: float) -> None:
        """Reset the connection, and refuse new ones for so long."""
        ...


@attrs.frozen
class WireFault(Fault, abc.ABC):
    """A fault below HTTP: the answer is made as ever, and does not arrive as it was made."""

    @abc.abstractmethod
    async def play(self, wire: Wire, answer: bytes) -> None:
        """Do to *wire* what is wrong; *answer* is what should have been sent, head and body."""
