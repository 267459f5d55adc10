"""What is aimed at, as ratios within one run, and whether it was reached."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from tests.benchmarks.tables import table

GROSS: Final = 2.0
"""How many times its goal a ratio may be before it is a gross regression; machines are noisy."""


@attrs.frozen
class Goal:
    """
    A goal.

    Attributes:
        work: What is done.
        against: What it is compared with.
        most: The largest ratio that is good.
        reached: The ratio; `None`: something that it needs is absent.
        unit: What the figures are in; "x": a ratio.
    """

    work: str
    against: str
    most: float
    reached: float | None
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """One word."""
        if self.reached is None:
            return "not measured"
        return "met" if self.reached <= self.most else "missed"

    @property
    def is_grossly_missed(self) -> bool:
        """Whether a ratio is far off; times never are."""
        return self.unit == "x" and self.reached is not None and self.reached > GROSS * self.most


def shown(goals: Iterable[Goal]) -> str:
    """Return the table of the goals."""
    rows = (
        (
            goal.work,
            goal.against,
            f"{goal.most:.2f} {goal.unit}",
            "" if goal.reached is None else f"{goal.reached:.2f} {goal.unit}",
            goal.verdict,
        )
        for goal in goals
    )
    return table(("work", "against", "at most", "reached", ""), rows)


def failures(goals: Sequence[Goal]) -> list[str]:
    """Return a sentence for each gross regression."""
    return [
        f"{goal.work}: {goal.reached:.2f} x {goal.against}, the goal is {goal.most:.2f}"
        for goal in goals
        if goal.is_grossly_missed
    ]


def told(goals: Sequence[Goal]) -> int:
    """Tell of each gross regression, and return the exit status."""
    found = failures(goals)
    sys.stderr.write("".join(f"gross regression: {failure}\n" for failure in found))
    return 1 if found else 0
