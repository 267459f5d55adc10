"""Whole calls in batches: all clients in turn, on one loop, with one server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Final, TypeAlias

import attrs

from tests.benchmarks import bodies, plain
from tests.benchmarks.bodies import FEW, MANY
from tests.benchmarks.clients import POINTS, Call, Client, Contender, Work
from tests.benchmarks.plain import Holdings
from tests.benchmarks.timing import Sample, Stopwatch, freeze_garbage, measuring, ratio

Key: TypeAlias = tuple[str, Work, int]
"""Client, work, and the number of calls in flight."""
Expected: TypeAlias = Mapping[Work, Holdings | Decimal]

WORKS: Final[tuple[Work, ...]] = (MANY, FEW, POINTS)
PLAN: Final = tuple((work, in_flight) for work in WORKS for in_flight in (1, 16, 64))
QUICK_PLAN: Final[tuple[tuple[Work, int], ...]] = ((MANY, 1), (POINTS, 1), (POINTS, 64))
_CALLS: Final[dict[tuple[Work, int], int]] = {
    (MANY, 1): 8,
    (FEW, 1): 40,
    (FEW, 16): 4,
    (POINTS, 1): 100,
    (POINTS, 16): 8,
    (POINTS, 64): 4,
}
"""Calls of one worker in a batch, else one: a batch takes some ten milliseconds."""
_FLOAT_ERROR: Final = Decimal("1e-9")


@attrs.frozen
class Batches:
    """Samples of all clients, one for each round; and why others take no part, by name."""

    samples: dict[Key, list[Sample]]
    absent: dict[str, str]

    def ratio(self, this: Key, that: Key) -> float | None:
        """Return the CPU of *this* as a multiple of that of *that*; `None`: one is absent."""
        if this not in self.samples or that not in self.samples:
            return None
        these, those = ([sample.cpu for sample in self.samples[key]] for key in (this, that))
        return ratio(these, those)

    def names(self, work: Work) -> tuple[str, ...]:
        """Return the clients that did this work."""
        return tuple(dict.fromkeys(name for name, done, _ in self.samples if done == work))


@asynccontextmanager
async def opened(
    contenders: Sequence[Contender], url: str, expected: Expected
) -> AsyncIterator[tuple[dict[str, Client], dict[str, str]]]:
    """Open all clients that are installed and correct; yield them, and why others are absent."""
    clients: dict[str, Client] = {}
    absent: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for contender in contenders:
            try:
                client = contender.make(url)
            except ImportError as error:
                absent[contender.name] = str(error)
                continue
            stack.push_async_callback(client.aclose)
            if problem := await _problem(contender, client, expected):
                absent[contender.name] = problem
            else:
                clients[contender.name] = client
        yield clients, absent


async def _problem(contender: Contender, client: Client, expected: Expected) -> str:
    """Return why a client cannot take part; "": it finds what all must find."""
    try:
        for work in filter(contender.can, WORKS):
            if not _is_right(await client.call(work)(), expected[work]):
                return "its result is different"
    except Exception as error:  # noqa: BLE001 - a peer may raise anything
        return f"it fails with {type(error).__name__}"
    return ""


def expected_results() -> dict[Work, Holdings | Decimal]:
    """Return what all must find in the canned responses."""
    read = plain.whole_rows.decode
    holdings: dict[Work, Holdings | Decimal] = {
        rows: plain.look_up(read(bodies.balance(rows)).payload().list) for rows in (MANY, FEW)
    }
    points = plain.whole_points.decode(bodies.points()).payload().acct_balance
    return {**holdings, POINTS: points}


def _is_right(result: object, expected: Holdings | Decimal) -> bool:
    """Return whether a result is as expected, except for the error of a float."""
    if not (isinstance(result, Holdings) and isinstance(expected, Holdings)):
        return result == expected
    pairs = zip(result.totals, expected.totals, strict=True)
    return result.nonzero == expected.nonzero and all(abs(a - b) < _FLOAT_ERROR for a, b in pairs)


async def measure(
    contenders: Sequence[Contender],
    url: str,
    *,
    rounds: int,
    expected: Expected,
    plan: Sequence[tuple[Work, int]] = PLAN,
) -> Batches:
    """Measure all clients, in turn in each round; the first round is dropped."""
    async with opened(contenders, url, expected) as (clients, absent):
        samples: dict[Key, list[Sample]] = {
            (one.name, work, in_flight): []
            for one in contenders
            for work, in_flight in plan
            if one.name in clients and one.can(work)
        }
        with measuring():
            for number in range(rounds + 1):
                sys.stderr.write(f"calls: round {number} of {rounds}\n")
                await _round(clients, samples, plan, number)
    return Batches({key: rounds[1:] for key, rounds in samples.items()}, absent)


async def _round(
    clients: Mapping[str, Client],
    samples: Mapping[Key, list[Sample]],
    plan: Sequence[tuple[Work, int]],
    number: int,
) -> None:
    # Another client begins in each round, so that the order favours none.
    names = list(clients)
    turn = names[number % len(names) :] + names[: number % len(names)]
    for work, in_flight in plan:
        for name in turn:
            if (name, work, in_flight) in samples:
                calls = _CALLS.get((work, in_flight), 1)
                sample = await batch(clients[name].call(work), in_flight, calls)
                samples[name, work, in_flight].append(sample)


async def batch(call: Call, in_flight: int, calls: int) -> Sample:
    """Measure *calls* calls of each of *in_flight* workers."""
    await asyncio.gather(*(call() for _ in range(in_flight)))  # connects, and warms up

    async def worker() -> None:
        for _ in range(calls):
            await call()

    freeze_garbage()
    watch = Stopwatch()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return watch.sample(calls * in_flight)
