"""`python -m tests.benchmarks weight`: what is installed with the package, beside httpx alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import attrs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import htx_async
from tests.benchmarks import goals, tables
from tests.benchmarks.goals import Goal

OURS: Final = "htx-async"
_PEERS: Final = ("httpx", OURS, "aiohttp", "ccxt")
_MB: Final = 1_000_000

Needs = Callable[[str], Iterable[str]]
"""Returns the requirements of a distribution, as its metadata has them."""


@attrs.frozen
class Weight:
    """What comes with a distribution, itself included."""

    distributions: frozenset[str]
    size: int


def needs(name: str) -> Iterable[str]:
    """Return what an installed distribution says that it requires."""
    return metadata.requires(name) or ()


def closure(name: str, needs: Needs = needs) -> frozenset[str]:
    """Return the names of all that *name* brings here, without extras, itself included."""
    found: set[str] = set()
    ahead = [str(canonicalize_name(name))]
    while ahead:
        each = ahead.pop()
        if each not in found:
            found.add(each)
            ahead += [canonicalize_name(wanted.name) for wanted in _wanted(needs(each))]
    return frozenset(found)


def _wanted(told: Iterable[str]) -> Iterable[Requirement]:
    for each in map(Requirement, told):
        if each.marker is None or each.marker.evaluate({"extra": ""}):
            yield each


def size(name: str) -> int:
    """Return the bytes of all that a distribution installs, but what Python compiles of it."""
    if name == OURS:  # here it may be installed as a link
        files: Iterable[Path] = Path(htx_async.__file__).parent.rglob("*")
    else:
        files = (Path(str(file.locate())) for file in metadata.files(name) or ())
    return sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc")


def weights(names: Iterable[str] = _PEERS) -> dict[str, Weight]:
    """Return the weight of those that are installed."""
    return {name: _weight(name) for name in names if tables.is_there(name)}


def _weight(name: str) -> Weight:
    brought = closure(name)
    return Weight(brought, sum(map(size, brought)))


def aims(found: Mapping[str, Weight]) -> list[Goal]:
    """Return the goals, with what was reached."""
    ours, httpx = found[OURS], found["httpx"]
    count = len(ours.distributions) / len(httpx.distributions)
    return [
        Goal("distributions installed", "httpx alone", 2.0, count),
        Goal("bytes installed", "httpx alone", 3.0, ours.size / httpx.size),
    ]


def report(found: Mapping[str, Weight]) -> str:
    """Return the tables."""
    rows = [
        (name, str(len(weight.distributions)), f"{weight.size / _MB:.1f}")
        for name, weight in found.items()
    ]
    ours = found[OURS].distributions
    more = sorted(
        ((size(name), name) for name in ours - found["httpx"].distributions), reverse=True
    )
    parts = (
        tables.machine(found),
        tables.wrapped(_LEGEND),
        tables.table(("", "distributions", "MB"), rows),
        tables.table(("more than httpx alone", "MB"), [(n, f"{b / _MB:.2f}") for b, n in more]),
        "### The goals of the weight\n",
        goals.shown(aims(found)),
    )
    return "\n".join(parts)


_LEGEND: Final = """\
What `pip install` brings, without extras: the package and all that it needs on this Python, read
from what is installed here. MB: a million bytes of files, without what Python compiles of them.
"""


def main(arguments: Sequence[str]) -> int:
    """Weigh, print the tables, and put them on the page if told to."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks weight", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a ratio is grossly off")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="put the tables there, too")
    options = parser.parse_args(arguments)
    found = weights()
    text = report(found)
    sys.stdout.write(text)
    if options.markdown:
        command = " ".join(["nox -s bench -- weight", *arguments])
        tables.put(options.markdown, "weight", f"```sh\n{command}\n```\n\n{text}")
    return goals.told(aims(found)) if options.check else 0
