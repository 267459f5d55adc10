"""Amounts as text: every digit, and in a column the points below each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import attrs
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text


def figure(amount: Decimal) -> str:
    """Return an amount without exponent and without zeros at its end."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@attrs.frozen
class Figure:
    """
    An amount in a column. The blanks at its end hold the place of digits that it lacks.

    Attributes:
        text: The amount, with those blanks.
        style: How it is shown, in rich's words.
    """

    text: str
    style: str = ""

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return how wide it can be: folded at the least, with its blanks at the most."""
        return Measurement(1, len(self.text)).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield it with its blanks, which a text that is justified loses; folded if it must be."""
        if len(self.text) > options.max_width:
            yield Text(self.text.rstrip(), self.style, justify="right", overflow="fold")
        else:
            yield Text(self.text.rjust(options.max_width), self.style, justify="left")


def aligned(amounts: Sequence[Decimal]) -> list[Figure]:
    """Return amounts as figures of one column, their points below each other."""
    parts = [figure(amount).partition(".") for amount in amounts]
    widest = max((len(point + after) for _, point, after in parts), default=0)
    return [Figure(before + (point + after).ljust(widest)) for before, point, after in parts]


def figures(table: Table, *columns: tuple[str, Sequence[Decimal]]) -> Iterator[tuple[Figure, ...]]:
    """Add columns of amounts to *table*, and return the figures of each row."""
    for title, _ in columns:
        table.add_column(title, justify="right", overflow="fold")
    return zip(*(aligned(amounts) for _, amounts in columns), strict=True)
