"""`python -m tests.benchmarks grants`: what a token costs, in this process and on Redis."""

from __future__ import annotations

import argparse
import asyncio
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Final

import attrs

from htx_async import RateLimiter, RedisRateLimiter
from htx_async.clock import Clock
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint
from tests.benchmarks.results import machine
from tests.redis_process import serving

ROUNDS: Final = 300
BATCH: Final = 50
START: Final = "<!-- grants: `nox -s bench -- grants --markdown docs/workers.md` writes this -->"
END: Final = "<!-- /grants -->"
_PLENTY: Final = RateLimit(10**6, per=0.001)
_MICRO: Final = 1e6
_YOUNG: Final = 4.0
_HEAD: Final = ("budget", "callers at once", "µs a grant", "round trips a grant")


@attrs.frozen
class Row:
    """Microseconds a grant: the median and where nine of ten rounds lie; and round trips."""

    name: str
    callers: int
    median: float
    low: float
    high: float
    trips: float


async def _rounds(queue: TokenQueue, callers: int, trips: Callable[[], int], name: str) -> Row:
    clock, spent = Clock(), list[float]()

    async def use() -> None:
        queue.release_at(await queue.acquire(), clock.monotonic())

    await use()
    before = trips()
    for _ in range(ROUNDS):
        start = perf_counter()
        if callers == 1:
            await use()
        else:
            await asyncio.gather(*(use() for _ in range(callers)))
        spent.append((perf_counter() - start) / callers * _MICRO)
    made = (trips() - before) / (ROUNDS * callers)
    cuts = quantiles(spent, n=20)
    return Row(name, callers, median(spent), cuts[0], cuts[-1], made)


async def _measure(url: str, calls: Callable[[], int]) -> list[Row]:
    endpoint = Endpoint("/v1/grants", _PLENTY, bytes)
    rows = []
    async with RedisRateLimiter(url, user="benchmark") as shared:
        kinds: tuple[tuple[str, RateLimiter, Callable[[], int]], ...] = (
            ("RateLimiter", RateLimiter(), lambda: 0),
            ("RedisRateLimiter", shared, calls),
        )
        for name, budget, trips in kinds:
            queue = budget.queue_for(endpoint, Clock())
            rows += [await _rounds(queue, callers, trips, name) for callers in (1, BATCH)]
    return rows


def measure() -> list[Row]:
    """Measure both, with a Redis on a socket of this machine."""
    with serving() as server:
        server.grow(_YOUNG)
        with server.client() as client:

            def calls() -> int:
                stats = client.info("commandstats")
                return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])

            return asyncio.run(_measure(server.url, calls))


def table(rows: Sequence[Row]) -> str:
    """Return the table."""
    lines = [_HEAD, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    lines.insert(1, tuple("-" * width for width in widths))
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    shown = [f"{value:.1f}" if value < BATCH else f"{value:.0f}" for value in _figures(row)]
    return (row.name, str(row.callers), f"{shown[0]} ({shown[1]}-{shown[2]})", f"{row.trips:.2f}")


def _figures(row: Row) -> tuple[float, float, float]:
    return row.median, row.low, row.high


def renewed(page: str, report: str) -> str:
    """Return *page* with *report* between its marks."""
    before, _, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        message = f"the page has no lines {START} and {END}"
        raise ValueError(message)
    return f"{before}{START}\n\n{report}\n{END}{after}"


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, and put it in a page if told to."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks grants", description=__doc__)
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="put it in that page, too")
    options = parser.parse_args(arguments)
    how = f"{machine()}; the server runs on the same machine, behind a socket. The median of "
    how += f"{ROUNDS} rounds, and where nine of ten lie; a grant is taken and settled."
    report = f"{textwrap.fill(how, 100)}\n\n{table(measure())}"
    sys.stdout.write(report)
    if options.markdown:
        page = options.markdown.read_text(encoding="utf-8")
        options.markdown.write_text(renewed(page, report), encoding="utf-8")
    return 0
