"""Runs one benchmark: `python -m benchmarks limits`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks import grants, limits

COMMANDS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "grants": grants.main,
    "limits": limits.main,
}


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark that the first of *arguments* names, and return the exit status."""
    if not arguments or arguments[0] not in COMMANDS:
        sys.stderr.write(f"usage: python -m benchmarks {{{','.join(COMMANDS)}}} [options]\n")
        return 2
    return COMMANDS[arguments[0]](arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
