"""What a limiter costs in real time: while nobody has to wait, and while many do."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median, quantiles
from time import perf_counter
from typing import Final

import attrs

from htx_async.clock import Clock
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import RateLimit, TokenBucket
from tests.benchmarks.limiters import Kind, Limiter
from tests.benchmarks.peers import Ccxt

ROUNDS: Final = 200
_MICRO: Final = 1e6
_BURST: Final = 100
_DECIMALS_UP_TO: Final = 9.95


@attrs.frozen
class Cost:
    """Microseconds: the median of many rounds, and where nine of ten rounds lie."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(self.low)}-{_short(self.high)})"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < _DECIMALS_UP_TO else f"{value:.0f}"


def _cost(rounds: Sequence[float]) -> Cost:
    cuts = quantiles(rounds, n=20)
    return Cost(median(rounds), cuts[0], cuts[-1])


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def uncontended(kinds: Sequence[Kind], rule: RateLimit, rounds: int = ROUNDS) -> dict[str, Cost]:
    """
    Return what a pair of acquire and release costs while there are tokens.

    Each round takes all tokens of a fresh limiter, and each limiter has its turn in each round:
    what disturbs the machine disturbs all.
    """

    async def measure() -> dict[str, list[float]]:
        spent: dict[str, list[float]] = {kind.name: [] for kind in kinds}
        for _ in range(rounds):
            for kind in kinds:
                limiter = kind.make(rule, Clock())
                if isinstance(limiter, Ccxt):
                    limiter.fill(rule.requests)
                spent[kind.name].append(await _pairs(limiter, rule.requests))
                await asyncio.sleep(0)
        return spent

    with _no_collection():
        spent = asyncio.run(measure())
    return {name: _cost(values) for name, values in spent.items()}


async def _pairs(limiter: Limiter, count: int) -> float:
    clock = Clock()
    start = perf_counter()
    for _ in range(count):
        await limiter.acquire()
        limiter.release(clock.monotonic())
    return (perf_counter() - start) / count * _MICRO


def crowded(rule: RateLimit, waiting: Sequence[int], rounds: int = ROUNDS) -> dict[int, Cost]:
    """
    Return what it costs our queue that one joins it and its first is served, for lengths of it.

    Making, waking and ending their tasks is part of it.
    """
    with _no_collection():
        return {length: _cost(asyncio.run(_crowd(rule, length, rounds))) for length in waiting}


async def _crowd(rule: RateLimit, waiting: int, rounds: int) -> list[float]:
    clock = Clock()
    queue = TokenQueue(TokenBucket(rule), clock)
    grant = await queue.acquire()
    for _ in range(rule.requests - 1):
        await queue.acquire()
    tasks = {asyncio.create_task(queue.acquire()) for _ in range(waiting)}
    await asyncio.sleep(0)
    spent = []
    for _ in range(rounds):
        start = perf_counter()
        for _ in range(_BURST):
            tasks.add(asyncio.create_task(queue.acquire()))
            # An answer that began a period ago: its token is free at once.
            queue.release_at(grant, clock.monotonic() - rule.per)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        spent.append((perf_counter() - start) / _BURST * _MICRO)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return spent
