"""Amounts as text: every digit, and columns aligned at the decimal point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import attrs
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text


def format_amount(amount: Decimal) -> str:
    """Return an amount without exponent and trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@attrs.frozen
class AlignedAmount:
    """
    An amount in a column.

    Attributes:
        text: The amount, padded with blanks in place of the decimals that it lacks.
        style: A rich style.
    """

    text: str
    style: str = ""

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the possible widths: one character if wrapped, the padded text at most."""
        return Measurement(1, len(self.text)).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the padded text, or the wrapped amount if the column is too narrow."""
        if len(self.text) > options.max_width:
            yield Text(self.text.rstrip(), self.style, justify="right", overflow="fold")
        else:  # not `justify="right"`, which would strip the padding
            yield Text(self.text.rjust(options.max_width), self.style, justify="left")


def align(amounts: Sequence[Decimal]) -> list[AlignedAmount]:
    """Return the amounts of one column, aligned at the decimal point."""
    parts = [format_amount(amount).partition(".") for amount in amounts]
    decimals = max((len(point + digits) for _, point, digits in parts), default=0)
    return [
        AlignedAmount(whole + (point + digits).ljust(decimals)) for whole, point, digits in parts
    ]


def add_amount_columns(
    table: Table, *columns: tuple[str, Sequence[Decimal]]
) -> Iterator[tuple[AlignedAmount, ...]]:
    """Add a column for each title and its amounts to *table*; return the cells of each row."""
    for title, _ in columns:
        table.add_column(title, justify="right", overflow="fold")
    return zip(*(align(amounts) for _, amounts in columns), strict=True)
