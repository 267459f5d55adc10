"""Decoding a balance from the bytes of `data`, and the memory that it keeps."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final

import attrs
import msgspec

from htx_async.resources.accounts import BALANCE
from tests.benchmarks import bodies, plain
from tests.benchmarks.bodies import LOOKED_UP, ROWS
from tests.benchmarks.clients import OURS
from tests.benchmarks.plain import Holdings
from tests.benchmarks.tables import Goal, Options, machine, table
from tests.benchmarks.timing import Costs, interleaved, kept, ratio, short, spread
from tests.decoded import decoded

ROUNDS: Final = 25
_RUNS: Final = 3
STRUCTS: Final = "msgspec structs"
_USES: Final = ("untouched", "looked up", "touched")
_LEGEND: Final = """\
All decode the same bytes, the JSON of `data`. Microseconds of CPU per balance, median and
interquartile range of {rounds} rounds. Untouched: decoded only. Looked up: ten currencies and
`nonzero()`. Touched: currency, type and balance of every row, as a Decimal. x: divided by
`{structs}`, which have all six fields and Decimals. KiB: memory of one balance as measured by
tracemalloc, including the response's bytes if it keeps them.
"""


@attrs.frozen
class Decoder:
    """
    One way to decode a balance.

    Attributes:
        read: Decodes the bytes of `data`.
        look_up: Looks up ten currencies and takes those that are not zero.
        touch: Reads currency, type and balance of every row.
    """

    name: str
    read: Callable[[bytes], Any]
    look_up: Callable[[Any], Holdings]
    touch: Callable[[Any], object]


def _look_up(balance: Any) -> Holdings:
    totals = tuple(balance[currency].total for currency in LOOKED_UP)
    return Holdings(totals, len(balance.nonzero()))


def _touch(rows: Iterable[Any]) -> None:
    for row in rows:
        _, _, _ = row.currency, row.type, row.balance


def _touch_text(rows: Iterable[Mapping[str, str]]) -> None:
    for row in rows:
        _, _, _ = row["currency"], row["type"], Decimal(row["balance"])


def decoders(*, quick: bool = False) -> list[Decoder]:
    """Return all decoders, ours first; *quick*: only what goals need."""
    needed = [
        Decoder(
            OURS.name, partial(decoded, BALANCE), _look_up, lambda balance: _touch(balance.entries)
        ),
        Decoder(
            STRUCTS,
            msgspec.json.Decoder(plain.Balance, strict=False).decode,
            lambda balance: plain.look_up(balance.list),
            lambda balance: _touch(balance.list),
        ),
    ]
    text = Decoder(
        "json.loads",
        json.loads,
        lambda balance: plain.look_up_text(balance["list"]),
        lambda balance: _touch_text(balance["list"]),
    )
    return needed if quick else [*needed, text]


def measure(ways: Sequence[Decoder], data: bytes, rounds: int) -> dict[str, Costs]:
    """Return the costs of each use: to read, to read and look up, to read and touch."""
    runs: tuple[Callable[[Decoder], object], ...] = (
        lambda way: way.read(data),
        lambda way: way.look_up(way.read(data)),
        lambda way: way.touch(way.read(data)),
    )
    uses = dict(zip(_USES, runs, strict=True))
    functions = {f"{use}/{way.name}": partial(uses[use], way) for use in uses for way in ways}
    costs = interleaved(functions, rounds, _RUNS)
    return {use: {way.name: costs[f"{use}/{way.name}"] for way in ways} for use in _USES}


def memory(ways: Sequence[Decoder], data: bytes, count: int) -> dict[str, tuple[float, float]]:
    """Return the bytes that a balance keeps, untouched and touched."""

    def untouched(way: Decoder) -> object:
        # A copy: each response has bytes of its own, which count if the balance keeps them.
        return way.read(bytes(bytearray(data)))

    def touched(way: Decoder) -> object:
        balance = untouched(way)
        way.touch(balance)
        return balance

    return {
        way.name: (kept(partial(untouched, way), count), kept(partial(touched, way), count))
        for way in ways
    }


def goals(costs: Mapping[str, Costs], sizes: Mapping[str, tuple[float, float]]) -> list[Goal]:
    name, rows = OURS.name, f"{ROWS:,} rows"
    touched = ratio(costs["touched"][name], costs["touched"][STRUCTS])
    size = sizes[name][0] / sizes[STRUCTS][0]
    return [
        Goal(f"{rows}, every entry touched, decode alone", STRUCTS, 2.0, touched),
        Goal(f"{rows}, memory kept, untouched", STRUCTS, 1.0, size),
    ]


def report(costs: Mapping[str, Costs], sizes: Mapping[str, tuple[float, float]]) -> str:
    """Return the table."""
    head = ("decoder", *_USES, *(f"x, {use}" for use in _USES), "KiB, untouched", "KiB, touched")
    lines = []
    for name, (untouched, touched) in sizes.items():
        spreads = [str(spread(costs[use][name])) for use in _USES]
        multiples = [f"{ratio(costs[use][name], costs[use][STRUCTS]):.2f}" for use in _USES]
        lines.append((name, *spreads, *multiples, short(untouched / 1024), short(touched / 1024)))
    rounds = len(costs["touched"][STRUCTS])
    legend = _LEGEND.format(rounds=rounds, structs=STRUCTS)
    packages = ("htx-async", "msgspec")
    return "\n".join([machine(packages), legend, table(head, lines)])


def run(options: Options) -> list[Goal]:
    """Measure, print the table, and return the goals."""
    data = bodies.data(bodies.balance())
    ways, rounds = decoders(quick=options.quick), options.rounds_or(ROUNDS)
    costs, sizes = measure(ways, data, rounds), memory(ways, data, rounds)
    sys.stdout.write(report(costs, sizes))
    return goals(costs, sizes)
