"""Command line of the benchmarks: `python -m tests.benchmarks calls decode signing`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from tests.benchmarks.tables import Goal, Options, goals_table, gross_regressions

COMMANDS: Final = (
    *("calls", "decode", "signing", "weight", "limits", "grants", "users", "outages"),
    "stream",
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("commands", nargs="+", choices=COMMANDS, metavar="|".join(COMMANDS))
    parser.add_argument("--rounds", type=int, metavar="N", help="(default: depends on the command)")
    parser.add_argument("--quick", action="store_true", help="few rounds, only what goals need")
    parser.add_argument("--check", action="store_true", help="fail on a gross regression")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="PATH",
        help="compare with the checkout in PATH, run by its .venv if it has one",
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the named benchmarks, print their tables, and return the exit status."""
    parsed = _parser().parse_args(arguments)
    options = Options(rounds=parsed.rounds, quick=parsed.quick, against=parsed.against)
    goals: list[Goal] = []
    for command in parsed.commands:
        module = import_module(f"tests.benchmarks.{command}")
        goals += cast("Callable[[Options], list[Goal]]", module.run)(options)
    if goals:
        sys.stdout.write(f"\n{goals_table(goals)}")
    regressions = gross_regressions(goals)
    sys.stderr.write("".join(f"gross regression: {regression}\n" for regression in regressions))
    return 1 if parsed.check and regressions else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
