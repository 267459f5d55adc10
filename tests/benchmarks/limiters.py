"""Rate limiters behind one interface: this package, a control that must fail, and others."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Final, TypeAlias
from unittest.mock import patch

import attrs

from htx_async.clock import Clock
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Request, Response
from tests.benchmarks.tables import version
from tests.virtual import DAY
from tests.world import rate_limited

Send: TypeAlias = Callable[[], Awaitable[float]]
"""Sends a request, and returns when its response began to arrive, in seconds of the loop."""
_CONNECTIONS: Final = 1000


class Limiter(ABC):
    """A limiter as its users call it."""

    @abstractmethod
    async def request(self, send: Send) -> None:
        """Wait for the right to send one request, and send it."""


class AcquiringLimiter(Limiter):
    """A limiter that does not learn when the response arrives."""

    @abstractmethod
    async def acquire(self) -> None:
        """Wait for the right to send one request."""

    async def request(self, send: Send) -> None:
        await self.acquire()
        await send()


class Ours(Limiter):
    """The middleware `RateLimiting`."""

    def __init__(self, rule: RateLimit, clock: Clock) -> None:
        self._clock = clock
        self._endpoint = Endpoint("/v1/limits", rule, bytes)
        self._limiter = RateLimiter()
        self._slots = ConnectionSlots(_CONNECTIONS)

    async def request(self, send: Send) -> None:

        async def respond(request: Request) -> Response:
            del request
            return Response(200, {}, b"", first_byte_at=await send())

        clock = self._clock
        limiting = rate_limited(respond, self._limiter, clock, self._slots)
        await limiting(Request(self._endpoint, self._endpoint.path))


class PlainBucket(AcquiringLimiter):
    """The plain token bucket: *limit* at once, then *limit* / *per* a second, in order."""

    def __init__(self, rule: RateLimit, clock: Clock) -> None:
        self._rule, self._clock = rule, clock
        self._level, self._since = float(rule.requests), clock.monotonic()
        self._turn = asyncio.Lock()

    async def acquire(self) -> None:
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


class PyrateLimiter(AcquiringLimiter):
    """pyrate-limiter, a sliding log; without its thread that clears the log every 10 s."""

    def __init__(self, rule: RateLimit, clock: Clock) -> None:
        del clock
        module: Any = import_module("pyrate_limiter")
        bucket = module.InMemoryBucket([module.Rate(rule.requests, round(rule.per * 1000))])
        factory: Any = import_module("pyrate_limiter.limiter").SingleBucketFactory
        self._limiter = module.Limiter(factory(bucket, schedule_leak=False))

    async def acquire(self) -> None:
        await self._limiter.try_acquire_async("limits")


class Limits(AcquiringLimiter):
    """limits only rejects, so its users wait until the window is reset, and call it again."""

    def __init__(self, strategy: str, rule: RateLimit, clock: Clock) -> None:
        self._clock = clock
        storage: Any = import_module("limits.aio.storage").MemoryStorage()
        strategies: Any = import_module("limits.aio.strategies")
        self._limiter = getattr(strategies, strategy)(storage)
        module: Any = import_module("limits")
        self._item = module.RateLimitItemPerSecond(rule.requests, round(rule.per))

    async def acquire(self) -> None:
        """Wait until `reset_time`, as its quickstart does."""
        while not await self._limiter.hit(self._item, "limits"):
            window = await self._limiter.get_window_stats(self._item, "limits")
            await asyncio.sleep(max(window.reset_time - self._clock.now(), 0.001))


class Ccxt(AcquiringLimiter):
    """ccxt's throttler with the figures of its `htx`: a bucket of 1, at 50/s a cost of 0.2."""

    RATE_LIMIT: Final = 100.0
    """Milliseconds for a cost of 1: `rateLimit` of ccxt's `htx`."""

    def __init__(self, rule: RateLimit, clock: Clock) -> None:
        del clock
        module: Any = import_module("ccxt.async_support.base.throttler")
        self._cost = rule.per * 1000 / rule.requests / self.RATE_LIMIT
        config = {"refillRate": 1 / self.RATE_LIMIT, "capacity": 1.0, "delay": 0.001}
        self._throttler = module.Throttler(config)

    async def acquire(self) -> None:
        await self._throttler(self._cost)


def _pyrate_clock(loop: asyncio.AbstractEventLoop) -> AbstractContextManager[object]:
    return patch("pyrate_limiter.clocks.monotonic_ns", lambda: round(loop.time() * 1e9))


def _limits_clock(loop: asyncio.AbstractEventLoop) -> AbstractContextManager[object]:
    """Replace its clock, and run its worker thread, for which no virtual time passes, here."""

    async def here(function: Callable[..., object], *arguments: object) -> object:
        return function(*arguments)

    replaced = {
        "time": SimpleNamespace(time=lambda: DAY + loop.time()),
        "asyncio": SimpleNamespace(**{**vars(asyncio), "to_thread": here}),
    }
    module: Any = import_module("limits.aio.storage.memory")
    return patch.dict(vars(module), replaced)


def _ccxt_clock(loop: asyncio.AbstractEventLoop) -> AbstractContextManager[object]:
    return patch("ccxt.async_support.base.throttler.time", lambda: DAY + loop.time())


@attrs.frozen
class Kind:
    """
    A limiter that takes part.

    Attributes:
        name: Its name in the table.
        make: Creates one for a rule and a clock.
        package: The distribution that it comes with; `None`: this one.
        virtual: Replaces its clock by that of a loop while the context is open.
    """

    name: str
    make: Callable[[RateLimit, Clock], Limiter]
    package: str | None = None
    virtual: Callable[[asyncio.AbstractEventLoop], AbstractContextManager[object]] = nullcontext


OURS: Final = Kind("htx_async", Ours)
CONTROL: Final = Kind("plain bucket", PlainBucket)
_MOVING, _FIXED = "MovingWindowRateLimiter", "FixedWindowRateLimiter"
PEERS: Final = (
    Kind("pyrate-limiter", PyrateLimiter, "pyrate-limiter", _pyrate_clock),
    Kind("limits, moving", partial(Limits, _MOVING), "limits", _limits_clock),
    Kind("limits, fixed", partial(Limits, _FIXED), "limits", _limits_clock),
    Kind("ccxt", Ccxt, "ccxt", _ccxt_clock),
)


def installed() -> tuple[Kind, ...]:
    """Return ours, the control, and the peers that are installed."""
    return (OURS, CONTROL, *(kind for kind in PEERS if kind.package and version(kind.package)))
