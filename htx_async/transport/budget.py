"""Whose tokens are spent: one bucket for each endpoint of one HTX user."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from htx_async.clock import Clock
from htx_async.transport.bucket import Bucket
from htx_async.transport.queue import TokenQueue
from htx_async.transport.request import RateLimit

if TYPE_CHECKING:
    from htx_async.transport.request import Endpoint

_lock = threading.Lock()


class Budget:
    """
    The tokens of one HTX user, at all endpoints.

    Clients with one access key share one without being told. Pass one to several clients to join
    different keys of one user, which HTX counts together.

    It outlives event loops: where one is closed, the next takes its buckets over. Two loops that
    run at once, in two threads, count separately.
    """

    def __init__(self) -> None:
        self._queues: dict[str, dict[asyncio.AbstractEventLoop, TokenQueue]] = {}

    def queue(self, endpoint: Endpoint[Any], clock: Clock) -> TokenQueue:
        """Return the queue of the running loop before the tokens of *endpoint*."""
        loop = asyncio.get_running_loop()
        queue = self._queues.get(endpoint.name, {}).get(loop)
        return queue or self._open(endpoint, clock, loop)

    def _open(
        self, endpoint: Endpoint[Any], clock: Clock, loop: asyncio.AbstractEventLoop
    ) -> TokenQueue:
        with _lock:
            queues = self._queues.setdefault(endpoint.name, {})
            closed = next((other for other in queues if other.is_closed()), None)
            bucket = Bucket(self._limit(endpoint)) if closed is None else queues.pop(closed).bucket
            # What a closed loop had under way is over.
            bucket.abandon(clock.monotonic())
            queue = queues[loop] = TokenQueue(bucket, clock)
            return queue

    def known(
        self, endpoint: Endpoint[Any], clock: Clock, loop: asyncio.AbstractEventLoop | None
    ) -> TokenQueue:
        """Return the queue that *loop* has before *endpoint*, or one as it would find it."""
        queues = self._queues.get(endpoint.name, {})
        found = queues.get(loop) if loop is not None else None
        return found or TokenQueue(Bucket(self._limit(endpoint)), clock)

    def is_rested(self, now: float) -> bool:
        """Tell whether forgetting it changes nothing: every token is free again."""
        return all(bucket.is_full(now) for bucket in self._buckets())

    def _buckets(self) -> list[Bucket]:
        # Copies: another thread's loop may add to them meanwhile.
        queues = tuple(self._queues.values())
        return [queue.bucket for of_loops in queues for queue in tuple(of_loops.values())]

    def _limit(self, endpoint: Endpoint[Any]) -> RateLimit:
        return endpoint.limit

    def __repr__(self) -> str:
        shown = (f"{name}: {[*queues.values()]}" for name, queues in self._queues.items())
        return f"Budget({', '.join(shown)})"


class _Unlimited(Budget):
    def _limit(self, endpoint: Endpoint[Any]) -> RateLimit:
        del endpoint
        return RateLimit(limit=10**9, per=0.0)

    def __repr__(self) -> str:
        return "UNLIMITED"


UNLIMITED: Final[Budget] = _Unlimited()
"""No limit at all: for servers that do not count."""

_SWEEP_AT = 64
_in_use: weakref.WeakValueDictionary[str, Budget] = weakref.WeakValueDictionary()
_remembered: dict[str, Budget] = {}


def process_budget(fingerprint: str) -> Budget:
    """
    Return this process's own budget of an access key, named by its *fingerprint*.

    It outlives the clients that use it, at least until its tokens are back.
    """
    with _lock:
        budget = _in_use.get(fingerprint) or Budget()
        if len(_remembered) >= _SWEEP_AT:
            now = Clock().monotonic()
            for key in [key for key, kept in _remembered.items() if kept.is_rested(now)]:
                del _remembered[key]
        _in_use[fingerprint] = _remembered[fingerprint] = budget
        return budget
