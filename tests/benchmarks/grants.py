"""CPU of a rate-limit token, in this process and on Redis."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final

import attrs

from htx_async import RateLimiter, RedisRateLimiter
from htx_async.clock import Clock
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.redis.exchange import MAX_ATTEMPT_TIMEOUT
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint
from tests.benchmarks.tables import Goal, Options, machine, table
from tests.benchmarks.timing import MICRO, spread
from tests.redis_process import serving

ROUNDS: Final = 300
CROWD: Final = 50
_PLENTY: Final = RateLimit(10**6, per=0.001)
_HEAD: Final = ("rate limiter", "callers at once", "µs a token", "round trips a token")


@attrs.frozen
class Row:
    """Microseconds of wall time a token, one for each round, and round trips a token."""

    name: str
    callers: int
    times: list[float]
    trips: float


async def _rounds(
    queue: TokenQueue, callers: int, trips: Callable[[], int], name: str, rounds: int
) -> Row:
    clock, slots, times = Clock(), ConnectionSlots(callers), list[float]()

    async def use() -> None:
        async with queue.token(slots, MAX_ATTEMPT_TIMEOUT) as token:
            token.is_unused = False
            token.first_byte_at = clock.monotonic()

    await use()
    before = trips()
    for _ in range(rounds):
        start = perf_counter()
        if callers == 1:
            await use()
        else:
            await asyncio.gather(*(use() for _ in range(callers)))
        times.append((perf_counter() - start) / callers * MICRO)
    return Row(name, callers, times, (trips() - before) / (rounds * callers))


async def _measure(url: str, trips: Callable[[], int], rounds: int) -> list[Row]:
    endpoint, rows = Endpoint("/v1/grants", _PLENTY, bytes), list[Row]()
    async with RedisRateLimiter(url, user="benchmark") as shared:
        limiters: tuple[tuple[RateLimiter, Callable[[], int]], ...]
        limiters = ((RateLimiter(), lambda: 0), (shared, trips))
        for limiter, count in limiters:
            queue, name = limiter.queue_for(endpoint, Clock()), type(limiter).__name__
            rows += [await _rounds(queue, callers, count, name, rounds) for callers in (1, CROWD)]
    return rows


def measure(rounds: int = ROUNDS) -> list[Row]:
    """Measure both, with a Redis on a socket of this machine."""
    with serving() as server:
        server.settle(_PLENTY.per)
        with server.client() as client:

            def trips() -> int:
                stats = client.info("commandstats")
                return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])

            return asyncio.run(_measure(server.url, trips, rounds))


def report(rows: Sequence[Row]) -> str:
    """Return the table."""
    cells = [
        (row.name, str(row.callers), str(spread(row.times)), f"{row.trips:.2f}") for row in rows
    ]
    return f"{machine(['htx-async', 'redis'])}\n{table(_HEAD, cells)}"


def run(options: Options) -> list[Goal]:
    """Measure and print the table; there is no goal."""
    sys.stdout.write(report(measure(options.rounds_or(ROUNDS, quick=30))))
    return []
