"""A read that somebody waits for: who, until when, and how far it has come."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from htx_async.errors import HTXError
    from htx_async.transport.request import Response


class Flight:
    """
    The one thing about a request that changes: every layer may look at it.

    Sharing lets callers in and out, limiting says when an attempt leaves and is back.

    Attributes:
        until: The moment (monotonic seconds) at which the last of those who wait gives up.
        out: Whether an attempt is with the network: then it must not be cancelled.
        left: Whether any attempt was. What comes back now was asked for before.
        abandoned: Whether all who waited have gone: no further attempt is worth its token.
    """

    __slots__ = ("_waiters", "abandoned", "left", "out", "task", "until")

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[Response | HTXError]] = set()
        self.task: asyncio.Task[None] | None = None
        self.until = math.inf
        self.out = False
        self.left = False
        self.abandoned = False

    def join(self, until: float) -> asyncio.Future[Response | HTXError]:
        """Let a caller wait until *until* (monotonic seconds)."""
        self.until = max(self.until, until) if self._waiters else until
        waiter: asyncio.Future[Response | HTXError] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        return waiter

    def leave(self, waiter: asyncio.Future[Response | HTXError]) -> None:
        """Let a caller go. With the last one goes the flight, unless it is out."""
        self._waiters.discard(waiter)
        if not self._waiters:
            self.abandoned = True
            self.cancel_unless_out()

    def cancel_unless_out(self) -> None:
        """End the flight where that costs nothing: not while an attempt is with the network."""
        if self.task is not None and not self.out:
            self.task.cancel()

    def departs(self) -> None:
        """Note that an attempt leaves now."""
        self.left = self.out = True

    def returned(self) -> None:
        """Note that the attempt is over. If nobody waits any more, so is the flight."""
        self.out = False
        if self.abandoned:
            self.cancel_unless_out()

    def land(self, outcome: Response | HTXError | None) -> None:
        """Give all who wait the outcome; `None`: the flight was cancelled, and so are they."""
        for waiter in self._waiters:
            if waiter.done():
                continue
            if outcome is None:
                waiter.cancel()
            else:
                waiter.set_result(outcome)
