"""Rows of a balance: thousands, of which most programs read a few."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from itertools import chain, zip_longest
from operator import attrgetter
from typing import Any, Self, TypeAlias

import msgspec

from htx_async.models.base import Model
from htx_async.models.enums import BalanceType
from htx_async.models.schema import Rows, at
from htx_async.models.wire_types import all_decimals, optional, parse_decimal, parse_id

_amount_of = attrgetter("currency", "type", "balance")

_Rows: TypeAlias = "list[Any] | tuple[BalanceEntry, ...]"
"""Rows as they were decoded, in a list, or entries, in a tuple."""


class BalanceEntry(Model, msgspec.Struct, frozen=True, gc=False):
    """
    One row of a balance: an amount of one type in one currency.

    Attributes:
        currency: Currency as HTX writes it, such as `usdt`.
        type: What the amount is: `trade` (free), `frozen` (in orders), `loan` and more.
        balance: The amount, in *currency*.
        debt: HTX calls it an invalid field; `None` if it is not a number.
        available: HTX calls it an invalid field; `None` if it is not a number.
        seq_num: Serial number of the last change; `None` if it is missing.
    """

    currency: str
    type: BalanceType
    balance: Decimal
    debt: Decimal | None = None
    available: Decimal | None = None
    seq_num: int | None = msgspec.field(default=None, name="seq-num")


class BalanceRows(Rows):
    """
    Valid rows of a balance: as they were decoded, or entries once those have been created.

    Several threads may do that at once; their results are equal, and the last one is kept.
    """

    item = BalanceEntry

    __slots__ = ("_index", "_rows")

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows
        self._index: tuple[_Rows, Mapping[str, int]] | None = None

    @classmethod
    def from_wire(cls, rows: list[Any]) -> Self:
        """Return the rows if the amount of each is valid; the decoder has checked the rest."""
        try:
            are_valid = all_decimals({row.balance for row in rows})
        except TypeError:  # a list or an object
            are_valid = False
        if not are_valid:
            for index, row in enumerate(rows):
                at(f"[{index}].balance", parse_decimal, row.balance)
        return cls(rows)

    @property
    def entries(self) -> tuple[BalanceEntry, ...]:
        """The entries, created when they are first read."""
        rows = self._rows
        if not isinstance(rows, tuple):
            rows = self._rows = _create_entries(rows)
            self._index = None
        return rows

    @property
    def starts(self) -> Mapping[str, int]:
        """The currencies in order of first appearance."""
        return self._by_currency()[1]

    def __len__(self) -> int:
        return len(self._rows)

    def amounts(self, row_type: str) -> Iterator[Decimal]:
        """Yield the amounts of the rows of one type."""
        return (_amount(row.balance) for row in self._rows if row.type == row_type)

    def of_currency(self, currency: str) -> BalanceRows:
        """Return the rows of one currency; `KeyError` if there is none."""
        rows, starts = self._by_currency()
        start = end = starts[currency]
        while end < len(rows) and rows[end].currency == currency:
            end += 1
        return BalanceRows(rows[start:end])

    def of_currencies(self, currencies: Collection[str]) -> BalanceRows:
        """Return the rows of these currencies."""
        rows = self._rows
        return BalanceRows(type(rows)(row for row in rows if row.currency in currencies))

    def nonzero(self) -> set[str]:
        """Return the currencies with any amount."""
        rows = self._rows
        if isinstance(rows, tuple):
            return {row.currency for row in rows if row.balance}
        zeros = {value for value in {row.balance for row in rows} if not _amount(value)}
        return {row.currency for row in rows if row.balance not in zeros}

    def changed(self, since: BalanceRows) -> set[str]:
        """Return the currencies of the rows that differ."""
        pairs = zip_longest(map(_amount_of, since._rows), map(_amount_of, self._rows))
        differing = (filter(None, pair) for pair in pairs if pair[0] != pair[1])
        return {currency for rows in differing for currency, _, _ in rows}

    def _by_currency(self) -> tuple[_Rows, Mapping[str, int]]:
        index = self._index
        if index is None:
            index = self._index = _by_currency(self._rows)
        return index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BalanceRows) and self.entries == other.entries

    def __hash__(self) -> int:
        return hash(self.entries)

    def __reduce__(self) -> tuple[Any, ...]:
        return BalanceRows, (self.entries,)


def _amount(value: Any) -> Decimal:
    """Return the amount of a valid row, or of an entry."""
    if isinstance(value, Decimal):
        return value
    return Decimal(value) if isinstance(value, str) else parse_decimal(value)


def _create_entries(rows: list[Any]) -> tuple[BalanceEntry, ...]:
    """Return the entries of valid rows. A text that many rows have is parsed once."""
    try:
        balances = {row.balance for row in rows}
        others = {row.debt for row in rows}.union([row.available for row in rows]) - balances
        numbers = {row.seq_num for row in rows}
    except TypeError:  # a list or an object, which cannot be in a set
        return tuple(map(_create_entry, rows))
    if not all(value is None or type(value) is str for value in chain(balances, others, numbers)):
        return tuple(map(_create_entry, rows))
    amounts = {value: Decimal(value) for value in balances}
    amounts |= {value: _decimal_or_none(value) for value in others}
    ids = {value: _id_or_none(value) for value in numbers}
    return tuple(
        [
            BalanceEntry(
                row.currency,
                row.type,
                amounts[row.balance],
                amounts[row.debt],
                amounts[row.available],
                ids[row.seq_num],
            )
            for row in rows
        ]
    )


def _create_entry(row: Any) -> BalanceEntry:
    return BalanceEntry(
        row.currency,
        row.type,
        _amount(row.balance),
        _decimal_or_none(row.debt),
        _decimal_or_none(row.available),
        _id_or_none(row.seq_num),
    )


_decimal_or_none, _id_or_none = optional(parse_decimal), optional(parse_id)


def _by_currency(rows: _Rows) -> tuple[_Rows, Mapping[str, int]]:
    """
    Return the rows with those of a currency side by side, and where those of each start.

    HTX writes them like that. A list for each currency would take twice as long, and give the
    garbage collector thousands of objects to traverse.
    """
    starts: dict[str, int] = {}
    previous = None
    for index, row in enumerate(rows):
        currency = row.currency
        if currency != previous:
            if currency in starts:
                names = dict.fromkeys(row.currency for row in rows)
                order = {name: position for position, name in enumerate(names)}
                return _by_currency(type(rows)(sorted(rows, key=lambda row: order[row.currency])))
            starts[currency] = index
            previous = currency
    return rows, starts
