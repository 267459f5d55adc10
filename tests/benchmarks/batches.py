"""Whole calls in batches: all clients in turn, on one loop, before one server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Final, TypeAlias

import attrs

from tests.benchmarks import answers, plain
from tests.benchmarks.answers import FEW, MANY
from tests.benchmarks.clients import BALANCE, POINTS, Call, Client, Contender, call_of
from tests.benchmarks.plain import Found
from tests.benchmarks.timing import Sample, Spread, Stopwatch, measuring, put_away, ratio, spread

Work: TypeAlias = int | str
"""How many rows, or the points."""

WORKS: Final[tuple[Work, ...]] = (MANY, FEW, POINTS)
PLAN: Final = tuple((work, in_flight) for work in WORKS for in_flight in (1, 16, 64))
"""What is measured in each round: the work, and how many calls are in flight."""
SHORT: Final[tuple[tuple[Work, int], ...]] = ((MANY, 1), (POINTS, 1), (POINTS, 64))
_EACH: Final[dict[tuple[Work, int], int]] = {
    (MANY, 1): 8,
    (FEW, 1): 40,
    (FEW, 16): 4,
    (POINTS, 1): 100,
    (POINTS, 16): 8,
    (POINTS, 64): 4,
}
"""How many calls a worker makes in a batch, one if not told: a batch takes some ten ms."""
_CLOSE: Final = Decimal("1e-9")

Key: TypeAlias = tuple[str, Work, int]
Wanted: TypeAlias = Mapping[Work, Found | Decimal]


@attrs.frozen
class Batches:
    """
    What was measured.

    Attributes:
        samples: One for each round, by client, work and requests in flight.
        absent: Why clients take no part, by name.
    """

    samples: dict[Key, list[Sample]]
    absent: dict[str, str]

    @property
    def rounds(self) -> int:
        """How many rounds there were."""
        return max(map(len, self.samples.values()), default=0)

    def cpu(self, key: Key) -> Spread:
        """Return the CPU of a call."""
        return spread([sample.cpu for sample in self.samples[key]])

    def wall(self, key: Key) -> Spread:
        """Return the wall time of a call."""
        return spread([sample.wall for sample in self.samples[key]])

    def ratio(self, this: Key, that: Key) -> float | None:
        """Return how many times the CPU of *that* a call of *this* takes; `None`: absent."""
        if this not in self.samples or that not in self.samples:
            return None
        these, those = ([sample.cpu for sample in self.samples[key]] for key in (this, that))
        return ratio(these, those)

    def names(self, work: Work) -> tuple[str, ...]:
        """Return the clients that did this."""
        return tuple(dict.fromkeys(name for name, done, _ in self.samples if done == work))


def can(contender: Contender, work: Work) -> bool:
    """Tell whether a client can be asked for this."""
    return (BALANCE if isinstance(work, int) else POINTS) in contender.works


@asynccontextmanager
async def opened(
    contenders: Sequence[Contender], url: str, wanted: Wanted
) -> AsyncIterator[tuple[dict[str, Client], dict[str, str]]]:
    """Open all clients that are there and work; and say why the others are left out."""
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
            if fault := await _fault(contender, client, wanted):
                absent[contender.name] = fault
            else:
                clients[contender.name] = client
        yield clients, absent


async def _fault(contender: Contender, client: Client, wanted: Wanted) -> str:
    """Return why a client cannot take part; "": it finds what all must find."""
    for work in WORKS:
        if can(contender, work):
            try:
                is_right = _is_right(await call_of(client, work)(), wanted[work])
            except Exception as error:  # noqa: BLE001 - whatever a peer raises is told
                return f"it fails with {type(error).__name__}"
            if not is_right:
                return "it finds something else"
    return ""


def expected(*, dense: bool = False) -> dict[Work, Found | Decimal]:
    """Return what all must find in the canned answers."""
    read = plain.whole_rows.decode
    found: dict[Work, Found | Decimal] = {
        rows: plain.look(read(answers.balance(rows, dense=dense)).opened().list)
        for rows in (MANY, FEW)
    }
    return {**found, POINTS: plain.whole_points.decode(answers.points()).opened().acct_balance}


def _is_right(result: object, wanted: Found | Decimal) -> bool:
    """Tell whether a client found what it must, give or take what a float loses."""
    if not (isinstance(result, Found) and isinstance(wanted, Found)):
        return result == wanted
    pairs = zip(result.totals, wanted.totals, strict=True)
    return result.nonzero == wanted.nonzero and all(abs(a - b) < _CLOSE for a, b in pairs)


async def measure(
    contenders: Sequence[Contender],
    url: str,
    *,
    rounds: int,
    wanted: Wanted,
    plan: Sequence[tuple[Work, int]] = PLAN,
) -> Batches:
    """Measure all, each in its turn in each round; the first round is dropped."""
    samples: dict[Key, list[Sample]] = {
        (one.name, work, many): []
        for one in contenders
        for work, many in plan
        if can(one, work) and (one.is_async or many == 1)
    }
    async with opened(contenders, url, wanted) as (clients, absent):
        samples = {key: [] for key in samples if key[0] in clients}
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
    # Another one begins in each round: who comes after whom is no advantage.
    names = list(clients)
    turn = names[number % len(names) :] + names[: number % len(names)]
    for work, many in plan:
        for name in turn:
            if (name, work, many) in samples:
                sample = await _batch(call_of(clients[name], work), work, many)
                samples[name, work, many].append(sample)


async def _batch(call: Call, work: Work, in_flight: int) -> Sample:
    each = _EACH.get((work, in_flight), 1)
    await asyncio.gather(*(call() for _ in range(in_flight)))  # connected, and warm

    async def worker() -> None:
        for _ in range(each):
            await call()

    put_away()
    watch = Stopwatch()
    if in_flight == 1:
        await worker()
    else:
        await asyncio.gather(*(worker() for _ in range(in_flight)))
    return watch.sample(each * in_flight)
