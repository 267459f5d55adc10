"""Callers that wait for a leased token, in order of arrival."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice

import attrs

from htx_async.errors import RateLimitQueueError
from htx_async.ratelimit.queue import OnWait
from htx_async.ratelimit.redis.protocol import Lease, Unavailable
from htx_async.ratelimit.token_bucket import Permit


@attrs.define(eq=False)
class _Waiter:
    sequence: int
    on_wait: OnWait | None
    deadline: Callable[[], float]
    notified: bool = False


class WaiterList:
    """
    The waiters of a queue; *waiting* is the queue's own record of them.

    Each waiter has a sequence number and keeps it when its grant has to be renewed.
    """

    def __init__(self, waiting: OrderedDict[asyncio.Future[Permit], None]) -> None:
        self._waiting = waiting
        self._waiters: dict[asyncio.Future[Permit], _Waiter] = {}
        self._sequences = itertools.count()

    def add(
        self, on_wait: OnWait | None, deadline: Callable[[], float], sequence: int | None
    ) -> asyncio.Future[Permit]:
        """Add a waiter at the end, or at the position of its earlier *sequence* number."""
        waiter: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        number = next(self._sequences) if sequence is None else sequence
        self._waiters[waiter] = _Waiter(number, on_wait, deadline)
        self._waiting[waiter] = None
        if sequence is not None:
            later = [other for other in self._waiting if self._waiters[other].sequence > sequence]
            for other in later:
                self._waiting.move_to_end(other)
        return waiter

    def remove(self, waiter: asyncio.Future[Permit]) -> None:
        """Remove a waiter that has a token or was cancelled."""
        self._waiting.pop(waiter, None)
        self._waiters.pop(waiter, None)

    def deadline(self, count: int) -> float:
        """Return when the attempts of the first *count* waiters will be over."""
        first = islice(self._waiting, count)
        return max((self._waiters[waiter].deadline() for waiter in first), default=-math.inf)

    def grant_next(self, lease: Lease) -> int | None:
        """Grant a token to the first waiter; return its sequence number, `None` without waiter."""
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_result(lease)
                return self._waiters[waiter].sequence
        return None

    def fail(self, outage: Unavailable) -> None:
        """Raise `RateLimitQueueError` in all waiters."""
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_exception(
                    RateLimitQueueError(f"no token: {outage.reason}", retryable=outage.retryable)
                )
                waiter.exception()  # mark as retrieved: its caller may be cancelled first

    def notify_positions(self, wait: Callable[[int], float]) -> None:
        """Call `on_wait` of the waiters that do not know their position and wait yet."""
        uninformed: list[tuple[int, _Waiter]] = []
        positions = range(len(self._waiting) - 1, -1, -1)
        for ahead, future in zip(positions, reversed(self._waiting), strict=True):
            waiter = self._waiters[future]
            if waiter.notified:
                break
            uninformed.append((ahead, waiter))
        for ahead, waiter in reversed(uninformed):
            waiter.notified = True
            if waiter.on_wait is not None:
                waiter.on_wait(ahead, wait(ahead))
