"""Whose tokens are spent: one bucket for each endpoint of one HTX user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from htx_async.transport.queue import TokenQueue
from htx_async.transport.request import RateLimit

if TYPE_CHECKING:
    from htx_async.clock import Clock
    from htx_async.transport.request import Endpoint


class Budget:
    """The tokens of one HTX user, at all endpoints."""

    def __init__(self) -> None:
        self._queues: dict[str, TokenQueue] = {}

    def queue(self, endpoint: Endpoint[object], clock: Clock) -> TokenQueue:
        """Return the queue before the tokens of *endpoint*."""
        queue = self._queues.get(endpoint.name)
        if queue is None:
            queue = self._queues[endpoint.name] = TokenQueue(self._limit(endpoint), clock)
        return queue

    def _limit(self, endpoint: Endpoint[object]) -> RateLimit:
        return endpoint.limit


class _Unlimited(Budget):
    def _limit(self, endpoint: Endpoint[object]) -> RateLimit:
        del endpoint
        return RateLimit(limit=10**9, per=0.0)

    def __repr__(self) -> str:
        return "UNLIMITED"


UNLIMITED: Final[Budget] = _Unlimited()
"""No limit at all: for servers that do not count."""
