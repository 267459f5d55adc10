"""Rate limiter of one HTX user: one token bucket for each endpoint."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Protocol

from htx_async.clock import Clock
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import RateLimit, TokenBucket, UnlimitedBucket

MAX_QUEUES = 2_000
"""Number of endpoints of a limiter above which those that are not in use are forgotten."""
_SWEPT_AT_ONCE = 2

registry_lock: threading.Lock = threading.Lock()
"""Guards the registries of queues and limiters, which threads share."""

_all: weakref.WeakSet[RateLimiter] = weakref.WeakSet()


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
        # Those that were forgotten, too, as long as somebody refers to them.
        self._in_use: weakref.WeakValueDictionary[str, TokenQueue] = weakref.WeakValueDictionary()
        # Kept, so that it is not forgotten while its queues are in use here.
        self._address_limiter: RateLimiter | None = None
        _all.add(self)

    def for_owner(self, owner: Hashable) -> RateLimiter:
        """Return the rate limiter for a client whose credentials are those of *owner*."""
        del owner
        return self

    def forget_queues(self) -> None:
        """Start with all tokens."""
        self._queues.clear()
        self._in_use.clear()

    def check(self, attempt_timeout: float) -> None:
        """Raise `InvalidInputError` if a client cannot have this `attempt_timeout`."""

    async def flush(self) -> None:
        """Wait until the running loop has nothing left to report or to close."""

    def queue_for(self, endpoint: LimitedEndpoint, clock: Clock) -> TokenQueue:
        """Return the queue for *endpoint*."""
        return self._queues.get(endpoint.name) or self._open_queue(endpoint, clock)

    def _open_queue(self, endpoint: LimitedEndpoint, clock: Clock) -> TokenQueue:
        if endpoint.signed:
            return self.own_queue(endpoint, clock)
        limiter = self._address_limiter = self._for_address(clock)
        queue = limiter.own_queue(endpoint, clock)
        with registry_lock:
            self._keep_queue(endpoint.name, queue, clock)
        return queue

    def own_queue(self, endpoint: LimitedEndpoint, clock: Clock) -> TokenQueue:
        """Return the queue for *endpoint* of this limiter, even if it is not signed."""
        with registry_lock:
            queue = self._in_use.get(endpoint.name)
            if queue is None:
                queue = self._in_use[endpoint.name] = self._new_queue(endpoint, clock)
            self._keep_queue(endpoint.name, queue, clock)
            return queue

    def _keep_queue(self, name: str, queue: TokenQueue, clock: Clock) -> None:
        """Keep *queue*; beyond `MAX_QUEUES`, forget one or two whose tokens are all free."""
        if len(self._queues) >= MAX_QUEUES:
            now = clock.monotonic()
            for other in tuple(itertools.islice(self._queues, _SWEPT_AT_ONCE)):
                swept = self._queues.pop(other)
                if not swept.is_idle_full(now):
                    self._queues[other] = swept  # the next sweep begins with others
        self._queues[name] = queue

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


def _after_fork_in_child() -> None:
    """Forget the queues of the parent process: their tokens would never be released here."""
    for limiter in tuple(_all):
        limiter.forget_queues()
    registry_lock.release()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows does not have it
    os.register_at_fork(
        before=registry_lock.acquire,
        after_in_parent=registry_lock.release,
        after_in_child=_after_fork_in_child,
    )
