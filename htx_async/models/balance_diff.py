"""What has moved between two balances of one account."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

import attrs

from htx_async.models.base import Model
from htx_async.models.decimals import difference, total
from htx_async.models.enums import BalanceType

if TYPE_CHECKING:
    from htx_async.models.rows import BalanceEntry

_Key: TypeAlias = tuple[str, BalanceType]


@attrs.frozen(repr=False)
class BalanceChange(Model):
    """
    An amount that has moved: one row type in one currency, rows of it added.

    Attributes:
        currency: As HTX writes it, such as `usdt`.
        type: What the amount is: `trade` (free), `frozen` (in orders), `loan` and more.
        before: What it was, in *currency*; 0 where there was no such row.
        after: What it is; 0 where there is no such row any more.
    """

    currency: str
    type: BalanceType
    before: Decimal
    after: Decimal

    @property
    def delta(self) -> Decimal:
        """By how much it moved, in *currency*: below zero if it fell."""
        return difference(self.after, self.before)


def between(
    before: Iterable[BalanceEntry], after: Iterable[BalanceEntry]
) -> tuple[BalanceChange, ...]:
    """Return what has moved, in the order of *after*; what is gone comes last."""
    was, now = _totals(before), _totals(after)
    zero = Decimal(0)
    moved = ((key, was.get(key, zero), now.get(key, zero)) for key in now | was)
    return tuple(BalanceChange(*key, old, new) for key, old, new in moved if old != new)


def _totals(entries: Iterable[BalanceEntry]) -> dict[_Key, Decimal]:
    rows: dict[_Key, list[Decimal]] = {}
    for entry in entries:
        rows.setdefault((entry.currency, entry.type), []).append(entry.balance)
    return {key: total(amounts) for key, amounts in rows.items()}
