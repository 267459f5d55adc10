"""`python -m tests.benchmarks calls`: whole calls beside other clients, before a canned server."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks import batches, canned, fresh, goals, plot, profiling, report, tables
from tests.benchmarks.answers import MANY
from tests.benchmarks.batches import WORKS, Batches
from tests.benchmarks.clients import POINTS
from tests.benchmarks.report import Colds, aims
from tests.benchmarks.rivals import CONTENDERS

ROUNDS: Final = 11
_COLD_ROUNDS: Final = 3
_QUICK: Final = 3


def measure(url: str, *, rounds: int, dense: bool = False, quick: bool = False) -> Batches:
    """Measure all clients; *quick*: only what most goals need."""
    plan = batches.SHORT if quick else batches.PLAN
    wanted = batches.expected(dense=dense)
    contenders = [one for one in CONTENDERS if not quick or one.name in report.COMPARED]
    return asyncio.run(batches.measure(contenders, url, rounds=rounds, wanted=wanted, plan=plan))


def cold(url: str, measured: Batches, rounds: int) -> Colds:
    """Measure first calls in fresh processes, all clients in turn."""
    told: Colds = {}
    for number in range(rounds):
        sys.stderr.write(f"calls, cold: round {number + 1} of {rounds}\n")
        for work in (MANY, POINTS):
            for contender in CONTENDERS:
                if contender.name in measured.names(work):
                    one = fresh.measure(contender, work, url)
                    told.setdefault((contender.name, work), []).append(one)
    return told


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks calls", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, metavar="N", help=f"(default: {ROUNDS})"
    )
    parser.add_argument("--dense", action="store_true", help="rows without zeros")
    parser.add_argument("--quick", action="store_true", help="what most goals need, in few rounds")
    parser.add_argument("--check", action="store_true", help="fail if a ratio is grossly off")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="put the tables there, too")
    parser.add_argument("--profile", metavar="CLIENT", help="profile the calls of one client")
    parser.add_argument("--work", default=str(MANY), choices=[str(work) for work in WORKS])
    parser.add_argument("--in-flight", type=int, default=1, metavar="N", help="with --profile")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Measure, print the tables, and put them on the page and draw if told to."""
    options = _parser().parse_args(arguments)
    with canned.serving(dense=options.dense) as url:
        if options.profile:
            work = int(options.work) if options.work.isdigit() else options.work
            profiling.show(options.profile, work, url, options.in_flight)
            return 0
        rounds = min(options.rounds, _QUICK) if options.quick else options.rounds
        measured = measure(url, rounds=rounds, dense=options.dense, quick=options.quick)
        colds = {} if options.quick else cold(url, measured, min(rounds, _COLD_ROUNDS))
    text = report.calls(measured, colds)
    sys.stdout.write(text)
    if options.markdown:
        command = " ".join(["nox -s bench -- calls", *arguments])
        picture = options.markdown.parent / "_static" / "calls.svg"
        picture.parent.mkdir(exist_ok=True)
        picture.write_text(plot.drawn(measured), encoding="utf-8")
        shown = f"```sh\n{command}\n```\n\n{text}\n![{plot.ALT}](_static/{picture.name})"
        tables.put(options.markdown, "calls", shown)
    return goals.told(aims(measured)) if options.check else 0
