"""Installed size of the package and its dependencies, compared with httpx alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

import attrs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import htx_async
from tests.benchmarks.tables import Goal, Options, machine, table, version

OURS: Final = "htx-async"
_PEERS: Final = ("httpx", OURS, "aiohttp", "ccxt")
_MB: Final = 1_000_000
_LEGEND: Final = """\
The package and its dependencies, without extras, on this Python version. MB: a million bytes,
without compiled bytecode.
"""

Requirements = Callable[[str], Iterable[str]]
"""Returns the requirements of a distribution, as its metadata has them."""


@attrs.frozen
class Weight:
    """A distribution and all that it needs."""

    distributions: frozenset[str]
    size: int


def closure(
    name: str, requirements: Requirements = lambda name: metadata.requires(name) or ()
) -> frozenset[str]:
    """Return *name* and the names of all that it needs here, without extras."""
    names: set[str] = set()
    ahead = [str(canonicalize_name(name))]
    while ahead:
        current = ahead.pop()
        if current not in names:
            names.add(current)
            wanted = map(Requirement, requirements(current))
            here = (one for one in wanted if not one.marker or one.marker.evaluate({"extra": ""}))
            ahead += [canonicalize_name(one.name) for one in here]
    return frozenset(names)


def size(name: str) -> int:
    """Return the bytes of all that a distribution installs, without compiled Python."""
    if name == OURS:  # it may be installed as a link
        files: Iterable[Path] = Path(htx_async.__file__).parent.rglob("*")
    else:
        files = (Path(str(file.locate())) for file in metadata.files(name) or ())
    return sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc")


def weights(names: Iterable[str] = _PEERS) -> dict[str, Weight]:
    """Return the weights of those that are installed."""
    closures = {name: closure(name) for name in names if version(name)}
    return {name: Weight(needed, sum(map(size, needed))) for name, needed in closures.items()}


def goals(weights: Mapping[str, Weight]) -> list[Goal]:
    ours, httpx = weights[OURS], weights["httpx"]
    count = len(ours.distributions) / len(httpx.distributions)
    return [
        Goal("distributions installed", "httpx alone", 2.0, count),
        Goal("bytes installed", "httpx alone", 3.0, ours.size / httpx.size),
    ]


def report(weights: Mapping[str, Weight]) -> str:
    """Return the table."""
    rows = [
        (name, str(len(weight.distributions)), f"{weight.size / _MB:.1f}")
        for name, weight in weights.items()
    ]
    return "\n".join((machine(weights), _LEGEND, table(("", "distributions", "MB"), rows)))


def run(options: Options) -> list[Goal]:
    """Print the tables, and return the goals."""
    del options
    measured = weights()
    sys.stdout.write(report(measured))
    return goals(measured)
