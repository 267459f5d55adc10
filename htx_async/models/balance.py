"""The balance of an account: thousands of rows, of which most programs read a few."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import chain, zip_longest
from typing import Any, Self, TypeAlias, cast

import attrs
import msgspec

from htx_async.errors import InvalidInputError
from htx_async.models.balance_diff import BalanceChange, diff
from htx_async.models.base import Model
from htx_async.models.decimals import total
from htx_async.models.enums import AccountState, AccountType, BalanceType
from htx_async.models.schema import Rows, at, wire
from htx_async.models.wire_types import all_decimals, optional, parse_decimal, parse_id

__all__ = ["AccountBalance", "BalanceEntry", "CurrencyBalance"]


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

    def amounts(self, type: str) -> Iterator[Decimal]:  # noqa: A002 - HTX's word
        """Yield the amounts of the rows of one type."""
        return (_amount(row) for row in self._rows if row.type == type)

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
        zeros = {value for value in {row.balance for row in rows} if not parse_decimal(value)}
        return {row.currency for row in rows if row.balance not in zeros}

    def changed(self, since: BalanceRows) -> set[str]:
        """Return the currencies of the rows that differ."""
        pairs = zip_longest(since._rows, self._rows)
        differing = (filter(None, pair) for pair in pairs if pair[0] != pair[1])
        return {row.currency for rows in differing for row in rows}

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


def _to_rows(entries: Iterable[BalanceEntry] | BalanceRows) -> BalanceRows:
    return entries if isinstance(entries, BalanceRows) else BalanceRows(tuple(entries))


@attrs.frozen(repr=False)
class CurrencyBalance(Model):
    """
    All rows of one currency. Amounts are in that currency, and exact in any decimal context.

    Attributes:
        currency: Currency as HTX writes it, such as `usdt`.
        entries: The rows, in HTX's order.
    """

    currency: str
    _rows: BalanceRows = attrs.field(alias="entries", converter=_to_rows)

    __match_args__ = ("currency", "entries")

    @property
    def entries(self) -> tuple[BalanceEntry, ...]:
        """The rows, in HTX's order."""
        return self._rows.entries

    def amount(self, type: str) -> Decimal:  # noqa: A002 - HTX's word
        """Return the amount of one row type, such as `"loan"`; 0 if there is no such row."""
        return total(self._rows.amounts(type))

    @property
    def trade(self) -> Decimal:
        """Amount that is free to be used."""
        return self.amount(BalanceType.TRADE)

    @property
    def frozen(self) -> Decimal:
        """Amount that open orders hold."""
        return self.amount(BalanceType.FROZEN)

    @property
    def total(self) -> Decimal:
        """Sum of `trade` and `frozen`, without loans and the like."""
        return total((self.trade, self.frozen))


@attrs.frozen(repr=False)
class AccountBalance(Model, Mapping[str, CurrencyBalance]):
    """
    The balance of one account: a mapping of its currencies, in HTX's order.

    Currencies without any amount are included: HTX lists all that it trades.

    Attributes:
        id: Account id.
        type: Purpose of the account.
        state: Whether it can be used.
        entries: Every row, in HTX's order; created when first read.
    """

    id: int = attrs.field(metadata=wire("id"))
    type: AccountType = attrs.field(metadata=wire("type"))
    state: AccountState = attrs.field(metadata=wire("state"))
    _rows: BalanceRows = attrs.field(alias="entries", converter=_to_rows, metadata=wire("list"))

    __match_args__ = ("id", "type", "state", "entries")

    @property
    def entries(self) -> tuple[BalanceEntry, ...]:
        """Every row, in HTX's order; created when first read."""
        return self._rows.entries

    def __getitem__(self, currency: str) -> CurrencyBalance:
        return CurrencyBalance(currency, self._rows.of_currency(currency))

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows.starts)

    def __len__(self) -> int:
        return len(self._rows.starts)

    def __contains__(self, currency: object) -> bool:
        return currency in self._rows.starts

    @property
    def currencies(self) -> tuple[str, ...]:
        """All currencies, in order of first appearance."""
        return tuple(self._rows.starts)

    def nonzero(self) -> tuple[CurrencyBalance, ...]:
        """Return the currencies of which any row is not zero."""
        nonzero = self._rows.nonzero()
        return tuple([self[currency] for currency in self if currency in nonzero])

    def changes(self, since: AccountBalance) -> tuple[BalanceChange, ...]:
        """
        Return the amounts that have changed since an earlier balance of this account.

        In the order of this balance; what only the earlier one has comes last. A row that appears
        or disappears has changed from or to 0. A row that has another place, or more zeros, has
        not changed.

        Args:
            since: The earlier balance.

        Raises:
            InvalidInputError: *since* is not a balance, or is the balance of another account.
        """
        value = cast("object", since)
        if not isinstance(value, AccountBalance):
            msg = f"since must be an AccountBalance, got {type(value).__name__}"
            raise InvalidInputError(msg)
        if since.id != self.id:
            msg = f"since is the balance of account {since.id}, this one is of {self.id}"
            raise InvalidInputError(msg)
        # Most rows are the same: entries are created of the others only.
        changed = self._rows.changed(since._rows)
        old, new = since._rows.of_currencies(changed), self._rows.of_currencies(changed)
        return diff(old.entries, new.entries)

    def __repr__(self) -> str:
        currencies, rows = len(self), len(self._rows)
        head = f"id={self.id}, type={str(self.type)!r}, state={str(self.state)!r}"
        return f"AccountBalance({head}, {currencies} currencies in {rows} entries)"


def _amount(row: Any) -> Decimal:
    return row.balance if type(row) is BalanceEntry else parse_decimal(row.balance)


def _create_entries(rows: _Rows) -> tuple[BalanceEntry, ...]:
    """Return the entries of valid rows. A text that many rows have is parsed once."""
    if isinstance(rows, tuple):
        return rows
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
        parse_decimal(row.balance),
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
