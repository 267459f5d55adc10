"""A limiter, two hundred tasks that use it, a network and three servers, on virtual time."""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from statistics import fmean
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import attrs

from htx_async.ratelimit.token_bucket import RateLimit
from tests.benchmarks.limiters import Kind, Limiter
from tests.virtual import VirtualClock, VirtualLoop

T = TypeVar("T")
Trips: TypeAlias = Iterator[tuple[float, float]]
"""Seconds on the way up and on the way down, one pair for each request."""

RULES: Final = (RateLimit(100, 2.0), RateLimit(2, 1.0))
"""HTX's limits of balances and of points."""
TASKS: Final = 200
_CANCELLED, _SETTLE = 1000, 0.001
_SAME_ROUND: Final = 1e-10
"""Seconds within one iteration of the event loop, whose clock has nanoseconds."""


def even_network(seed: int = 1) -> Trips:
    """Yield trips of 5 to 80 ms each way, the same for the same seed."""
    draw = random.Random(seed).uniform  # noqa: S311 - not a secret
    while True:
        yield draw(0.005, 0.080), draw(0.005, 0.080)


def rough_network(requests: int, seed: int = 1) -> Trips:
    """
    Yield even trips, but the first 50 of every 1,000 take half a second more on the way up.

    From half of *requests* on, everything takes a tenth of the time.
    """
    for number, (up, down) in enumerate(even_network(seed)):
        slow = 0.5 if number % 1000 < 50 else 0.0
        factor = 1.0 if number < requests / 2 else 0.1
        yield (up + slow) * factor, down * factor


class Server(Protocol):
    """Counts requests in the order in which they arrive; how HTX counts is not documented."""

    def admits(self, now: float) -> bool:
        """Return whether the request that arrives *now* (seconds) is within the limit."""
        ...


class FixedWindow:
    """A window opens with the first request after the last one ended, and holds *limit*."""

    def __init__(self, rule: RateLimit) -> None:
        self._rule, self._ends, self._count = rule, 0.0, 0

    def admits(self, now: float) -> bool:
        if now >= self._ends:
            self._ends, self._count = now + self._rule.per, 0
        self._count += 1
        return self._count <= self._rule.requests


class SlidingLog:
    """At most *limit* requests in the last *per* seconds."""

    def __init__(self, rule: RateLimit) -> None:
        self._rule, self._log = rule, deque[float]()

    def admits(self, now: float) -> bool:
        while self._log and self._log[0] <= now - self._rule.per:
            self._log.popleft()
        if len(self._log) >= self._rule.requests:
            return False
        self._log.append(now)
        return True


class TokenBucket:
    """A bucket of *limit*, full at first, that gets *limit* / *per* a second."""

    ROUNDING: Final = 1e-9

    def __init__(self, rule: RateLimit) -> None:
        self._rule, self._level, self._since = rule, float(rule.requests), 0.0

    def admits(self, now: float) -> bool:
        refill = (now - self._since) * self._rule.requests / self._rule.per
        self._level = min(self._level + refill, float(self._rule.requests))
        self._since = now
        if self._level < 1 - self.ROUNDING:
            return False
        self._level -= 1
        return True


SERVERS: Final[dict[str, Callable[[RateLimit], Server]]] = {
    "fixed": FixedWindow,
    "log": SlidingLog,
    "bucket": TokenBucket,
}


class CreepingLoop(VirtualLoop):
    """
    A loop on virtual time, on which reading the clock takes a nanosecond.

    A limiter that wakes a rounding error too early and looks again would look forever otherwise.
    """

    TICK: Final = 1e-9

    def __init__(self) -> None:
        self._crept = 0.0
        super().__init__()

    def time(self) -> float:
        """Return the seconds since the beginning."""
        self._crept += self.TICK
        return super().time() + self._crept


@attrs.frozen
class Outcome:
    """
    Result of one simulation.

    Attributes:
        rejections: The number of requests above the limit, by server.
        rate: Requests sent in steady state, as a share of what is allowed.
        bound: The most that the rule of this package allows: `per / (per + mean round trip)`.
        longest: Seconds of the longest wait.
        overtaken: The share of requests that were sent after one that was queued later.
    """

    rejections: dict[str, int]
    rate: float
    bound: float
    longest: float
    overtaken: float


@attrs.define
class Record:
    """What is recorded during a simulation."""

    servers: dict[str, Server]
    rejections: dict[str, int]
    sent: list[float] = attrs.field(factory=list)
    travelled: float = 0.0
    longest: float = 0.0
    last: int = -1
    overtaken: int = 0

    def send(self, number: int, queued_at: float, now: float) -> None:
        """Record that a request is sent."""
        self.sent.append(now)
        self.longest = max(self.longest, now - queued_at)
        self.overtaken += number < self.last
        self.last = max(self.last, number)

    def arrive(self, now: float) -> None:
        """Let each server count a request."""
        for name, server in self.servers.items():
            self.rejections[name] += not server.admits(now)


def steady_rate(sent: list[float], limit: int) -> float:
    """
    Return the requests a second, without the burst at the beginning.

    Compares the mean times of two whole rounds of *limit* requests, so that it does not matter
    where in a round the first and the last one are.
    """
    first, last = sent[limit : 2 * limit], sent[: len(sent) // limit * limit][-limit:]
    rounds = len(sent) // limit - 2
    seconds = fmean(last) - fmean(first)
    return rounds * limit / seconds if seconds else math.nan


def simulate(kind: Kind, rule: RateLimit, requests: int, trips: Trips) -> Outcome:
    """
    Send *requests* as quickly as a limiter allows.

    No limiter but ours learns of a 429, and a request above the limit is not repeated; so all
    servers count the same requests, and it makes no difference that there are three.
    """
    servers = {name: server(rule) for name, server in SERVERS.items()}
    record = Record(servers, dict.fromkeys(SERVERS, 0))
    numbers = iter(range(requests))

    async def work(limiter: Limiter) -> None:
        time = asyncio.get_running_loop().time
        for number in numbers:
            queued_at = time()

            async def send(number: int = number, queued_at: float = queued_at) -> float:
                record.send(number, queued_at, time())
                up, down = next(trips)
                record.travelled += up + down
                await asyncio.sleep(up)
                record.arrive(time())
                await asyncio.sleep(down)
                return time()

            await limiter.request(send)

    async def main(limiter: Limiter) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(TASKS):
                group.create_task(work(limiter))

    _on_virtual_time(kind, rule, main)
    return Outcome(
        rejections=record.rejections,
        rate=steady_rate(record.sent, rule.requests) * rule.per / rule.requests,
        bound=rule.per / (rule.per + record.travelled / requests),
        longest=record.longest,
        overtaken=record.overtaken / requests,
    )


def lost_tokens(kind: Kind, rule: RateLimit) -> tuple[int, int]:
    """
    Return the number of tokens that 1,000 cancellations cost, and that a fresh limiter has.

    All tokens are in use; 500 waiters are cancelled at once, 500 in the very moment when the first
    token can be back. The limiter rests for a period, and the grants of the next are counted.
    """

    async def fresh(limiter: Limiter) -> int:
        return await _granted(limiter, rule)

    async def after(limiter: Limiter) -> int:
        loop = asyncio.get_running_loop()
        holders = [loop.create_task(limiter.request(_respond)) for _ in range(rule.requests)]
        await asyncio.sleep(_SETTLE)
        waiters = [loop.create_task(limiter.request(_respond)) for _ in range(_CANCELLED)]
        await asyncio.sleep(_SETTLE)
        for task in waiters[::2]:
            task.cancel()
        for task in waiters[1::2]:
            # In the same round of the loop as a timer for that moment, and after it.
            loop.call_at(rule.per + _SAME_ROUND, task.cancel)
        await asyncio.sleep(2.1 * rule.per)
        granted = await _granted(limiter, rule)
        await _cancel(holders + waiters)
        return granted

    full = _on_virtual_time(kind, rule, fresh)
    return max(full - _on_virtual_time(kind, rule, after), 0), full


async def _respond() -> float:
    return asyncio.get_running_loop().time()


async def _granted(limiter: Limiter, rule: RateLimit) -> int:
    """Return the number of requests that are granted within a period, or just under."""
    granted = 0

    async def send() -> float:
        nonlocal granted
        granted += 1
        return await _respond()

    tasks = [asyncio.create_task(limiter.request(send)) for _ in range(rule.requests * 3)]
    await asyncio.sleep(rule.per * 0.999)
    await _cancel(tasks)
    return granted


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _on_virtual_time(
    kind: Kind, rule: RateLimit, main: Callable[[Limiter], Coroutine[Any, Any, T]]
) -> T:
    async def start() -> T:
        with kind.virtual(asyncio.get_running_loop()):
            return await main(kind.make(rule, VirtualClock()))

    with asyncio.Runner(loop_factory=CreepingLoop) as runner:
        return runner.run(start())
