"""Rate limiters in front of servers that count."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from htx_async.ratelimit.token_bucket import RateLimit
from tests.benchmarks.limiters import OURS, PEERS, Kind, installed
from tests.benchmarks.simulation import (
    RULES,
    SERVERS,
    Outcome,
    even_network,
    lost_tokens,
    rough_network,
    simulate,
)
from tests.benchmarks.tables import Goal, Options, machine, table

REQUESTS: Final = 10_000
_QUICK_REQUESTS: Final = 2_000
_HEAD: Final = ("limiter", "rule", *SERVERS, "rate", "wait", "order", "lost")
_LEGEND: Final = """\
- rule: requests in seconds. A star: the rough network
- fixed, log, bucket: 429s of a server with fixed windows, a sliding log, a token bucket
- rate: requests sent in steady state, in per cent of what is allowed
- wait: the longest, in seconds; order: kept, or the share of requests that were overtaken
- lost: the number of requests fewer in a period after 1,000 cancellations and a period of rest
"""


@attrs.frozen
class Row:
    """One simulation: on the rough network, or on the even one."""

    name: str
    rule: RateLimit
    outcome: Outcome
    is_rough: bool

    @property
    def setting(self) -> str:
        """The rule, and a star for the rough network."""
        return f"{self.rule.requests}/{self.rule.per:g}{'*' if self.is_rough else ''}"


def simulations(kind: Kind, requests: int) -> Iterator[Row]:
    """Yield a row for each rule and network."""
    for rule in RULES:
        sys.stderr.write(f"limits: {kind.name}, {rule.requests} in {rule.per:g} s\n")
        yield Row(kind.name, rule, simulate(kind, rule, requests, even_network()), is_rough=False)
        outcome = simulate(kind, rule, requests, rough_network(requests))
        yield Row(kind.name, rule, outcome, is_rough=True)


def report(rows: Sequence[Row], lost: dict[str, int]) -> str:
    """Return the table."""
    cells, previous = [], ""
    for row in rows:
        outcome, is_first = row.outcome, row.name != previous
        previous = row.name
        cells.append(
            (
                row.name if is_first else "",
                row.setting,
                *(str(count) for count in outcome.rejections.values()),
                f"{outcome.rate * 100:.1f}",
                f"{outcome.longest:.1f}",
                f"{outcome.overtaken:.0%}" if outcome.overtaken else "kept",
                str(lost[row.name]) if is_first else "",
            )
        )
    packages = dict.fromkeys(["htx-async", *(kind.package or "" for kind in PEERS)])
    return "\n".join((machine(packages), _LEGEND, table(_HEAD, cells)))


def goals(rows: Sequence[Row], lost: dict[str, int]) -> list[Goal]:
    ours = [row for row in rows if row.name == OURS.name]
    rejected = sum(sum(row.outcome.rejections.values()) for row in ours)
    missed = max(row.outcome.bound / row.outcome.rate for row in ours if not row.is_rough)
    return [
        Goal("requests above the limit", "none", 0.0, float(rejected), "requests"),
        Goal("most that the rule allows", "requests sent", 1.01, missed),
        Goal("tokens lost to cancellations", "none", 0.0, float(lost[OURS.name]), "tokens"),
    ]


def run(options: Options) -> list[Goal]:
    """Measure, print the table, and return the goals."""
    kinds = installed()
    requests = _QUICK_REQUESTS if options.quick else REQUESTS
    rows = [row for kind in kinds for row in simulations(kind, requests)]
    lost = {kind.name: lost_tokens(kind, RULES[0])[0] for kind in kinds}
    sys.stdout.write(report(rows, lost))
    return goals(rows, lost)
