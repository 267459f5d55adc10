"""`python -m tests.benchmarks decode`: from the bytes of `data` to a balance, and its memory."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from htx_async.resources.accounts import BALANCE
from tests.benchmarks import answers, goals, plain, rivals, tables
from tests.benchmarks.answers import LOOKED_UP, MANY
from tests.benchmarks.clients import OURS
from tests.benchmarks.goals import Goal
from tests.benchmarks.plain import Balance, Entry, Found, Row, ShortRow
from tests.benchmarks.timing import Costs, interleaved, kept, ratio, short, spread
from tests.decoded import decoded

ROUNDS: Final = 25
_QUICK: Final = 3
_EACH: Final = 3
STRUCTS: Final = "msgspec structs"
_DOES: Final = ("untouched", "looked up", "touched")


@attrs.frozen
class Decoder:
    """
    One way to read a balance.

    Attributes:
        read: Makes it of the bytes of `data`.
        look: Looks up ten currencies and takes those that have any amount.
        touch: Reads currency, type and balance of every row.
    """

    name: str
    read: Callable[[bytes], Any]
    look: Callable[[Any], Found]
    touch: Callable[[Any], object]
    package: str | None = None


def _look(balance: Any) -> Found:
    totals = tuple(balance[currency].total for currency in LOOKED_UP)
    return Found(totals, len(balance.nonzero()))


def _touch(rows: Iterable[Entry]) -> Decimal | None:
    """Read three fields of each row."""
    balance = None
    for row in rows:
        _, _, balance = row.currency, row.type, row.balance
    return balance


def _touch_text(rows: Iterable[Mapping[str, str]]) -> Decimal | None:
    balance = None
    for row in rows:
        _, _, balance = row["currency"], row["type"], Decimal(row["balance"])
    return balance


def _structs(name: str, row: Any) -> Decoder:
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Balance[row], strict=False)
    return Decoder(name, decoder.decode, lambda x: plain.look(x.list), lambda x: _touch(x.list))


def _cattrs(data: bytes) -> plain.AttrsBalance:
    return plain.converter.structure(json.loads(data), plain.AttrsBalance)


def _ccxt() -> Decoder:
    """Return `fetch_balance` with a raw call that has its answer already: it waits for nothing."""
    exchange = rivals.ccxt_at("http://127.0.0.1")

    def read(data: bytes) -> Any:
        async def answer(*_: object) -> object:
            return {"status": "ok", "data": json.loads(data)}

        exchange.spotPrivateGetV1AccountAccountsAccountIdBalance = answer
        try:
            exchange.fetch_balance({"account-id": str(MANY)}).send(None)
        except StopIteration as end:
            return end.value
        msg = "fetch_balance waits for something"
        raise RuntimeError(msg)

    def touch(balance: Any) -> object:
        return [(code, balance[code]["free"], balance[code]["used"]) for code in balance["total"]]

    return Decoder("ccxt, fetch_balance", read, rivals.found, touch, "ccxt")


def decoders(*, short: bool = False) -> list[Decoder]:
    """Return all that can be measured here, ours first; *short*: what the goals need."""
    found = [
        Decoder(
            OURS.name, partial(decoded, BALANCE), _look, lambda balance: _touch(balance.entries)
        ),
        _structs(STRUCTS, Row),
        _structs(f"{STRUCTS}, 3 fields", ShortRow),
        Decoder("cattrs", _cattrs, lambda x: plain.look(x.list), lambda x: _touch(x.list)),
        Decoder(
            "json.loads",
            json.loads,
            lambda x: plain.look_at_text(x["list"]),
            lambda x: _touch_text(x["list"]),
        ),
    ]
    if short:
        return found[:2]
    return [*found, _ccxt()] if tables.is_there("ccxt") else found


def measure(ways: Sequence[Decoder], data: bytes, rounds: int) -> dict[str, Costs]:
    """Return the costs of all ways: to read, to read and look, to read and touch."""

    def untouched(way: Decoder) -> Callable[[], object]:
        return lambda: way.read(data)

    def looked(way: Decoder) -> Callable[[], object]:
        return lambda: way.look(way.read(data))

    def touched(way: Decoder) -> Callable[[], object]:
        return lambda: way.touch(way.read(data))

    runs = {
        (does, way.name): make(way)
        for does, make in zip(_DOES, (untouched, looked, touched), strict=True)
        for way in ways
    }
    named = {"/".join(key): run for key, run in runs.items()}
    spent = interleaved(named, rounds, _EACH)
    return {does: {way.name: spent[f"{does}/{way.name}"] for way in ways} for does in _DOES}


def memory(ways: Sequence[Decoder], data: bytes, many: int) -> dict[str, tuple[float, float]]:
    """Return the bytes that a balance keeps, untouched and touched."""

    def untouched(way: Decoder) -> object:
        # A copy, as the bytes of every answer are its own: who keeps them pays for them.
        return way.read(bytes(bytearray(data)))

    def touched(way: Decoder) -> object:
        balance = untouched(way)
        way.touch(balance)
        return balance

    return {
        way.name: (kept(partial(untouched, way), many), kept(partial(touched, way), many))
        for way in ways
    }


def aims(costs: Mapping[str, Costs], sizes: Mapping[str, tuple[float, float]]) -> list[Goal]:
    """Return the goals, with what was reached."""
    name, rows = OURS.name, f"{MANY:,} rows"
    touched = ratio(costs["touched"][name], costs["touched"][STRUCTS])
    return [
        Goal(f"{rows}, every entry touched, decode alone", STRUCTS, 2.0, touched),
        Goal(f"{rows}, memory kept, untouched", STRUCTS, 1.0, sizes[name][0] / sizes[STRUCTS][0]),
    ]


def report(
    costs: Mapping[str, Costs], sizes: Mapping[str, tuple[float, float]], rounds: int
) -> str:
    """Return the tables."""
    head = ("decoder", *_DOES, *(f"x, {does}" for does in _DOES), "KiB, untouched", "KiB, touched")
    lines = []
    for name, (untouched, touched) in sizes.items():
        spent = [str(spread(costs[does][name])) for does in _DOES]
        times = [f"{ratio(costs[does][name], costs[does][STRUCTS]):.2f}" for does in _DOES]
        lines.append((name, *spent, *times, short(untouched / 1024), short(touched / 1024)))
    packages = ("htx-async", "msgspec", "cattrs", "attrs", "ccxt")
    legend = tables.wrapped(_LEGEND.format(rounds=rounds, structs=STRUCTS))
    shown = goals.shown(aims(costs, sizes))
    parts = (tables.machine(packages), legend, tables.table(head, lines))
    return "\n".join([*parts, "### The goals of decoding\n", shown])


_LEGEND: Final = """\
All read the same bytes, the JSON of `data`. Microseconds of CPU for one balance, the median of
{rounds} rounds and where the middle half of them lies: read and left untouched; ten currencies
looked up and those with any amount taken; currency, type and balance of every row read, as a
Decimal. x: a multiple of `{structs}`, which have all six fields and Decimals. KiB: what one balance
keeps, as tracemalloc counts it; the bytes it was read from count if it keeps them.
"""


def main(arguments: Sequence[str]) -> int:
    """Measure, print the tables, and put them on the page if told to."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks decode", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"({ROUNDS})")
    parser.add_argument("--dense", action="store_true", help="rows without zeros")
    parser.add_argument("--quick", action="store_true", help="what the goals need, in few rounds")
    parser.add_argument("--check", action="store_true", help="fail if a ratio is grossly off")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="put the tables there, too")
    options = parser.parse_args(arguments)
    rounds = min(options.rounds, _QUICK) if options.quick else options.rounds
    data = answers.data(answers.balance(MANY, dense=options.dense))
    ways = decoders(short=options.quick)
    costs, sizes = measure(ways, data, rounds), memory(ways, data, rounds)
    text = report(costs, sizes, rounds)
    sys.stdout.write(text)
    if options.markdown:
        command = " ".join(["nox -s bench -- decode", *arguments])
        tables.put(options.markdown, "decode", f"```sh\n{command}\n```\n\n{text}")
    return goals.told(aims(costs, sizes)) if options.check else 0
