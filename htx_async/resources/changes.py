"""What has moved between two balances of one account."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeAlias

import attrs

from htx_async.amounts import difference, total
from htx_async.models import Model
from htx_async.vocabulary import BalanceType

if TYPE_CHECKING:
    from htx_async.resources.rows import BalanceEntry

_Key: TypeAlias = tuple[str, BalanceType]


@attrs.frozen
class Change(Model):
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


def between(before: Iterable[BalanceEntry], after: Iterable[BalanceEntry]) -> tuple[Change, ...]:
    """Return what has moved, in the order of *after*; what is gone comes last."""
    before, after = tuple(before), tuple(after)
    # Nearly all rows are where they were, as they were: only the others are added up.
    touched = frozenset(_touched(before, after))
    if not touched:
        return ()
    was, now = _totals(before, touched), _totals(after, touched)
    zero = Decimal(0)
    moved = ((key, was.get(key, zero), now.get(key, zero)) for key in now | was)
    return tuple(Change(*key, old, new) for key, old, new in moved if old != new)


def _touched(before: Iterable[BalanceEntry], after: Iterable[BalanceEntry]) -> Iterator[_Key]:
    for old, new in zip_longest(before, after):
        if old is None or new is None or _moved(old, new):
            yield from ((row.currency, row.type) for row in (old, new) if row is not None)


def _moved(old: BalanceEntry, new: BalanceEntry) -> bool:
    return old.balance != new.balance or old.currency != new.currency or old.type != new.type


def _totals(entries: Iterable[BalanceEntry], touched: frozenset[_Key]) -> dict[_Key, Decimal]:
    rows: dict[_Key, list[Decimal]] = {}
    for entry in entries:
        key = (entry.currency, entry.type)
        if key in touched:
            rows.setdefault(key, []).append(entry.balance)
    return {key: total(amounts) for key, amounts in rows.items()}
