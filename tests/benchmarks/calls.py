"""Whole calls, compared with other clients, with a canned server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

from tests.benchmarks import against, batches, canned
from tests.benchmarks.batches import Batches, Key
from tests.benchmarks.clients import (
    AIOHTTP,
    BALANCE,
    CCXT_BALANCE,
    CONTENDERS,
    HTTPX,
    HTTPX_OURS,
    OURS,
    POINTS,
    Contender,
)
from tests.benchmarks.tables import Goal, Options, machine, table
from tests.benchmarks.timing import short, spread

ROUNDS: Final = 11
TITLES: Final = {BALANCE: "3,000 rows: ten lookups and `nonzero()`", POINTS: "Points"}
_NAMES: Final = {BALANCE: "3,000 rows", POINTS: "points"}
_LIMITS: Final = {
    (BALANCE, 1): 0.85,
    (BALANCE, 16): 1.0,
    (BALANCE, 64): 1.0,
    (POINTS, 1): 0.85,
    (POINTS, 16): 0.75,
    (POINTS, 64): 0.75,
}
"""CPU at most, as a multiple of that of aiohttp and msgspec."""
_PACKAGES: Final = ("htx-async", "httptools", "msgspec", "aiohttp", "ccxt", "httpx", "httpcore")
_LEGEND: Final = """\
CPU: microseconds per call, median and interquartile range of {rounds} rounds, by number of calls in
flight, without the server's CPU. x: CPU divided by that of htx_async, median of the ratios in each
round. Wall: microseconds, median.
"""


def report(measured: Batches, contenders: Sequence[Contender] = CONTENDERS) -> str:
    """Return the tables."""
    rounds = max(map(len, measured.samples.values()))
    clients = "".join(
        f"- {one.name}: {measured.absent.get(one.name, one.does)}\n" for one in contenders
    )
    parts = [machine(_PACKAGES), clients, _LEGEND.format(rounds=rounds)]
    for work, title in TITLES.items():
        if measured.names(work):
            parts += [f"### {title}\n", _times(measured, work)]
    return "\n".join(parts)


def _times(measured: Batches, work: str) -> str:
    counts = sorted({in_flight for _, done, in_flight in measured.samples if done == work})
    head = [f"{what}, {count}" for what in ("CPU", "x", "wall") for count in counts]
    rows = [tuple(_row(measured, work, name, counts)) for name in measured.names(work)]
    return table(["client", *head], rows)


def _row(measured: Batches, work: str, name: str, counts: Sequence[int]) -> Iterator[str]:
    keys: list[Key] = [(name, work, count) for count in counts]
    yield name
    yield from (str(spread([one.cpu for one in measured.samples[key]])) for key in keys)
    for key in keys:
        multiple = measured.ratio(key, (OURS.name, work, key[2]))
        yield "" if multiple is None else f"{multiple:.2f}"
    yield from (short(median(one.wall for one in measured.samples[key])) for key in keys)


def goals(measured: Batches) -> list[Goal]:
    def goal(this: Contender, that: Contender, work: str, in_flight: int, limit: float) -> Goal:
        multiple = measured.ratio((this.name, work, in_flight), (that.name, work, in_flight))
        title = f"{_NAMES[work]}, {in_flight} in flight, {this.name}"
        return Goal(title, that.name, limit, multiple)

    return [
        *(goal(OURS, AIOHTTP, *key, limit) for key, limit in _LIMITS.items()),
        goal(OURS, CCXT_BALANCE, BALANCE, 1, 0.25),
        *(goal(HTTPX_OURS, HTTPX, POINTS, count, 0.5) for count in (1, 16, 64)),
    ]


def run(options: Options) -> list[Goal]:
    """Measure, print the tables, and return the goals."""
    contenders = (*CONTENDERS, *against.contenders(options.against))
    with canned.serving() as url:
        measured = asyncio.run(
            batches.measure(
                contenders,
                url,
                rounds=options.rounds_or(ROUNDS),
                expected=batches.expected_results(),
            )
        )
    sys.stdout.write(report(measured, contenders))
    return goals(measured)
