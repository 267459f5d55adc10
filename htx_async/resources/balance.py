"""The models of accounts: frozen values with exact amounts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType
from typing import cast

import attrs

from htx_async import failures
from htx_async.amounts import total
from htx_async.convert import wire
from htx_async.errors import HTXError, InvalidInputError
from htx_async.models import Model
from htx_async.resources.changes import Change, between
from htx_async.vocabulary import AccountState, AccountType, BalanceType


@attrs.frozen
class Account(Model):
    """
    One account of a user.

    Attributes:
        subtype: The symbol of an isolated margin account, the chain of a trust account, else "".
    """

    id: int = wire("id")
    type: AccountType = wire("type")
    subtype: str = wire("subtype", absent="")
    state: AccountState = wire("state")


@attrs.frozen
class BalanceEntry(Model):
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


@attrs.frozen
class CurrencyBalance(Model):
    """
    All rows of one currency. Amounts are in that currency, and exact in any decimal context.

    Attributes:
        entries: The rows, in HTX's order.
    """

    currency: str
    entries: tuple[BalanceEntry, ...]

    def of(self, type: str) -> Decimal:  # noqa: A002 - HTX's word
        """Return the amount of one row type, such as `"loan"`; 0 where there is no such row."""
        return total(entry.balance for entry in self.entries if entry.type == type)

    @property
    def trade(self) -> Decimal:
        """What is free to be used."""
        return self.of(BalanceType.TRADE)

    @property
    def frozen(self) -> Decimal:
        """What open orders hold."""
        return self.of(BalanceType.FROZEN)

    @property
    def total(self) -> Decimal:
        """`trade` and `frozen` together; loans and the like are not in it."""
        return total((self.trade, self.frozen))


@attrs.frozen
class AccountBalance(Model, Mapping[str, CurrencyBalance]):
    """
    The balance of one account: a mapping of its currencies, in HTX's order.

    Currencies without any amount are listed too: HTX names all that it trades.

    Attributes:
        entries: Every row, in HTX's order.
    """

    id: int = wire("id")
    type: AccountType = wire("type")
    state: AccountState = wire("state")
    entries: tuple[BalanceEntry, ...] = wire("list")

    @cached_property
    def _by_currency(self) -> Mapping[str, tuple[BalanceEntry, ...]]:
        rows: dict[str, list[BalanceEntry]] = {}
        for entry in self.entries:
            rows.setdefault(entry.currency, []).append(entry)
        return MappingProxyType({currency: tuple(found) for currency, found in rows.items()})

    def __getitem__(self, currency: str) -> CurrencyBalance:
        return CurrencyBalance(currency, self._by_currency[currency])

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_currency)

    def __len__(self) -> int:
        return len(self._by_currency)

    @property
    def currencies(self) -> tuple[str, ...]:
        """All currencies, in order of first appearance."""
        return tuple(self._by_currency)

    def nonzero(self) -> tuple[CurrencyBalance, ...]:
        """Return the currencies of which any row is not zero."""
        return tuple(
            self[currency]
            for currency, entries in self._by_currency.items()
            if any(entry.balance for entry in entries)
        )

    def changes(self, since: AccountBalance) -> tuple[Change, ...]:
        """
        Return what has moved since an earlier balance of this account, and by how much.

        In the order of this balance; what is gone comes last. A row that appears or disappears
        has moved from or to 0. A row that HTX only moved, or wrote with more zeros, has not.

        Args:
            since: The balance before, as it was read.

        Raises:
            InvalidInputError: *since* is the balance of another account, or none.
        """
        given = cast("object", since)
        if not isinstance(given, AccountBalance):
            msg = f"since must be an AccountBalance, not {type(given).__name__}"
            raise InvalidInputError(msg)
        if since.id != self.id:
            msg = f"since is the balance of account {since.id}, this one is of {self.id}"
            raise InvalidInputError(msg)
        return between(since.entries, self.entries)

    def __repr__(self) -> str:
        currencies, rows = len(self), len(self.entries)
        head = f"id={self.id}, type={str(self.type)!r}, state={str(self.state)!r}"
        return f"AccountBalance({head}, {currencies} currencies in {rows} entries)"


@attrs.frozen
class AccountPicture(Model):
    """
    One account in a snapshot: it has either a balance or an error.

    Attributes:
        error: Why its balance could not be read. For `==` it counts what it tells.
    """

    account: Account
    balance: AccountBalance | None
    error: HTXError | None = attrs.field(eq=failures.value)


@attrs.frozen
class Snapshot(Model):
    """
    All accounts of a user, with what is in them: read at once, as far as the limit allows.

    Attributes:
        pictures: One for each account, in HTX's order.
    """

    pictures: tuple[AccountPicture, ...]

    @property
    def accounts(self) -> tuple[Account, ...]:
        """All accounts, in HTX's order."""
        return tuple(picture.account for picture in self.pictures)

    @property
    def balances(self) -> Mapping[int, AccountBalance]:
        """The balances that could be read, by account id."""
        read = ((picture.account.id, picture.balance) for picture in self.pictures)
        return MappingProxyType(
            {number: balance for number, balance in read if balance is not None}
        )

    @property
    def errors(self) -> Mapping[int, HTXError]:
        """Why the others could not, by account id."""
        read = ((picture.account.id, picture.error) for picture in self.pictures)
        return MappingProxyType({key: error for key, error in read if error is not None})
