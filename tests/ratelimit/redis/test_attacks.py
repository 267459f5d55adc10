"""
Faults of a real server and of the network to it, in real time: the limit holds, calls go on.

`Load` counts the requests that `limit` calls at a time send with the tokens of several workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from htx_async import NO_RETRY, Credentials, HTXClient, HTXError, RedisRateLimiter
from htx_async.clock import Clock
from htx_async.errors import RateLimitQueueError
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.redis.exchange import BucketKeys
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.sandbox import Sandbox
from tests.redis_process import RedisProcess, serving
from tests.tcp_proxy import Proxy
from tests.world import endpoint, most_in_a_window

pytestmark = pytest.mark.slow
KEYS = Credentials("access-key", "secret-key")
LIMIT = RateLimit(10, per=0.5)
TARGET = endpoint(LIMIT.requests, LIMIT.per)
BUCKET = BucketKeys.of("me", TARGET.name, LIMIT).bucket
LEASE = 11.0 + LIMIT.per


class Load:
    """Calls of *workers*, as many as are allowed, and when their requests were sent."""

    def __init__(self, urls: list[str]) -> None:
        self.sent = list[float]()
        self.errors = list[HTXError]()
        self._limiters = [RedisRateLimiter(url, user="me", command_timeout=1.0) for url in urls]
        self._queues = [limiter.queue_for(TARGET, Clock()) for limiter in self._limiters]
        self._tasks = list[asyncio.Task[None]]()

    async def __aenter__(self) -> Load:
        for queue in self._queues:
            self._tasks += [asyncio.create_task(self._call(queue)) for _ in range(LIMIT.requests)]
        await self.served_within(5.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for limiter in self._limiters:
            await limiter.aclose()
        assert most_in_a_window(self.sent, LIMIT.per) <= LIMIT.requests
        assert asyncio.all_tasks() - {asyncio.current_task()} <= _PROXIES

    async def _call(self, queue: TokenQueue) -> None:
        slots = ConnectionSlots(1)
        while True:
            try:
                async with queue.token(slots, 1.0) as token:
                    token.is_unused = False
                    self.sent.append(time.monotonic())
                    await asyncio.sleep(0.005)
                    token.first_byte_at = time.monotonic()
            except RateLimitQueueError as error:
                self.errors.append(error)
                await asyncio.sleep(0.05)

    async def served_within(self, seconds: float) -> float:
        """Wait for requests of two windows; return the seconds until the first."""
        since, number = time.monotonic(), len(self.sent)
        async with asyncio.timeout(seconds + 2 * LIMIT.per + 1.0):
            while len(self.sent) < number + 2 * LIMIT.requests:
                await asyncio.sleep(0.01)
        gap = self.sent[number] - since
        assert gap <= seconds
        return gap
