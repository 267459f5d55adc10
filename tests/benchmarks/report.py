"""The tables of whole calls, and their goals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final, TypeAlias

from tests.benchmarks import goals, tables
from tests.benchmarks.answers import FEW, MANY
from tests.benchmarks.batches import Batches, Key, Work
from tests.benchmarks.clients import OURS, OURS_AIOHTTP, POINTS
from tests.benchmarks.fresh import Fresh
from tests.benchmarks.goals import Goal
from tests.benchmarks.rivals import CONTENDERS
from tests.benchmarks.timing import short, spread

Colds: TypeAlias = dict[tuple[str, Work], list[Fresh]]

TITLES: Final[dict[Work, str]] = {
    MANY: "3,000 rows, ten currencies looked up and `nonzero()` taken",
    FEW: "200 rows, the same",
    POINTS: "Points",
}
_WHAT: Final[dict[Work, str]] = {MANY: f"{MANY:,} rows", FEW: f"{FEW} rows", POINTS: POINTS}
_PACKAGES: Final = ("htx-async", "httpx", "httpcore", "anyio", "msgspec", "aiohttp", "cattrs")
COMPARED: Final = {OURS.name, OURS_AIOHTTP.name, "aiohttp + msgspec", "bare aiohttp"} | {
    "ccxt, raw",
    "ccxt, fetch_balance",
}
"""Who the goals speak of."""
_LEGEND: Final = """\
CPU: microseconds a call, the median of {rounds} rounds and where the middle half of them lies, by
how many are in flight; the server's CPU is not in it. x: the CPU as a multiple of htx_async's over
httpx, the median of the ratios in each round. Wall: microseconds, the median.
"""
_COLD: Final = """\
Cold: the first call of a fresh process, milliseconds; the client is made and connects, imports are
done before. Peak: KiB that a later call takes at most while it runs. Resident: MiB that the process
had at most, its imports included; those of htx_async are among them in all.
"""


def calls(measured: Batches, colds: Colds) -> str:
    """Return all tables."""
    packages = [*_PACKAGES, *(one.package for one in CONTENDERS if one.package)]
    parts = [
        tables.machine(packages),
        _taking_part(measured),
        tables.wrapped(_LEGEND.format(rounds=measured.rounds)),
    ]
    for work, title in TITLES.items():
        if measured.names(work):
            parts += [f"### {title}\n", _times(measured, work)]
    if colds:
        parts += ["### Cold, and memory\n", tables.wrapped(_COLD), _colds(colds)]
    for ours in (OURS.name, OURS_AIOHTTP.name):
        if ours not in measured.absent:
            title = f"### Who takes less CPU than *{ours}*, as a multiple of it\n"
            parts += [title, _quicker(measured, ours)]
    parts += ["### The goals of whole calls\n", goals.shown(aims(measured))]
    return "\n".join(parts)


def _quicker(measured: Batches, ours: str) -> str:
    """Return who takes less CPU than *ours*, work by work."""
    lines = []
    for work, many in dict.fromkeys((work, many) for _, work, many in measured.samples):
        times = {
            name: measured.ratio((name, work, many), (ours, work, many))
            for name in measured.names(work)
            if name not in (OURS.name, OURS_AIOHTTP.name)
        }
        less = [f"{name} ({took:.2f})" for name, took in times.items() if took and took < 1]
        lines.append(f"- {_WHAT[work]}, {many} in flight: {', '.join(less) or 'nobody'}.")
    return "\n".join(lines) + "\n"


def _taking_part(measured: Batches) -> str:
    rows = (
        (one.name, f"absent: {why}" if (why := measured.absent.get(one.name)) else one.does)
        for one in CONTENDERS
    )
    return "\n".join(f"- {name}: {does}" for name, does in rows) + "\n"


def _times(measured: Batches, work: Work) -> str:
    several = sorted({many for _, done, many in measured.samples if done == work})
    head = ["client"]
    head += [f"CPU, {many}" for many in several] + [f"x, {many}" for many in several]
    head += [f"wall, {many}" for many in several]
    rows = (tuple(_row(measured, work, name, several)) for name in measured.names(work))
    return tables.table(head, rows)


def _row(measured: Batches, work: Work, name: str, several: Sequence[int]) -> Iterator[str]:
    keys: list[Key] = [(name, work, many) for many in several]
    yield name
    yield from (str(measured.cpu(key)) if key in measured.samples else "" for key in keys)
    for key in keys:
        times = measured.ratio(key, (OURS.name, work, key[2]))
        yield "" if times is None else f"{times:.2f}"
    for key in keys:
        yield short(measured.wall(key).median) if key in measured.samples else ""


def _colds(colds: Colds) -> str:
    rows = []
    for (name, work), told in colds.items():
        cpu = spread([one.cold.cpu / 1000 for one in told])
        wall = spread([one.cold.wall / 1000 for one in told])
        peak, resident = median(one.peak for one in told), median(one.resident for one in told)
        rows.append((name, _WHAT[work], str(cpu), str(wall), short(peak), short(resident)))
    head = ("client", "work", "cold, CPU", "cold, wall", "peak", "resident")
    return tables.table(head, rows)


def aims(measured: Batches) -> list[Goal]:
    """Return the goals of issue and page, with what was reached."""
    over_aiohttp, over_httpx = OURS_AIOHTTP.name, OURS.name

    def goal(name: str, work: Work, many: int, against: str, most: float) -> Goal:
        what = f"{_WHAT[work]}, {many} in flight, {name}"
        reached = measured.ratio((name, work, many), (against, work, many))
        return Goal(what, against, most, reached)

    def crowd(work: Work) -> Goal:
        reached = measured.ratio((over_httpx, work, 64), (over_httpx, work, 1))
        what = f"{_WHAT[work]}, 64 in flight, {over_httpx}"
        return Goal(what, "1 in flight", 1.5, reached)

    return [
        goal(over_aiohttp, MANY, 1, "aiohttp + msgspec", 1.15),
        goal(over_aiohttp, MANY, 1, "ccxt, fetch_balance", 1 / 6),
        goal(over_httpx, MANY, 1, "ccxt, fetch_balance", 1 / 4),
        *(goal(over_aiohttp, POINTS, many, "ccxt, raw", 0.9) for many in (1, 64)),
        *(goal(over_aiohttp, POINTS, many, "bare aiohttp", 2.0) for many in (1, 64)),
        crowd(POINTS),
        crowd(MANY),
    ]
