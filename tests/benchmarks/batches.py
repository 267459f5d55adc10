"""Whole calls in batches: all clients in turn, on one loop, with one server."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Final, TypeAlias

import attrs

from tests.benchmarks import bodies, plain
from tests.benchmarks.clients import BALANCE, POINTS, Client, Contender
from tests.benchmarks.plain import Holdings
from tests.benchmarks.timing import Sample, measuring, ratio

Key: TypeAlias = tuple[str, str, int]
"""Client, work, and the number of calls in flight."""
Expected: TypeAlias = Mapping[str, Holdings | Decimal]

CALLS: Final[dict[tuple[str, int], int]] = {
    (BALANCE, 1): 8,
    (BALANCE, 16): 1,
    (BALANCE, 64): 1,
    (POINTS, 1): 100,
    (POINTS, 16): 8,
    (POINTS, 64): 4,
}
"""Calls of one worker in a batch, by work and number in flight: some ten milliseconds."""
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

    def names(self, work: str) -> tuple[str, ...]:
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
        for work in contender.works:
            if not _is_right(await getattr(client, work)(), expected[work]):
                return "its result is different"
    except Exception as error:  # noqa: BLE001 - a peer may raise anything
        return f"it fails with {type(error).__name__}"
    return ""


def expected_results() -> dict[str, Holdings | Decimal]:
    """Return what all must find in the canned responses."""
    holdings = plain.look_up(plain.whole_rows.decode(bodies.balance()).payload().list)
    points = plain.whole_points.decode(bodies.points()).payload().acct_balance
    return {BALANCE: holdings, POINTS: points}


def _is_right(result: object, expected: Holdings | Decimal) -> bool:
    """Return whether a result is as expected, except for the error of a float."""
    if not (isinstance(result, Holdings) and isinstance(expected, Holdings)):
        return result == expected
    pairs = zip(result.totals, expected.totals, strict=True)
    return result.nonzero == expected.nonzero and all(abs(a - b) < _FLOAT_ERROR for a, b in pairs)


async def measure(
    contenders: Sequence[Contender], url: str, *, rounds: int, expected: Expected
) -> Batches:
    """Measure all clients, in turn in each round; the first round is dropped."""
    async with opened(contenders, url, expected) as (clients, absent):
        samples: dict[Key, list[Sample]] = {
            (one.name, work, in_flight): []
            for one in contenders
            for work, in_flight in CALLS
            if one.name in clients and work in one.works
        }
        with measuring():
            for number in range(rounds + 1):
                sys.stderr.write(f"calls: round {number} of {rounds}\n")
                await _round(clients, samples, number)
    return Batches({key: rounds[1:] for key, rounds in samples.items()}, absent)


async def _round(
    clients: Mapping[str, Client], samples: Mapping[Key, list[Sample]], number: int
) -> None:
    # Another client begins in each round, so that the order favours none.
    names = list(clients)
    turn = names[number % len(names) :] + names[: number % len(names)]
    for (work, in_flight), calls in CALLS.items():
        for name in turn:
            if (name, work, in_flight) in samples:
                sample = await clients[name].batch(work, in_flight, calls)
                samples[name, work, in_flight].append(sample)
