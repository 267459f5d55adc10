"""The balance of an account: a mapping of its currencies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import cast

import attrs

from htx_async.errors import InvalidInputError
from htx_async.models.balance_diff import BalanceChange, diff
from htx_async.models.balance_rows import BalanceEntry, BalanceRows
from htx_async.models.base import Model
from htx_async.models.decimals import total
from htx_async.models.enums import AccountState, AccountType, BalanceType
from htx_async.models.schema import wire

__all__ = ["AccountBalance", "BalanceEntry", "CurrencyBalance", "SubUserBalance"]

_DOCUMENTED_TYPES = frozenset[str](BalanceType)


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

    def amount(self, type: str) -> Decimal:
        """
        Return the amount of one row type, such as `"loan"`; 0 if HTX did not send such a row.

        Raises:
            KeyError: Neither HTX's pages nor the rows of this currency contain this type.
        """
        amounts = tuple(self._rows.amounts(type))
        if not amounts and type not in _DOCUMENTED_TYPES:
            msg = f"no row type {type!r:.42}: HTX documents {', '.join(BalanceType)}"
            raise KeyError(msg)
        return total(amounts)

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
        received_at: When the response arrived, in UTC by the client's clock; not part of `==`.
            `None`: the model is not from a response.
    """

    id: int = attrs.field(metadata=wire("id"))
    type: AccountType = attrs.field(metadata=wire("type"))
    state: AccountState = attrs.field(metadata=wire("state"))
    _rows: BalanceRows = attrs.field(alias="entries", converter=_to_rows, metadata=wire("list"))
    received_at: datetime | None = attrs.field(
        default=None, eq=False, kw_only=True, metadata=wire(None)
    )

    __match_args__ = ("id", "type", "state", "entries")

    @property
    def entries(self) -> tuple[BalanceEntry, ...]:
        """Every row, in HTX's order; created when first read."""
        return self._rows.entries

    def __getitem__(self, currency: str) -> CurrencyBalance:
        try:
            return CurrencyBalance(currency, self._rows.of_currency(currency))
        except KeyError:
            msg = f"no currency {currency!r:.42} in this balance"
        name = cast("object", currency)
        if isinstance(name, str) and name != name.lower():
            msg = f"{msg}. HTX writes currencies in lower case: {name.lower()!r:.42}"
        raise KeyError(msg)

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

        In the order of this balance; rows that only the earlier one has come last. A row that
        appears changes from 0, and a row that disappears changes to 0. The position of a row and
        trailing zeros do not matter.

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
        return diff(self.id, old.entries, new.entries)

    def __repr__(self) -> str:
        if not hasattr(self, "_rows"):  # its construction failed
            return super().__repr__()
        currencies, rows = len(self), len(self._rows)
        head = f"id={self.id}, type={str(self.type)!r}, state={str(self.state)!r}"
        return f"{type(self).__name__}({head}, {currencies} currencies in {rows} entries)"


@attrs.frozen(repr=False)
class SubUserBalance(AccountBalance):
    """
    The balance of one account of a sub user.

    Attributes:
        symbol: The symbol of an isolated margin account, else "".
    """

    symbol: str = attrs.field(default="", kw_only=True, metadata=wire("symbol", default=""))
