"""A table for terminals of any width: records where it does not fit. No amount is wrapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from htx_async.cli.number_format import align

_UNLIMITED_WIDTH = 10_000


@attrs.frozen
class Amount:
    """A number in a table: aligned at the decimal point, in a rich *style*."""

    text: str
    style: str = ""


Cell = str | Amount
Record = Sequence[tuple[str, Cell]]


@attrs.frozen
class DataTable:
    """
    Rows of cells; on a terminal that is too narrow, a record for each row.

    Attributes:
        title: Above the table, in bold.
        columns: Their titles.
        rows: A cell for each column.
        caption: Below the table.
        optional: Titles of columns that are omitted, in this order, before there are records.
        records: Title and cell of each line of each record; `None`: those of `rows`.
        has_total: Whether the last row is the total of the others.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    optional: Sequence[str] = ()
    records: Sequence[Record] | None = None
    has_total: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the title, the widest table that fits or else the records, and the caption."""
        yield Text(self.title, "bold")
        unlimited = options.update(max_width=_UNLIMITED_WIDTH)
        tables = (self._table(self.optional[:count]) for count in range(len(self.optional) + 1))
        fitting = (
            table
            for table in tables
            if Measurement.get(console, unlimited, table).maximum <= options.max_width
        )
        table = next(fitting, None)
        yield from [table] if table else self._records(options.max_width)
        if self.caption:
            yield Text(self.caption, "dim")

    def _table(self, omitted: Sequence[str]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
        columns: list[list[Text]] = []
        for index, title in enumerate(self.columns):
            if title not in omitted:
                cells = [row[index] for row in self.rows]
                is_numeric = any(isinstance(cell, Amount) for cell in cells)
                table.add_column(title, justify="right" if is_numeric else "left")
                columns.append(_column(title, cells, is_numeric=is_numeric))
        for number, row in enumerate(zip(*columns, strict=True), 1):
            table.add_row(*row, end_section=self.has_total and number == len(self.rows) - 1)
        return table

    def _records(self, width: int) -> Iterator[Text]:
        """Yield the lines of each record. A cell that does not fit has a line of its own."""
        records = self.records
        if records is None:
            records = [tuple(zip(self.columns, row, strict=True)) for row in self.rows]
        indent = max((len(title) for record in records for title, _ in record), default=0) + 2
        for number, record in enumerate(records):
            if number:
                yield Text()
            amounts = [cell.text for _, cell in record if isinstance(cell, Amount)]
            aligned = iter(align(amounts))
            for title, cell in record:
                text = next(aligned) if isinstance(cell, Amount) else cell
                if not text.strip():
                    continue
                if indent + len(text) <= width:
                    yield Text.assemble(title.ljust(indent), (text.rstrip(), _style(cell)))
                else:
                    yield Text(title)
                    yield _value(cell, text.strip())


def _column(title: str, cells: Sequence[Cell], *, is_numeric: bool) -> list[Text]:
    texts = [_text(cell) for cell in cells]
    # Not by `justify="right"`, which would strip the padding.
    padded = align(texts, len(title)) if is_numeric else texts
    styled = zip(padded, map(_style, cells), strict=True)
    return [Text(text, style, justify="left") for text, style in styled]


def _text(cell: Cell) -> str:
    return cell.text if isinstance(cell, Amount) else cell


def _style(cell: Cell) -> str:
    return cell.style if isinstance(cell, Amount) else ""


def _value(cell: Cell, text: str) -> Text:
    """Return the text of a cell; that of an amount is never wrapped."""
    if isinstance(cell, Amount):
        return Text(text, cell.style, no_wrap=True, overflow="ignore")
    return Text(text, overflow="fold")
