"""Markdown tables, and the goals that are checked."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import attrs

GROSS: Final = 2.0
"""A ratio above so many times its goal is a gross regression: machines are noisy."""
_CPU_INFO: Final = Path("/proc/cpuinfo")
_MODEL: Final = re.compile(r"^model name\s*: (.*)$", re.MULTILINE)


@attrs.frozen
class Options:
    """
    Options of all benchmarks.

    Attributes:
        rounds: Number of rounds; `None`: the default of the benchmark.
        quick: Measure only what goals need, in few rounds.
        against: Another checkout, which `calls` and `signing` also measure; `None`: none.
    """

    rounds: int | None = None
    quick: bool = False
    against: Path | None = None

    def rounds_or(self, default: int, quick: int = 3) -> int:
        """Return the number of rounds."""
        return self.rounds or (quick if self.quick else default)


@attrs.frozen
class Goal:
    """
    A figure and the largest value that is good.

    Attributes:
        work: What is measured.
        baseline: What it is compared with.
        limit: The largest good value.
        value: The measured value; `None`: a package that it needs is not installed.
        unit: "x" for a ratio, else a unit of time.
    """

    work: str
    baseline: str
    limit: float
    value: float | None
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """Whether the goal is met."""
        if self.value is None:
            return "not measured"
        return "met" if self.value <= self.limit else "missed"


def gross_regressions(goals: Iterable[Goal]) -> list[str]:
    """Return a sentence for each ratio that is far above its goal; times are never checked."""
    return [
        f"{goal.work}: {goal.value:.2f} x {goal.baseline}, the goal is {goal.limit:.2f}"
        for goal in goals
        if goal.unit == "x" and goal.value is not None and goal.value > GROSS * goal.limit
    ]


def goals_table(goals: Iterable[Goal]) -> str:
    """Return the table of the goals."""
    rows = (
        (
            goal.work,
            goal.baseline,
            f"{goal.limit:.2f} {goal.unit}",
            "" if goal.value is None else f"{goal.value:.2f} {goal.unit}",
            goal.verdict,
        )
        for goal in goals
    )
    return table(("work", "against", "at most", "reached", ""), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first hold figures."""
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, tuple(rule))
    return "\n".join(_line(line, widths) for line in lines) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"


def machine(packages: Iterable[str]) -> str:
    """Return the machine, and the versions of Python and of *packages*."""
    versions = ", ".join(f"{name} {version(name) or '(absent)'}" for name in packages)
    core = f"{os.cpu_count()} cores of {_cpu_model()}"
    python = f"Python {platform.python_version()}"
    return f"{python}, {platform.system()} {platform.machine()}, {core}.\n{versions}.\n"


def _cpu_model() -> str:
    model = _MODEL.search(_CPU_INFO.read_text(encoding="utf-8")) if _CPU_INFO.exists() else None
    return model[1].strip() if model else platform.processor() or "an unknown kind"


def version(package: str) -> str | None:
    """Return the version of an installed *package*; `None`: it is absent."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
