"""Time and memory, taken from all in the same way; and what is made of many rounds of it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Final, TypeAlias

import attrs

MICRO: Final = 1e6
_FEW: Final = 9.95


@attrs.frozen
class Spread:
    """The median of many rounds, and where the middle half of them lies."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        # A hyphen at which no line of a page is broken.
        return f"{short(self.median)} ({short(self.low)}\u2011{short(self.high)})"


def short(value: float) -> str:
    """Return a figure with as many digits as mean something."""
    return f"{value:,.1f}" if value < _FEW else f"{value:,.0f}"


def spread(rounds: Sequence[float]) -> Spread:
    """Return what is typical of *rounds*."""
    if len(rounds) == 1:
        return Spread(rounds[0], rounds[0], rounds[0])
    low, middle, high = quantiles(rounds, n=4, method="inclusive")
    return Spread(middle, low, high)


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Return the median of the ratios in each round: what disturbs a round disturbs both."""
    return median(this / that for this, that in zip(these, those, strict=True))


@attrs.frozen
class Sample:
    """Microseconds for one call, the mean of a batch: of this process's CPU, and by the wall."""

    cpu: float
    wall: float


def put_away() -> None:
    """
    Put away what is there, so that nobody pays for the garbage of others.

    The collector runs as it does for users: what a client makes, it pays for.
    """
    gc.collect()
    gc.freeze()


@contextmanager
def measuring() -> Iterator[None]:
    """Give back at the end what was put away."""
    try:
        yield
    finally:
        gc.unfreeze()


class Stopwatch:
    """Measures from its making on."""

    def __init__(self) -> None:
        self._wall, self._cpu = perf_counter(), process_time()

    def sample(self, calls: int) -> Sample:
        """Return what each of so many calls has taken."""
        cpu, wall = process_time() - self._cpu, perf_counter() - self._wall
        return Sample(cpu / calls * MICRO, wall / calls * MICRO)


Costs: TypeAlias = dict[str, list[float]]
"""Microseconds of CPU for one run of each function, by its name, one for each round."""


def interleaved(functions: Mapping[str, Callable[[], object]], rounds: int, each: int) -> Costs:
    """Run each function *each* times in every round, all in turn, after a round that is dropped."""
    spent: Costs = {name: [] for name in functions}
    with measuring():
        for _ in range(rounds + 1):
            for name, function in functions.items():
                put_away()
                watch = Stopwatch()
                for _ in range(each):
                    function()
                spent[name].append(watch.sample(each).cpu)
    return {name: rounds[1:] for name, rounds in spent.items()}


def kept(make: Callable[[], object], many: int) -> float:
    """Return the bytes that each of *many* results of *make* keeps."""
    make()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        results = [make() for _ in range(many)]
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / len(results)
    finally:
        tracemalloc.stop()
