"""What is measured: one interface, this package behind it, and a control that must fail."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import attrs

from htx_async.clock import Clock
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import Permit, RateLimit, TokenBucket
from htx_async.request import Endpoint, Request, Response
from tests.world import rate_limited

SendOne: TypeAlias = Callable[[], Awaitable[float]]
"""Sends a request, and returns when its answer began to arrive, in seconds of the loop."""

_CONNECTIONS = RateLimit(1000, per=0.0)


class Limiter(ABC):
    """A limiter as its users call it: wait, then send."""

    @abstractmethod
    async def acquire(self) -> None:
        """Wait for the right to send one request."""

    def release(self, began: float) -> None:  # noqa: B027 - most have nothing to do
        """Tell that an answer *began* to arrive; most limiters do not want to know."""

    async def request(self, send: SendOne) -> None:
        """Wait, and send."""
        await self.acquire()
        self.release(await send())


@attrs.frozen
class Kind:
    """
    A limiter that can be made.

    Attributes:
        name: As the table calls it.
        package: The distribution that it comes with; `None`: it is in here.
        make: Makes one for a rule, with the clock to use.
        virtual: Lets its time be that of a loop, for as long as the context is open.
    """

    name: str
    package: str | None
    make: Callable[[RateLimit, Clock], Limiter]
    virtual: Callable[[asyncio.AbstractEventLoop], AbstractContextManager[object]] = nullcontext


class Ours(Limiter):
    """The layer `RateLimiting`; its queue alone where only the limiter's own cost is of interest."""

    def __init__(self, rule: RateLimit, clock: Clock) -> None:
        self._clock = clock
        self._endpoint = Endpoint("/v1/limits", rule, bytes)
        self._rate_limiter = RateLimiter()
        self._slots = TokenQueue(TokenBucket(_CONNECTIONS), clock)
        self._queue = self._rate_limiter.queue_for(self._endpoint, clock)
        self._grant = Permit(0, 0)

    async def acquire(self) -> None:
        """Take a token."""
        self._grant = await self._queue.acquire()

    def release(self, began: float) -> None:
        """Return a token."""
        self._queue.release_at(self._grant, began)

    async def request(self, send: SendOne) -> None:
        """Go through the layer."""

        async def carry(request: Request) -> Response:
            del request
            return Response(200, {}, b"", first_byte_at=await send())

        clock = self._clock
        limiting = rate_limited(carry, self._rate_limiter, clock, self._slots)
        await limiting(Request(self._endpoint, self._endpoint.path))


class Refilling(Limiter):
    """The plain token bucket: *limit* at once, then *limit* / *per* a second, in order."""

    def __init__(self, rule: RateLimit, clock: Clock) -> None:
        self._rule = rule
        self._clock = clock
        self._level, self._since = float(rule.requests), clock.monotonic()
        self._turn = asyncio.Lock()

    async def acquire(self) -> None:
        """Wait until the bucket holds one, and take it."""
        rate = self._rule.requests / self._rule.per
        async with self._turn:
            self._refill(rate)
            if self._level < 1:
                await self._clock.sleep((1 - self._level) / rate)
                self._refill(rate)
            self._level -= 1

    def _refill(self, rate: float) -> None:
        now = self._clock.monotonic()
        self._level = min(self._level + (now - self._since) * rate, float(self._rule.requests))
        self._since = now


OURS = Kind("htx_async", None, Ours)
CONTROL = Kind("plain bucket", None, Refilling)
