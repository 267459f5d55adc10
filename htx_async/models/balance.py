"""The models of accounts: frozen values with exact amounts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from itertools import zip_longest
from types import MappingProxyType
from typing import Any, Final, cast

import attrs

from htx_async.errors import HTXError, InvalidInputError
from htx_async.models import error_json
from htx_async.models.balance_diff import BalanceChange, between
from htx_async.models.base import Model
from htx_async.models.decimals import total
from htx_async.models.decoding import reader, wire
from htx_async.models.enums import AccountState, AccountType, BalanceType
from htx_async.models.rows import (
    BalanceEntry,
    Maker,
    Source,
    Unmade,
    Written,
    by_currency,
    run_at,
    unmade,
    written,
)
from htx_async.models.wire_types import whole


@attrs.frozen(repr=False)
class Account(Model):
    """
    One account of a user.

    Attributes:
        id: What balances are asked by. The UID is another number.
        type: What it is for, such as `spot`.
        subtype: The symbol of an isolated margin account, the chain of a trust account, else "".
        state: `working` or `lock`.
    """

    id: int = wire("id")
    type: AccountType = wire("type")
    subtype: str = wire("subtype", absent="")
    state: AccountState = wire("state")


@attrs.frozen(repr=False)
class CurrencyBalance(Unmade, Model):
    """
    All rows of one currency. Amounts are in that currency, and exact in any decimal context.

    Attributes:
        currency: As HTX writes it, such as `usdt`.
        entries: The rows, in HTX's order.
    """

    currency: str
    entries: tuple[BalanceEntry, ...]

    def amount(self, type: str) -> Decimal:  # noqa: A002 - HTX's word
        """Return the amount of one row type, such as `"loan"`; 0 where there is no such row."""
        maker, rows = self._source
        return total(maker.amount(row) for row in rows if row.type == type)

    @property
    def trade(self) -> Decimal:
        """What is free to be used."""
        return self.amount(BalanceType.TRADE)

    @property
    def frozen(self) -> Decimal:
        """What open orders hold."""
        return self.amount(BalanceType.FROZEN)

    @property
    def total(self) -> Decimal:
        """`trade` and `frozen` together; loans and the like are not in it."""
        return total((self.trade, self.frozen))


_new, _set = object.__new__, object.__setattr__


def _in_currency(currency: str, maker: Any, rows: Sequence[Any]) -> CurrencyBalance:
    self = unmade(_new(CurrencyBalance), maker, rows)
    _set(self, "currency", currency)
    return self


@attrs.frozen
class AccountBalance(Unmade, Model, Mapping[str, CurrencyBalance]):
    """
    The balance of one account: a mapping of its currencies, in HTX's order.

    Currencies without any amount are listed too: HTX names all that it trades.

    Attributes:
        id: The account's.
        type: What the account is for.
        state: Whether it can be used.
        entries: Every row, in HTX's order; made when first touched.
    """

    id: int = wire("id")
    type: AccountType = wire("type")
    state: AccountState = wire("state")
    entries: tuple[BalanceEntry, ...] = wire("list")

    @cached_property
    def _by_currency(self) -> tuple[Source, dict[str, int]]:
        maker, given = self._source
        rows, begins = by_currency(given)
        return (maker, rows), begins

    def __getitem__(self, currency: str) -> CurrencyBalance:
        (maker, rows), begins = self._by_currency
        return _in_currency(currency, maker, run_at(rows, begins[currency]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_currency[1])

    def __len__(self) -> int:
        return len(self._by_currency[1])

    @property
    def currencies(self) -> tuple[str, ...]:
        """All currencies, in order of first appearance."""
        return tuple(self._by_currency[1])

    def nonzero(self) -> tuple[CurrencyBalance, ...]:
        """Return the currencies of which any row is not zero."""
        maker, rows = self._source
        nonzero = maker.nonzero(rows)
        return tuple([self[currency] for currency in self if currency in nonzero])

    def changes(self, since: AccountBalance) -> tuple[BalanceChange, ...]:
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
        # Most rows are as they were: only of the others are models made.
        moved = {
            row.currency
            for pair in zip_longest(since._source[1], self._source[1])
            if pair[0] != pair[1]
            for row in filter(None, pair)
        }
        return between(since._entries_in(moved), self._entries_in(moved))

    def _entries_in(self, currencies: set[str]) -> tuple[BalanceEntry, ...]:
        maker, rows = self._source
        made: tuple[BalanceEntry, ...] = maker.entries(
            [row for row in rows if row.currency in currencies]
        )
        return made

    def __repr__(self) -> str:
        currencies, rows = len(self), len(self._source[1])
        head = f"id={self.id}, type={str(self.type)!r}, state={str(self.state)!r}"
        return f"AccountBalance({head}, {currencies} currencies in {rows} entries)"


def read_balance(data: bytes | memoryview | Written) -> AccountBalance:
    """
    Return the balance that *data* is: JSON, or rows that `is_right` has seen.

    Raises:
        DecodeError: Something that matters is missing or malformed.
    """
    if isinstance(data, Written):
        return _made(data)
    found = written(data)
    # Written in another way, or wrong: the converter knows.
    return _by_the_rules(data) if found is None else _made(found)


def _made(found: Written) -> AccountBalance:
    self = unmade(_new(AccountBalance), Maker(), found.rows)
    _set(self, "id", whole(found.id))
    _set(self, "type", AccountType(found.type))
    _set(self, "state", AccountState(found.state))
    return self


_by_the_rules: Final[Callable[[bytes | memoryview], AccountBalance]] = reader(AccountBalance)


@attrs.frozen(repr=False)
class AccountSnapshot(Model):
    """
    One account in a snapshot: it has either a balance or an error.

    Attributes:
        account: As the list tells it.
        balance: `None` where it could not be read.
        error: Why it could not, else `None`. For `==` it counts what it tells.
    """

    account: Account
    balance: AccountBalance | None
    error: HTXError | None = attrs.field(eq=error_json.value)


@attrs.frozen(repr=False)
class Snapshot(Model):
    """
    All accounts of a user, with what is in them: read at once, as far as the limit allows.

    Attributes:
        accounts: One for each account, in HTX's order.
    """

    accounts: tuple[AccountSnapshot, ...]

    @property
    def balances(self) -> Mapping[int, AccountBalance]:
        """The balances that could be read, by account id."""
        read = ((picture.account.id, picture.balance) for picture in self.accounts)
        return MappingProxyType(
            {number: balance for number, balance in read if balance is not None}
        )

    @property
    def errors(self) -> Mapping[int, HTXError]:
        """Why the others could not, by account id."""
        read = ((picture.account.id, picture.error) for picture in self.accounts)
        return MappingProxyType({key: error for key, error in read if error is not None})
