"""Rate limiter of one HTX user: one token bucket for each endpoint."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Protocol

from htx_async.clock import Clock
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import RateLimit, TokenBucket, UnlimitedBucket

registry_lock: threading.Lock = threading.Lock()
"""Guards the registries of queues and limiters, which threads share."""


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

    @property
    def signed(self) -> bool:
        """Whether HTX counts its requests by user; else by IP address."""
        ...


class RateLimiter:
    """
    Rate limiter of one HTX user, for all endpoints.

    Clients with the same access key share one automatically. Pass one to several clients to
    combine different keys of the same user, which HTX counts together. `RedisRateLimiter` combines
    processes.

    It has one bucket for each endpoint, in all threads and event loops of the process. Unsigned
    requests are counted by IP address: all limiters of the process share the buckets for them.
    """

    def __init__(self) -> None:
        self._queues: dict[str, TokenQueue] = {}
        # Kept, so that it is not forgotten while its queues are in use here.
        self._address_limiter: RateLimiter | None = None

    def for_owner(self, owner: Hashable) -> RateLimiter:
        """Return the rate limiter for a client whose credentials are those of *owner*."""
        del owner
        return self

    def check(self, attempt_timeout: float) -> None:
        """Raise `InvalidInputError` if a client cannot have this `attempt_timeout`."""

    async def flush(self) -> None:
        """Wait until the running loop has nothing left to report or to close."""

    def queue_for(self, endpoint: LimitedEndpoint, clock: Clock) -> TokenQueue:
        """Return the queue for *endpoint*."""
        return self._queues.get(endpoint.name) or self._open_queue(endpoint, clock)

    def _open_queue(self, endpoint: LimitedEndpoint, clock: Clock) -> TokenQueue:
        limiter = self
        if not endpoint.signed:
            limiter = self._address_limiter = self._for_address(clock)
        queue = self._queues[endpoint.name] = limiter.own_queue(endpoint, clock)
        return queue

    def own_queue(self, endpoint: LimitedEndpoint, clock: Clock) -> TokenQueue:
        """Return the queue for *endpoint* of this limiter, even if it is not signed."""
        with registry_lock:
            queue = self._queues.get(endpoint.name)
            if queue is None:
                queue = self._queues[endpoint.name] = self._new_queue(endpoint, clock)
            return queue

    def _for_address(self, clock: Clock) -> RateLimiter:
        """Return the limiter of this machine's IP address; a simulation has one of its own."""
        if type(clock) is Clock:
            return shared_rate_limiter("IP address")
        with registry_lock:
            # Not `_recent`, which uses the system's time. The limiter's queues keep the clock.
            return _active.setdefault(("IP address", id(clock)), RateLimiter())

    def _new_queue(self, endpoint: LimitedEndpoint, clock: Clock) -> TokenQueue:
        return TokenQueue(TokenBucket(endpoint.limit), clock, endpoint.name)

    def is_idle_full(self, now: float) -> bool:
        """Return whether every token is free, so that discarding the limiter loses no state."""
        return all(queue.is_idle_full(now) for queue in tuple(self._queues.values()))

    def __repr__(self) -> str:
        endpoints = (f"{name}: {queue!r}" for name, queue in tuple(self._queues.items()))
        return f"RateLimiter({', '.join(endpoints)})"


class _Unlimited(RateLimiter):
    def _for_address(self, clock: Clock) -> RateLimiter:
        del clock
        return self

    def _new_queue(self, endpoint: LimitedEndpoint, clock: Clock) -> TokenQueue:
        return TokenQueue(UnlimitedBucket(), clock, endpoint.name)

    def __repr__(self) -> str:
        return "UNLIMITED"


UNLIMITED: Final[RateLimiter] = _Unlimited()
"""Rate limiter without a limit, for servers that do not count requests."""

_SWEPT_AT_ONCE = 2
_active: weakref.WeakValueDictionary[Hashable, RateLimiter] = weakref.WeakValueDictionary()
_recent: OrderedDict[Hashable, RateLimiter] = OrderedDict()


def shared_rate_limiter(owner: Hashable) -> RateLimiter:
    """
    Return the rate limiter that all clients of *owner* share in this process.

    It outlives those clients, at least until all of its tokens are free.

    Args:
        owner: Fingerprint of an access key, a credentials provider, or an IP address.
    """
    with registry_lock:
        now = Clock().monotonic()
        for key, recent in list(itertools.islice(_recent.items(), _SWEPT_AT_ONCE)):
            if recent.is_idle_full(now):
                del _recent[key]
            else:
                _recent.move_to_end(key)
        limiter = _active.get(owner) or RateLimiter()
        _active[owner] = _recent[owner] = limiter
        return limiter
