"""`python -m tests.benchmarks limits`: this limiter and four others before servers that count."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks import cost, network, page, peers
from tests.benchmarks.limiters import CONTROL, OURS, Kind
from tests.benchmarks.results import Results, Row
from tests.benchmarks.simulation import RULES, lost, simulate

REQUESTS: Final = 10_000
CROWDS: Final = (100, 100_000)


def measure(kinds: Sequence[Kind], requests: int = REQUESTS, rough: int = REQUESTS) -> Results:
    """Measure *kinds*, of which the first is ours: it sends *rough* over the rough network."""
    costs = cost.uncontended(kinds, RULES[0])
    crowds = cost.crowded(RULES[0], CROWDS)
    rows = tuple(row for kind in kinds for row in _rows(kind, requests, rough))
    return Results(
        rows=rows,
        costs=costs,
        crowds=crowds,
        lost={kind.name: lost(kind, RULES[0]) for kind in kinds},
        packages={package: peers.version(package) for package in _packages()},
    )


def _rows(kind: Kind, requests: int, rough: int) -> Iterator[Row]:
    for rule in RULES:
        sys.stderr.write(f"limits: {kind.name}, {rule.requests} in {rule.per:g} s\n")
        yield Row(kind.name, rule, requests, simulate(kind, rule, requests, network.even()))
        count = rough if kind is OURS else requests
        outcome = simulate(kind, rule, count, network.rough(count))
        yield Row(kind.name, rule, count, outcome, is_rough=True)


def _packages() -> Iterator[str]:
    yield "htx-async"
    yield from dict.fromkeys(kind.package for kind in peers.PEERS if kind.package)


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, and write the page if told to."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks limits", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, metavar="N", help=_REQUESTS_HELP)
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the page there, too")
    options = parser.parse_args(arguments)
    if options.requests < REQUESTS:
        parser.error(f"--requests: at least {REQUESTS}")
    results = measure((OURS, CONTROL, *peers.installed()), rough=options.requests)
    sys.stdout.write(page.report(results))
    if options.markdown:
        command = " ".join(["nox -s bench -- limits", *arguments])
        options.markdown.write_text(page.page(results, command), encoding="utf-8")
    return 0


_REQUESTS_HELP = "how many requests htx_async sends over the rough network (default: 10000)"
