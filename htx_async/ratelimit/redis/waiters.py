"""Those who wait for tokens that a server lends, in the order in which they came."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice

import attrs

from htx_async.errors import RateLimitQueueError
from htx_async.ratelimit.redis.protocol import Away, Lease
from htx_async.ratelimit.token_bucket import Grant


@attrs.define(eq=False)
class _Caller:
    ticket: int
    told: Callable[[int, float], object]
    until: Callable[[], float]
    knows: bool = False


class Callers:
    """
    The callers of a queue; *waiting* is the queue's own record of them.

    A ticket is the number of a caller. One who has to come back keeps it.
    """

    def __init__(self, waiting: OrderedDict[asyncio.Future[Grant], None]) -> None:
        self._waiting = waiting
        self._callers: dict[asyncio.Future[Grant], _Caller] = {}
        self._tickets = itertools.count()

    def add(
        self,
        told: Callable[[int, float], object],
        until: Callable[[], float],
        ticket: int | None,
    ) -> asyncio.Future[Grant]:
        """Let one more wait: behind all others, or at the place of a *ticket* of before."""
        waiter: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        number = next(self._tickets) if ticket is None else ticket
        self._callers[waiter] = _Caller(number, told, until)
        self._waiting[waiter] = None
        if ticket is not None:
            for each in [each for each in self._waiting if self._callers[each].ticket > ticket]:
                self._waiting.move_to_end(each)
        return waiter

    def remove(self, waiter: asyncio.Future[Grant]) -> None:
        """Forget one, who has a token or has gone."""
        self._waiting.pop(waiter, None)
        self._callers.pop(waiter, None)

    def until(self, count: int) -> float:
        """Return when the attempts of the first *count* will be over."""
        firsts = islice(self._waiting, count)
        return max((self._callers[each].until() for each in firsts), default=-math.inf)

    def hand(self, lease: Lease) -> int | None:
        """Give a token to the first, and return the ticket; `None`: nobody waits."""
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_result(lease)
                return self._callers[waiter].ticket
        return None

    def fail(self, away: Away) -> None:
        """Tell all that there is no token to be had."""
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_exception(
                    RateLimitQueueError(f"no token: {away.why}", retryable=away.passes)
                )
                waiter.exception()  # its caller may be gone before it looks

    def tell(self, wait: Callable[[int], float]) -> None:
        """Tell those who do not know yet how many are ahead, and how long that takes."""
        ignorant: list[tuple[int, _Caller]] = []
        places = range(len(self._waiting) - 1, -1, -1)
        for ahead, waiter in zip(places, reversed(self._waiting), strict=True):
            caller = self._callers[waiter]
            if caller.knows:
                break
            ignorant.append((ahead, caller))
        for ahead, caller in reversed(ignorant):
            caller.knows = True
            caller.told(ahead, wait(ahead))
