"""Whose tokens are spent: one bucket for each endpoint of one HTX user."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final

from htx_async.clock import Clock
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import Bottomless, Bucket

if TYPE_CHECKING:
    from htx_async.request import Endpoint

lock: threading.Lock = threading.Lock()
"""Of what several loops, in several threads, may change."""


class RateLimiter:
    """
    The tokens of one HTX user, at all endpoints.

    Clients with one access key share one without being told. Pass one to several clients to join
    different keys of one user, which HTX counts together.

    It outlives event loops: where one is closed, the next takes its buckets over. Two loops that
    run at once, in two threads, count separately; `RedisRateLimiter` joins them, and processes.
    """

    def __init__(self) -> None:
        self._queues: dict[str, dict[asyncio.AbstractEventLoop, TokenQueue]] = {}

    def for_keys(self, owner: Hashable) -> RateLimiter:
        """Return the budget that a client spends whose keys are *owner*'s: this one."""
        del owner
        return self

    async def settled(self) -> None:
        """Return once nothing of the running loop is left to be told, or open: clients close."""

    def queue(self, endpoint: Endpoint[Any], clock: Clock) -> TokenQueue:
        """Return the queue of the running loop before the tokens of *endpoint*."""
        loop = asyncio.get_running_loop()
        queue = self._queues.get(endpoint.name, {}).get(loop)
        return queue or self._open(endpoint, clock, loop)

    def _open(
        self, endpoint: Endpoint[Any], clock: Clock, loop: asyncio.AbstractEventLoop
    ) -> TokenQueue:
        with lock:
            queues = self._queues.setdefault(endpoint.name, {})
            closed = next((other for other in queues if other.is_closed()), loop)
            left = queues.pop(closed, None)
            queue = queues[loop] = self._found(left, endpoint, clock)
            return queue

    def _found(self, left: TokenQueue | None, endpoint: Endpoint[Any], clock: Clock) -> TokenQueue:
        """Return a queue as a new loop finds it: with the bucket that a closed one has left."""
        if left is None:
            return TokenQueue(self._bucket(endpoint), clock)
        return TokenQueue(left.bucket.successor(clock.monotonic()), clock)

    def known(
        self, endpoint: Endpoint[Any], clock: Clock, loop: asyncio.AbstractEventLoop | None
    ) -> TokenQueue:
        """Return the queue that *loop* has before *endpoint*, or one as it would find it."""
        queues = self._queues.get(endpoint.name, {})
        if loop is not None and loop in queues:
            return queues[loop]
        left = next((queue for other, queue in queues.items() if other.is_closed()), None)
        return self._found(left, endpoint, clock)

    def is_rested(self, now: float) -> bool:
        """Tell whether forgetting it changes nothing: every token is free again."""
        return all(bucket.is_full(now) for bucket in self._buckets())

    def _buckets(self) -> list[Bucket]:
        # Copies: another thread's loop may add to them meanwhile.
        queues = tuple(self._queues.values())
        return [queue.bucket for of_loops in queues for queue in tuple(of_loops.values())]

    def _bucket(self, endpoint: Endpoint[Any]) -> Bucket:
        return Bucket(endpoint.limit)

    def __repr__(self) -> str:
        shown = (f"{name}: {[*queues.values()]}" for name, queues in self._queues.items())
        return f"RateLimiter({', '.join(shown)})"


class _Unlimited(RateLimiter):
    def _bucket(self, endpoint: Endpoint[Any]) -> Bucket:
        del endpoint
        return Bottomless()

    def __repr__(self) -> str:
        return "UNLIMITED"


UNLIMITED: Final[RateLimiter] = _Unlimited()
"""No limit at all: for servers that do not count."""

_SWEEP_AT = 64
_in_use: weakref.WeakValueDictionary[Hashable, RateLimiter] = weakref.WeakValueDictionary()
_remembered: dict[Hashable, RateLimiter] = {}


def shared_rate_limiter(owner: Hashable) -> RateLimiter:
    """
    Return this process's own budget of *owner*: the fingerprint of an access key, or a provider.

    It outlives the clients that use it, at least until its tokens are back.
    """
    with lock:
        budget = _in_use.get(owner) or RateLimiter()
        if len(_remembered) >= _SWEEP_AT:
            now = Clock().monotonic()
            for key in [key for key, kept in _remembered.items() if kept.is_rested(now)]:
                del _remembered[key]
        _in_use[owner] = _remembered[owner] = budget
        return budget
