"""A limiter, two hundred that wait for it, a network and three servers, on virtual time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from statistics import fmean
from typing import Any, Final, TypeVar

import attrs

from htx_async.ratelimit.token_bucket import RateLimit
from tests.benchmarks.limiters import Kind, Limiter
from tests.benchmarks.network import Trips
from tests.benchmarks.servers import SERVERS, Server
from tests.virtual import VirtualClock, VirtualLoop

T = TypeVar("T")

RULES: Final = (RateLimit(100, 2.0), RateLimit(2, 1.0))
"""What HTX allows: of balances, and of points."""

WAITERS: Final = 200
_CANCELLED: Final = 1000
_MOMENT: Final = 0.001
_SAME_ROUND: Final = 1e-10
"""Seconds by which a timer is later, and still in the same round of the loop: its clock's tick
is a nanosecond."""


class CreepingLoop(VirtualLoop):
    """
    A loop on virtual time, on which to look at the clock takes a nanosecond.

    A limiter that wakes a rounding error too early and looks again would look forever otherwise.
    """

    LOOK: Final = 1e-9

    def __init__(self) -> None:
        self._looked = 0.0
        super().__init__()

    def time(self) -> float:
        """Return the seconds since the beginning."""
        self._looked += self.LOOK
        return super().time() + self._looked


@attrs.frozen
class Outcome:
    """
    What a limiter did.

    Attributes:
        refusals: How many requests each server refused.
        rate: Requests sent in steady state, as a share of what is allowed.
        bound: The most that the rule of this package allows: `per / (per + mean round trip)`.
        longest: Seconds of the longest wait.
        overtaken: The share of requests that left after one that was asked for later.
    """

    refusals: dict[str, int]
    rate: float
    bound: float
    longest: float
    overtaken: float


@attrs.define
class Record:
    """What is noted while it runs."""

    servers: dict[str, Server]
    refusals: dict[str, int]
    left: list[float] = attrs.field(factory=list)
    travelled: float = 0.0
    longest: float = 0.0
    last: int = -1
    overtaken: int = 0

    def leaves(self, number: int, asked: float, now: float) -> None:
        """Note that the request *number*, *asked* for then, is sent *now*."""
        self.left.append(now)
        self.longest = max(self.longest, now - asked)
        self.overtaken += number < self.last
        self.last = max(self.last, number)

    def arrives(self, now: float) -> None:
        """Let each server count."""
        for name, server in self.servers.items():
            self.refusals[name] += not server.admits(now)


def steady_rate(left: list[float], limit: int) -> float:
    """
    Return the requests a second, without the burst at the beginning.

    Compares the mean times of two whole rounds of *limit* requests, so that it does not matter
    where in a round the first and the last one are.
    """
    first, last = left[limit : 2 * limit], left[: len(left) // limit * limit][-limit:]
    rounds = len(left) // limit - 2
    seconds = fmean(last) - fmean(first)
    return rounds * limit / seconds if seconds else math.nan


def simulate(
    kind: Kind, rule: RateLimit, requests: int, trips: Trips, waiters: int = WAITERS
) -> Outcome:
    """
    Send *requests* as quickly as a limiter lets *waiters* do.

    No limiter but ours would hear of a refusal, and nobody repeats a refused request; so all
    servers count the same requests, and it makes no difference that there are three.
    """
    record = Record(
        {name: server(rule) for name, server in SERVERS.items()}, dict.fromkeys(SERVERS, 0)
    )
    numbers = iter(range(requests))

    async def work(limiter: Limiter) -> None:
        time = asyncio.get_running_loop().time
        for number in numbers:
            asked = time()

            async def send(number: int = number, asked: float = asked) -> float:
                record.leaves(number, asked, time())
                up, down = next(trips)
                record.travelled += up + down
                await asyncio.sleep(up)
                record.arrives(time())
                await asyncio.sleep(down)
                return time()

            await limiter.request(send)

    async def main(limiter: Limiter) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(waiters):
                group.create_task(work(limiter))

    _on_virtual_time(kind, rule, main)
    return Outcome(
        refusals=record.refusals,
        rate=steady_rate(record.left, rule.requests) * rule.per / rule.requests,
        bound=rule.per / (rule.per + record.travelled / requests),
        longest=record.longest,
        overtaken=record.overtaken / requests,
    )


def lost(kind: Kind, rule: RateLimit) -> tuple[int, int]:
    """
    Return how many tokens 1,000 cancellations cost, and how many a fresh limiter has.

    All tokens are out; 500 who wait are cancelled at once, 500 in the very moment when the first
    token can be back. The limiter rests for a period, and we count what it grants in the next.
    """

    async def fresh(limiter: Limiter) -> int:
        return await _granted(limiter, rule)

    async def after(limiter: Limiter) -> int:
        loop = asyncio.get_running_loop()
        out = [loop.create_task(limiter.request(_answered)) for _ in range(rule.requests)]
        await asyncio.sleep(_MOMENT)
        tasks = [loop.create_task(limiter.request(_answered)) for _ in range(_CANCELLED)]
        await asyncio.sleep(_MOMENT)
        for task in tasks[::2]:
            task.cancel()
        for task in tasks[1::2]:
            # In the same round of the loop as a timer for that moment, and after it.
            loop.call_at(rule.per + _SAME_ROUND, task.cancel)
        await asyncio.sleep(2.1 * rule.per)
        granted = await _granted(limiter, rule)
        await _end(out + tasks)
        return granted

    full = _on_virtual_time(kind, rule, fresh)
    return max(full - _on_virtual_time(kind, rule, after), 0), full


async def _answered() -> float:
    return asyncio.get_running_loop().time()


async def _granted(limiter: Limiter, rule: RateLimit) -> int:
    """Return how many of many requests are granted within a period, or just under."""
    granted = 0

    async def send() -> float:
        nonlocal granted
        granted += 1
        return await _answered()

    tasks = [asyncio.create_task(limiter.request(send)) for _ in range(rule.requests * 3)]
    await asyncio.sleep(rule.per * 0.999)
    await _end(tasks)
    return granted


async def _end(tasks: list[asyncio.Task[None]]) -> None:
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
