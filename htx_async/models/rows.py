"""
The rows of a balance: thousands of them, of which most are never looked at.

An answer is checked whole when it comes. The amounts and models of its rows are made when they
are touched, and nobody can tell: not by what comes, only by when.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import msgspec

from htx_async.models.base import Model
from htx_async.models.decoding import wire
from htx_async.models.enums import BalanceType
from htx_async.models.wire_types import (
    WrongError,
    amount,
    are_amounts,
    json_decoder,
    or_none,
    text,
    whole,
)

K = TypeVar("K")
U = TypeVar("U", bound="Unmade")
V = TypeVar("V")
R = TypeVar("R", "BalanceEntry", "Row")

Source: TypeAlias = "tuple[Any, Sequence[Any]]"
"""A `Maker` with rows, or a `Made` with entries."""


_get, _set = object.__getattribute__, object.__setattr__


class _Unfilled:
    """Room for the row of which a part was not needed yet."""

    __slots__ = ("_maker", "_row")

    def __getattr__(self, name: str) -> Any:
        # Only a slot that is empty gets here.
        if name in _OPTIONAL:
            _get(self, "_maker").fill(self, _get(self, "_row"))
        return _get(self, name)


@attrs.frozen(repr=False)
class BalanceEntry(_Unfilled, Model):
    """
    One row of a balance: an amount of one kind in one currency.

    Attributes:
        currency: As HTX writes it, such as `usdt`.
        type: What the amount is: `trade` (free), `frozen` (in orders), `loan` and more.
        balance: The amount, in *currency*.
        debt: HTX calls it an invalid field; `None` where it is no number.
        available: HTX calls it an invalid field; `None` where it is no number.
        seq_num: Serial number of the last change, `None` where it is missing.
    """

    currency: str = wire("currency")
    type: BalanceType = wire("type")
    balance: Decimal = wire("balance")
    debt: Decimal | None = wire("debt", absent=None, default=None)
    available: Decimal | None = wire("available", absent=None, default=None)
    seq_num: int | None = wire("seq-num", absent=None, default=None)


_OPTIONAL = ("debt", "available", "seq_num")


class Row(msgspec.Struct, gc=False):
    """A row as HTX writes it today. One that is written differently is left to the converter."""

    currency: str
    type: str
    balance: str
    debt: str | None = None
    available: str | None = None
    seq_num: str | int | None = msgspec.field(default=None, name="seq-num")


class Written(msgspec.Struct):
    """A balance as HTX writes it today."""

    id: Any
    type: Any
    state: Any
    rows: list[Row] = msgspec.field(name="list")


@functools.cache
def _decoder() -> msgspec.json.Decoder[Written]:
    return json_decoder(Written)


def is_right(found: Written) -> bool:
    """Tell whether a balance is all that it must be, its amounts too: then nothing can fail."""
    try:
        for rule, value in ((whole, found.id), (text, found.type), (text, found.state)):
            rule(value)
    except WrongError:
        return False
    return are_amounts({row.balance for row in found.rows})


def written(data: bytes | memoryview) -> Written | None:
    """Return a balance with its rows as text; `None`: it is not written in the usual way."""
    try:
        found = _decoder().decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if is_right(found) else None


def by_currency(rows: Sequence[R]) -> tuple[Sequence[R], dict[str, int]]:
    """
    Return the rows with those of a currency side by side, and where those of each begin.

    That is how HTX writes them. A list for each currency would take twice as long, and give the
    garbage collector thousands of objects to look through.
    """
    begins: dict[str, int] = {}
    last = None
    for place, row in enumerate(rows):
        currency = row.currency
        if currency != last:
            if currency in begins:
                return by_currency(_side_by_side(rows))
            begins[currency] = place
            last = currency
    return rows, begins


def _side_by_side(rows: Sequence[R]) -> Sequence[R]:
    found: dict[str, list[R]] = {}
    for row in rows:
        found.setdefault(row.currency, []).append(row)
    return [row for group in found.values() for row in group]


def run_at(rows: Sequence[R], begin: int) -> Sequence[R]:
    """Return the rows of one currency, which begin there."""
    currency = rows[begin].currency
    end = begin + 1
    while end < len(rows) and rows[end].currency == currency:
        end += 1
    return rows[begin:end]


class _Memo(dict[K, V]):
    """What was made of a text. Most rows say `0`, and all say one of a few types."""

    def __init__(self, make: Callable[[K], V]) -> None:
        self._make = make

    def __missing__(self, text: K) -> V:
        made = self[text] = self._make(text)
        return made


_amount_or_none, _whole_or_none = or_none(amount), or_none(whole)


class Made:
    """Makes nothing: the rows are entries already."""

    def amount(self, row: BalanceEntry) -> Decimal:
        """Return the amount of a row."""
        return row.balance

    def nonzero(self, rows: Iterable[BalanceEntry]) -> set[str]:
        """Return the currencies of the rows that are not zero."""
        return {row.currency for row in rows if row.balance}

    def entries(self, rows: Iterable[BalanceEntry]) -> tuple[BalanceEntry, ...]:
        """Return the rows as entries."""
        return tuple(rows)


class Maker:
    """Makes entries of the rows of one balance, by the rules of the converter."""

    def __init__(self) -> None:
        balances = _Memo(Decimal)  # checked when they came

        def optional(text: str | None) -> Decimal | None:
            # What is available is mostly the balance: then it is made already.
            return balances.get(text) or _amount_or_none(text)  # type: ignore[arg-type]

        self._types = _Memo(BalanceType)
        self._balances = balances
        self._amounts = _Memo(optional)
        self._numbers = _Memo(_whole_or_none)

    def amount(self, row: Row) -> Decimal:
        """Return the amount of a row."""
        return self._balances[row.balance]

    def nonzero(self, rows: Iterable[Row]) -> set[str]:
        """Return the currencies of the rows that are not zero."""
        # What `0`, `-0.00` and `0E-18` leave is nothing, or an exponent. No Decimal is so quick.
        return {
            row.currency
            for row in rows
            if (left := row.balance.strip("-0.")) and left[0] not in "eE"
        }

    def entries(self, rows: Iterable[Row]) -> tuple[BalanceEntry, ...]:
        """Return the rows as entries, with what matters in them."""
        types, balances = self._types, self._balances
        made: list[BalanceEntry] = []
        for row in rows:
            entry = _new(BalanceEntry)
            _set_currency(entry, row.currency)
            _set_type(entry, types[row.type])
            _set_balance(entry, balances[row.balance])
            _set_row(entry, row)
            _set_maker(entry, self)
            made.append(entry)
        return tuple(made)

    def fill(self, entry: BalanceEntry, row: Row) -> None:
        """Fill in what few look at."""
        _set(entry, "debt", self._amounts[row.debt])
        _set(entry, "available", self._amounts[row.available])
        _set(entry, "seq_num", self._numbers[row.seq_num])


# Thousands at a time: a frozen class sets its fields by name, which takes half as long again.
_new = object.__new__
_set_currency, _set_type, _set_balance, _set_maker, _set_row = (
    getattr(BalanceEntry, name).__set__
    for name in ("currency", "type", "balance", *_Unfilled.__slots__)
)
_MADE: Final = Made()


class Unmade:
    """
    What has `entries`, or rows of which they are made when they are first touched.

    `_source` is whoever makes entries and the rows of which: both in one, so that no other thread
    sees the one without the other. Only a slot that is empty gets to `__getattr__`; `entries` or
    `_source` is always filled.
    """

    __slots__ = ("_source",)

    _source: Source

    def __getattr__(self, name: str) -> Any:
        if name == "entries":
            maker, rows = _get(self, "_source")
            _set(self, name, maker.entries(rows))
        if name in {"entries", "_source"}:
            _set(self, "_source", (_MADE, _get(self, "entries")))
        return _get(self, name)


def unmade(self: U, maker: Any, rows: Sequence[Any]) -> U:
    """Return *self*, a new and empty model, with entries that are yet to be made of *rows*."""
    _set_source(self, (maker, rows))
    return self


_set_source = Unmade.__dict__["_source"].__set__
