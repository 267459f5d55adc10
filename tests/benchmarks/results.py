"""What was measured of the limiters."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping

import attrs

from htx_async.ratelimit.token_bucket import RateLimit
from tests.benchmarks.cost import Cost
from tests.benchmarks.simulation import Outcome


def machine() -> str:
    """Return what it was measured on."""
    system = f"{platform.system()} {platform.machine()}"
    return f"Python {platform.python_version()}, {system}, {os.cpu_count()} cores"


@attrs.frozen
class Row:
    """
    One simulation.

    Attributes:
        name: The limiter.
        requests: How many it sent.
        is_rough: Whether the network had bursts of slow packets, and got faster.
    """

    name: str
    rule: RateLimit
    requests: int
    outcome: Outcome
    is_rough: bool = False

    @property
    def setting(self) -> str:
        """The rule, and a star for the rough network."""
        star = "*" if self.is_rough else ""
        return f"{self.rule.requests}/{self.rule.per:g}{star}"

    @property
    def refused(self) -> int:
        """How many requests the server refused that refused the most."""
        return max(self.outcome.refusals.values())


@attrs.frozen
class Results:
    """
    All of it; the first row is of htx_async.

    Attributes:
        costs: Of a pair of acquire and release, by limiter.
        crowds: Of one more waiter and one served, by how many wait; of htx_async.
        lost: Tokens lost to 1,000 cancellations, and what a fresh limiter has, by limiter.
        packages: Versions; `None`: it is absent.
    """

    rows: tuple[Row, ...]
    costs: Mapping[str, Cost]
    crowds: Mapping[int, Cost]
    lost: Mapping[str, tuple[int, int]]
    packages: Mapping[str, str | None]
    machine: str = attrs.field(factory=machine)

    @property
    def names(self) -> tuple[str, ...]:
        """The limiters, htx_async first."""
        return tuple(dict.fromkeys(row.name for row in self.rows))

    def of(self, name: str) -> tuple[Row, ...]:
        """Return the rows of one limiter."""
        return tuple(row for row in self.rows if row.name == name)
