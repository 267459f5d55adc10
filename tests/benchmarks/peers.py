"""The other limiters, each as its users call it, and how to let it run on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module, metadata
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from htx_async.clock import Clock
from htx_async.ratelimit.token_bucket import RateLimit
from tests.benchmarks.limiters import Kind, Limiter
from tests.virtual import DAY


class AioLimiter(Limiter):
    """aiolimiter, a leaky bucket; it lives on the loop's time."""

    def __init__(self, rule: RateLimit, clock: Clock) -> None:
        del clock
        module: Any = import_module("aiolimiter")
        self._limiter = module.AsyncLimiter(rule.requests, rule.per)

    async def acquire(self) -> None:
        """Do what `async with limiter:` does."""
        await self._limiter.acquire()


class PyrateLimiter(Limiter):
    """pyrate-limiter, a sliding log; without its thread that clears the log every 10 s."""

    def __init__(self, rule: RateLimit, clock: Clock) -> None:
        del clock
        module: Any = import_module("pyrate_limiter")
        bucket = module.InMemoryBucket([module.Rate(rule.requests, round(rule.per * 1000))])
        factory: Any = import_module("pyrate_limiter.limiter").SingleBucketFactory
        self._limiter = module.Limiter(factory(bucket, schedule_leak=False))

    async def acquire(self) -> None:
        """Wait as long as it takes."""
        await self._limiter.try_acquire_async("limits")


class Limits(Limiter):
    """limits: it only says no, so its users wait until the window is reset, and ask again."""

    def __init__(self, rule: RateLimit, clock: Clock, strategy: str) -> None:
        self._clock = clock
        storage: Any = import_module("limits.aio.storage").MemoryStorage()
        strategies: Any = import_module("limits.aio.strategies")
        self._limiter = getattr(strategies, strategy)(storage)
        module: Any = import_module("limits")
        self._item = module.RateLimitItemPerSecond(rule.requests, round(rule.per))

    async def acquire(self) -> None:
        """Wait as its quickstart does: until `reset_time`."""
        while not await self._limiter.hit(self._item, "limits"):
            window = await self._limiter.get_window_stats(self._item, "limits")
            await asyncio.sleep(max(window.reset_time - self._clock.now(), 0.001))


class Ccxt(Limiter):
    """ccxt's throttler with the figures of its `htx`: a bucket of 1, at 50/s a cost of 0.2."""

    RATE_LIMIT: Final = 100.0
    """Milliseconds for a cost of 1: `rateLimit` of ccxt's `htx`."""

    def __init__(self, rule: RateLimit, clock: Clock, burst: float = 1.0) -> None:
        del clock
        module: Any = import_module("ccxt.async_support.base.throttler")
        self._cost = rule.per * 1000 / rule.requests / self.RATE_LIMIT
        config = {"refillRate": 1 / self.RATE_LIMIT, "capacity": burst, "delay": 0.001}
        self._throttler = module.Throttler(config)

    async def acquire(self) -> None:
        """Wait as a request of ccxt does."""
        await self._throttler(self._cost)

    def fill(self, requests: int) -> None:
        """Let *requests* go without a wait: to measure what one costs that need not wait."""
        self._throttler.config["tokens"] = self._cost * requests


def _limits(strategy: str) -> Callable[[RateLimit, Clock], Limiter]:
    def make(rule: RateLimit, clock: Clock) -> Limiter:
        return Limits(rule, clock, strategy)

    return make


def _pyrate_on(loop: asyncio.AbstractEventLoop) -> AbstractContextManager[object]:
    return patch("pyrate_limiter.clocks.monotonic_ns", lambda: round(loop.time() * 1e9))


def _limits_on(loop: asyncio.AbstractEventLoop) -> AbstractContextManager[object]:
    """Drive its clock, and let its worker thread, for which no virtual time passes, work here."""

    async def here(function: Callable[..., object], *arguments: object) -> object:
        return function(*arguments)

    replaced = {
        "time": SimpleNamespace(time=lambda: DAY + loop.time()),
        "asyncio": SimpleNamespace(**{**vars(asyncio), "to_thread": here}),
    }
    module: Any = import_module("limits.aio.storage.memory")
    return patch.dict(vars(module), replaced)


def _ccxt_on(loop: asyncio.AbstractEventLoop) -> AbstractContextManager[object]:
    return patch("ccxt.async_support.base.throttler.time", lambda: DAY + loop.time())


PEERS: Final[tuple[Kind, ...]] = (
    Kind("aiolimiter", "aiolimiter", AioLimiter),
    Kind("pyrate-limiter", "pyrate-limiter", PyrateLimiter, _pyrate_on),
    Kind("limits, moving", "limits", _limits("MovingWindowRateLimiter"), _limits_on),
    Kind("limits, fixed", "limits", _limits("FixedWindowRateLimiter"), _limits_on),
    Kind("ccxt", "ccxt", Ccxt, _ccxt_on),
)


def version(package: str) -> str | None:
    """Return the version of an installed *package*; `None`: it is absent."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def installed() -> tuple[Kind, ...]:
    """Return those that can be measured here."""
    return tuple(kind for kind in PEERS if kind.package and version(kind.package))


def absent() -> tuple[str, ...]:
    """Return the packages that are not installed here."""
    packages = dict.fromkeys(kind.package for kind in PEERS if kind.package)
    return tuple(package for package in packages if version(package) is None)
