"""
The rows of a balance: thousands of them, of which most are never looked at.

An answer is checked whole when it comes. The amounts and models of its rows are made when they
are touched, and nobody can tell: not by what comes, only by when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

import attrs
import msgspec

from htx_async.convert import amount, are_amounts, json_decoder, or_none, whole, wire
from htx_async.vocabulary import BalanceType

K = TypeVar("K")
U = TypeVar("U", bound="Unmade")
V = TypeVar("V")


@attrs.frozen
class BalanceEntry:
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


_decoder: Final[msgspec.json.Decoder[Written]] = json_decoder(Written)


def written(data: bytes) -> Written:
    """
    Return a balance with its rows as text, all amounts checked.

    Raises:
        ValueError: Some row, or all, is not written in the usual way.
        msgspec.MsgspecError: The same.
    """
    found = _decoder.decode(data)
    if not are_amounts({row.balance for row in found.rows}):
        raise ValueError
    return found


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

    def entries(self, rows: Iterable[BalanceEntry]) -> tuple[BalanceEntry, ...]:
        """Return the rows as entries."""
        return tuple(rows)


class Maker:
    """Makes entries of the rows of one balance, by the rules of the converter."""

    def __init__(self) -> None:
        self._types = _Memo(BalanceType)
        self._balances = _Memo(Decimal)  # checked when they came
        self._amounts = _Memo(self._optional)
        self._numbers = _Memo(_whole_or_none)

    def amount(self, row: Row) -> Decimal:
        """Return the amount of a row."""
        return self._balances[row.balance]

    def _optional(self, text: str | None) -> Decimal | None:
        # What is available is mostly the balance: then it is made already.
        return self._balances.get(text) or _amount_or_none(text)  # type: ignore[arg-type]

    def entries(self, rows: Iterable[Row]) -> tuple[BalanceEntry, ...]:
        """Return the rows as entries."""
        types, balances = self._types, self._balances
        amounts, numbers = self._amounts, self._numbers
        made = []
        for row in rows:
            entry = _new(BalanceEntry)
            _set_currency(entry, row.currency)
            _set_type(entry, types[row.type])
            _set_balance(entry, balances[row.balance])
            _set_debt(entry, amounts[row.debt])
            _set_available(entry, amounts[row.available])
            _set_seq_num(entry, numbers[row.seq_num])
            made.append(entry)
        return tuple(made)


# Thousands at a time: a frozen class sets its fields by name, which takes half as long again.
_new = object.__new__
_set_currency, _set_type, _set_balance, _set_debt, _set_available, _set_seq_num = (
    getattr(BalanceEntry, field.name).__set__ for field in attrs.fields(BalanceEntry)
)
_MADE: Final = Made()
_get, _set = object.__getattribute__, object.__setattr__


class Unmade:
    """
    What has `entries`, or rows of which they are made when they are first touched.

    Only a slot that is empty gets to `__getattr__`; one of the two is always filled.
    """

    __slots__ = ("_maker", "_rows")

    _maker: Any
    _rows: Sequence[Any]

    def __getattr__(self, name: str) -> Any:
        if name == "entries":
            _set(self, name, _get(self, "_maker").entries(_get(self, "_rows")))
        if name in {"entries", *Unmade.__slots__}:
            _set(self, "_rows", _get(self, "entries"))
            _set(self, "_maker", _MADE)
        return _get(self, name)


def unmade(model: type[U], maker: Any, rows: Sequence[Any], **fields: Any) -> U:
    """Return a *model* of *fields* whose entries are yet to be made of *rows*."""
    self = object.__new__(model)
    for name, value in fields.items():
        _set(self, name, value)
    _set(self, "_maker", maker)
    _set(self, "_rows", rows)
    return self
