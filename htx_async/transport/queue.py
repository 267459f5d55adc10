"""A bucket and the queue before it: first come, first served, and leaving is free."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from typing import TYPE_CHECKING

from htx_async.transport.bucket import Bucket, Grant

if TYPE_CHECKING:
    from htx_async.clock import Clock
    from htx_async.transport.request import RateLimit


class TokenQueue:
    """
    Grants the tokens of one bucket in the order in which they were asked for.

    One timer runs while somebody waits for a token that is on its way back, and none otherwise.
    """

    __slots__ = ("_clock", "_due", "_timer", "_waiting", "bucket")

    def __init__(self, limit: RateLimit, clock: Clock) -> None:
        self.bucket = Bucket(limit)
        self._clock = clock
        self._waiting: OrderedDict[asyncio.Future[Grant], None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    async def acquire(self) -> Grant:
        """Wait for a token. Who is cancelled meanwhile takes none and delays nobody."""
        if not self._waiting and (grant := self.bucket.take(self._clock.monotonic())):
            return grant
        waiter: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        self._serve()
        try:
            return await waiter
        except asyncio.CancelledError:
            self._forget(waiter)
            raise

    def give_back(self) -> None:
        """Return a token that no request has used."""
        self.bucket.give_back()
        self._serve()

    def settle(self, began: float) -> None:
        """Return a token whose answer *began* to arrive then (monotonic seconds)."""
        self.bucket.settle(began)
        self._serve()

    def _forget(self, waiter: asyncio.Future[Grant]) -> None:
        if waiter.cancelled():
            self._waiting.pop(waiter, None)
            self._serve()
        else:  # granted, and cancelled before it could run
            self.give_back()

    def _serve(self) -> None:
        """Grant what there is, then see that somebody wakes us for the next token."""
        while self._waiting and (grant := self.bucket.take(self._clock.monotonic())):
            waiter, _ = self._waiting.popitem(last=False)
            if waiter.done():  # cancelled, and not yet run since
                self.bucket.give_back()
            else:
                waiter.set_result(grant)
        self._wake_at(self.bucket.next_at() if self._waiting else math.inf)

    def _wake_at(self, due: float) -> None:
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, due
        if due < math.inf:
            delay = max(due - self._clock.monotonic(), 0.0)
            self._timer = self._clock.call_later(delay, self._wake)

    def _wake(self) -> None:
        self._timer, self._due = None, math.inf
        self._serve()

    def __len__(self) -> int:
        return len(self._waiting)
