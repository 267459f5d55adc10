"""Whole calls, compared with other clients, with a canned server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

from tests.benchmarks import batches, canned
from tests.benchmarks.batches import Batches, Key
from tests.benchmarks.bodies import FEW, MANY
from tests.benchmarks.clients import CONTENDERS, OURS, OURS_AIOHTTP, POINTS, Work
from tests.benchmarks.tables import Goal, Options, machine, table
from tests.benchmarks.timing import short, spread

ROUNDS: Final = 11
TITLES: Final[dict[Work, str]] = {
    MANY: "3,000 rows: ten lookups and `nonzero()`",
    FEW: "200 rows: ten lookups and `nonzero()`",
    POINTS: "Points",
}
_NAMES: Final[dict[Work, str]] = {MANY: "3,000 rows", FEW: "200 rows", POINTS: "points"}
_PACKAGES: Final = ("htx-async", "httpx", "httpcore", "anyio", "msgspec", "aiohttp", "ccxt")
_LEGEND: Final = """\
CPU: microseconds per call, median and interquartile range of {rounds} rounds, by number of calls in
flight, without the server's CPU. x: CPU divided by that of htx_async with httpx, median of the
ratios in each round. Wall: microseconds, median.
"""


def report(measured: Batches) -> str:
    """Return the tables."""
    rounds = max(map(len, measured.samples.values()))
    contenders = "".join(
        f"- {one.name}: {measured.absent.get(one.name, one.does)}\n" for one in CONTENDERS
    )
    parts = [machine(_PACKAGES), contenders, _LEGEND.format(rounds=rounds)]
    for work, title in TITLES.items():
        if measured.names(work):
            parts += [f"### {title}\n", _times(measured, work)]
    return "\n".join(parts)


def _times(measured: Batches, work: Work) -> str:
    counts = sorted({in_flight for _, done, in_flight in measured.samples if done == work})
    head = [f"{what}, {count}" for what in ("CPU", "x", "wall") for count in counts]
    rows = [tuple(_row(measured, work, name, counts)) for name in measured.names(work)]
    return table(["client", *head], rows)


def _row(measured: Batches, work: Work, name: str, counts: Sequence[int]) -> Iterator[str]:
    keys: list[Key] = [(name, work, count) for count in counts]
    yield name
    yield from (str(spread([one.cpu for one in measured.samples[key]])) for key in keys)
    for key in keys:
        multiple = measured.ratio(key, (OURS.name, work, key[2]))
        yield "" if multiple is None else f"{multiple:.2f}"
    yield from (short(median(one.wall for one in measured.samples[key])) for key in keys)


def goals(measured: Batches) -> list[Goal]:
    over_aiohttp, over_httpx = OURS_AIOHTTP.name, OURS.name

    def goal(name: str, work: Work, in_flight: int, baseline: str, limit: float) -> Goal:
        multiple = measured.ratio((name, work, in_flight), (baseline, work, in_flight))
        return Goal(f"{_NAMES[work]}, {in_flight} in flight, {name}", baseline, limit, multiple)

    def crowd(work: Work) -> Goal:
        multiple = measured.ratio((over_httpx, work, 64), (over_httpx, work, 1))
        return Goal(f"{_NAMES[work]}, 64 in flight, {over_httpx}", "1 in flight", 1.5, multiple)

    return [
        goal(over_aiohttp, MANY, 1, "aiohttp + msgspec", 1.15),
        goal(over_aiohttp, MANY, 1, "ccxt, fetch_balance", 1 / 6),
        goal(over_httpx, MANY, 1, "ccxt, fetch_balance", 1 / 4),
        *(goal(over_aiohttp, POINTS, count, "ccxt, raw", 0.9) for count in (1, 64)),
        *(goal(over_aiohttp, POINTS, count, "bare aiohttp", 2.0) for count in (1, 64)),
        crowd(POINTS),
        crowd(MANY),
    ]


def run(options: Options) -> list[Goal]:
    """Measure, print the tables, and return the goals."""
    with canned.serving() as url:
        measured = asyncio.run(
            batches.measure(
                CONTENDERS,
                url,
                rounds=options.rounds_or(ROUNDS),
                expected=batches.expected_results(),
                plan=batches.QUICK_PLAN if options.quick else batches.PLAN,
            )
        )
    sys.stdout.write(report(measured))
    return goals(measured)
