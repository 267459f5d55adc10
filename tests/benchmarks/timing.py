"""CPU, time and memory, measured in the same way for all."""

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
_ONE_DECIMAL_BELOW: Final = 9.95


@attrs.frozen
class Spread:
    """Median and interquartile range of many rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        # A hyphen at which no line of a page is broken.
        return f"{short(self.median)} ({short(self.low)}\u2011{short(self.high)})"


def short(value: float) -> str:
    """Return a figure with its significant digits."""
    return f"{value:,.1f}" if value < _ONE_DECIMAL_BELOW else f"{value:,.0f}"


def spread(rounds: Sequence[float]) -> Spread:
    """Return the spread of *rounds*."""
    if len(rounds) == 1:
        return Spread(rounds[0], rounds[0], rounds[0])
    low, middle, high = quantiles(rounds, n=4, method="inclusive")
    return Spread(middle, low, high)


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Return the median of the ratios of each round: a disturbance of a round affects both."""
    return median(this / that for this, that in zip(these, those, strict=True))


@attrs.frozen
class Sample:
    """Microseconds for one call, the mean of a batch: CPU of this process, and wall time."""

    cpu: float
    wall: float


def freeze_garbage() -> None:
    """
    Collect garbage and freeze the rest, so that nobody pays for the garbage of others.

    The collector stays enabled, as it is for users: each client pays for the objects it creates.
    """
    gc.collect()
    gc.freeze()


@contextmanager
def measuring() -> Iterator[None]:
    """Unfreeze at the end what `freeze_garbage` froze."""
    try:
        yield
    finally:
        gc.unfreeze()


class Stopwatch:
    """Measures from its construction on."""

    def __init__(self) -> None:
        self._wall, self._cpu = perf_counter(), process_time()

    def sample(self, calls: int) -> Sample:
        """Return the mean time of each of *calls* calls."""
        cpu, wall = process_time() - self._cpu, perf_counter() - self._wall
        return Sample(cpu / calls * MICRO, wall / calls * MICRO)


Costs: TypeAlias = dict[str, list[float]]
"""Microseconds of CPU for one run of each function, by its name, one for each round."""


def interleaved(functions: Mapping[str, Callable[[], object]], rounds: int, runs: int) -> Costs:
    """Run each function *runs* times in every round, in turn; the first round is dropped."""
    costs: Costs = {name: [] for name in functions}
    with measuring():
        for _ in range(rounds + 1):
            for name, function in functions.items():
                freeze_garbage()
                watch = Stopwatch()
                for _ in range(runs):
                    function()
                costs[name].append(watch.sample(runs).cpu)
    return {name: samples[1:] for name, samples in costs.items()}


def kept(make: Callable[[], object], count: int) -> float:
    """Return the bytes that each of *count* results of *make* keeps."""
    make()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        results = [make() for _ in range(count)]
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / len(results)
    finally:
        tracemalloc.stop()
