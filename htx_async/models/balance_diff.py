"""Differences between two balances of one account."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

import attrs

from htx_async.models.base import Model
from htx_async.models.decimals import difference, total
from htx_async.models.enums import BalanceType

__all__ = ["BalanceChange"]

if TYPE_CHECKING:
    from htx_async.models.balance_rows import BalanceEntry

_Key: TypeAlias = tuple[str, BalanceType]


@attrs.frozen(repr=False)
class BalanceChange(Model):
    """
    Change of an amount: the sum of the rows of one type in one currency.

    Attributes:
        account_id: The account.
        currency: Currency as HTX writes it, such as `usdt`.
        type: What the amount is: `trade` (free), `frozen` (in orders), `loan` and more.
        before: The earlier amount, in *currency*; 0 if there was no such row.
        after: The later amount; 0 if there is no such row any more.
        cause: In a stream: HTX's `changeType`; `resync`: found by REST; `unknown`: HTX did not
            name it. `None`: the change is the difference of two balances.
        seq: In a stream: serial number of the change; `None`: not known.
    """

    account_id: int
    currency: str
    type: BalanceType
    before: Decimal
    after: Decimal
    cause: str | None = None
    seq: int | None = None

    @property
    def delta(self) -> Decimal:
        """The difference in units of *currency*, below zero if the amount fell."""
        return difference(self.after, self.before)


def diff(
    account_id: int, before: Iterable[BalanceEntry], after: Iterable[BalanceEntry]
) -> tuple[BalanceChange, ...]:
    """Return the changes in the order of *after*; what only *before* has comes last."""
    old, new = _totals(before), _totals(after)
    zero = Decimal(0)
    pairs = ((key, old.get(key, zero), new.get(key, zero)) for key in new | old)
    return tuple(BalanceChange(account_id, *key, was, now) for key, was, now in pairs if was != now)


def _totals(entries: Iterable[BalanceEntry]) -> dict[_Key, Decimal]:
    amounts: dict[_Key, list[Decimal]] = {}
    for entry in entries:
        amounts.setdefault((entry.currency, entry.type), []).append(entry.balance)
    return {key: total(values) for key, values in amounts.items()}
