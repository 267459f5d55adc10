"""Rate limiter of one HTX user: one token bucket for each endpoint."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Hashable
from typing import Final, Protocol

from htx_async.clock import Clock
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import RateLimit, TokenBucket, UnlimitedBucket

registry_lock: threading.Lock = threading.Lock()
"""Guards the registries of queues and limiters, which loops in several threads change."""


class LimitedEndpoint(Protocol):
    """An endpoint with a rate limit."""

    @property
    def name(self) -> str:
        """Unique name: method and path."""
        ...

    @property
    def limit(self) -> RateLimit:
        """Limit for one user, whatever the parameters."""
        ...


class RateLimiter:
    """
    Rate limiter of one HTX user, for all endpoints.

    Clients with the same access key share one automatically. Pass one to several clients to
    combine different keys of the same user, which HTX counts together.

    A rate limiter outlives event loops: a new loop takes over the buckets of a closed one. Loops
    that run at the same time, in several threads, are counted separately; `RedisRateLimiter`
    combines them, and processes too.
    """

    def __init__(self) -> None:
        self._queues: dict[str, dict[asyncio.AbstractEventLoop, TokenQueue]] = {}

    def for_owner(self, owner: Hashable) -> RateLimiter:
        """Return the rate limiter for a client whose credentials are those of *owner*."""
        del owner
        return self

    async def flush(self) -> None:
        """Wait until the running loop has nothing left to report or to close."""

    def queue_for(self, endpoint: LimitedEndpoint, clock: Clock) -> TokenQueue:
        """Return the running loop's queue for *endpoint*."""
        loop = asyncio.get_running_loop()
        queue = self._queues.get(endpoint.name, {}).get(loop)
        return queue or self._open_queue(endpoint, clock, loop)

    def _open_queue(
        self, endpoint: LimitedEndpoint, clock: Clock, loop: asyncio.AbstractEventLoop
    ) -> TokenQueue:
        with registry_lock:
            queues = self._queues.setdefault(endpoint.name, {})
            closed = next((other for other in queues if other.is_closed()), loop)
            previous = queues.pop(closed, None)
            queue = queues[loop] = self._new_queue(previous, endpoint, clock)
            return queue

    def _new_queue(
        self, previous: TokenQueue | None, endpoint: LimitedEndpoint, clock: Clock
    ) -> TokenQueue:
        """Return a queue that takes over the bucket of *previous*, the queue of a closed loop."""
        if previous is None:
            return TokenQueue(self._new_bucket(endpoint.limit), clock)
        return TokenQueue(previous.bucket.fork(clock.monotonic()), clock)

    def peek(
        self, endpoint: LimitedEndpoint, clock: Clock, loop: asyncio.AbstractEventLoop | None
    ) -> TokenQueue:
        """Return the queue of *loop* for *endpoint*; a new one is not registered."""
        queues = self._queues.get(endpoint.name, {})
        if loop is not None and loop in queues:
            return queues[loop]
        previous = next((queue for other, queue in queues.items() if other.is_closed()), None)
        return self._new_queue(previous, endpoint, clock)

    def is_idle_full(self, now: float) -> bool:
        """Return whether every token is free, so that discarding the limiter loses no state."""
        return all(bucket.is_full(now) for bucket in self._buckets())

    def _buckets(self) -> list[TokenBucket]:
        # Copies, because the loop of another thread may add queues meanwhile.
        queues = tuple(self._queues.values())
        return [queue.bucket for by_loop in queues for queue in tuple(by_loop.values())]

    def _new_bucket(self, limit: RateLimit) -> TokenBucket:
        return TokenBucket(limit)

    def __repr__(self) -> str:
        endpoints = (f"{name}: {[*queues.values()]}" for name, queues in self._queues.items())
        return f"RateLimiter({', '.join(endpoints)})"


class _Unlimited(RateLimiter):
    def _new_bucket(self, limit: RateLimit) -> TokenBucket:
        del limit
        return UnlimitedBucket()

    def __repr__(self) -> str:
        return "UNLIMITED"


UNLIMITED: Final[RateLimiter] = _Unlimited()
"""Rate limiter without a limit, for servers that do not count requests."""

_SWEEP_AT = 64
_active: weakref.WeakValueDictionary[Hashable, RateLimiter] = weakref.WeakValueDictionary()
_recent: dict[Hashable, RateLimiter] = {}


def shared_rate_limiter(owner: Hashable) -> RateLimiter:
    """
    Return the rate limiter that all clients of *owner* share in this process.

    It outlives those clients, at least until all of its tokens are free.

    Args:
        owner: Fingerprint of an access key, or a credentials provider.
    """
    with registry_lock:
        limiter = _active.get(owner) or RateLimiter()
        if len(_recent) >= _SWEEP_AT:
            now = Clock().monotonic()
            for key in [key for key, recent in _recent.items() if recent.is_idle_full(now)]:
                del _recent[key]
        _active[owner] = _recent[owner] = limiter
        return limiter
