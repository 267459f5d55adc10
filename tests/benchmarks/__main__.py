"""Runs one benchmark: `python -m tests.benchmarks calls|decode|signing|weight|limits`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, cast

COMMANDS: Final = ("calls", "decode", "signing", "weight", "limits", "grants")


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark that the first of *arguments* names, and return the exit status."""
    if not arguments or arguments[0] not in COMMANDS:
        sys.stderr.write(f"usage: python -m tests.benchmarks {{{','.join(COMMANDS)}}} [options]\n")
        return 2
    module = import_module(f"tests.benchmarks.{arguments[0]}")
    return cast("Callable[[Sequence[str]], int]", module.main)(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
