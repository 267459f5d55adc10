"""Sums of amounts, exact whatever decimal context the caller has."""

from __future__ import annotations

import decimal
from collections.abc import Iterable
from decimal import Decimal

_EXACT = decimal.Context(
    prec=10_000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[decimal.Inexact]
)
"""Room for any sum of amounts that HTX can write. `Inexact` is raised if it is too small."""


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Add amounts; a single one stays as it came, digit for digit."""
    added: Decimal | None = None
    for amount in amounts:
        added = amount if added is None else _EXACT.add(added, amount)
    return Decimal(0) if added is None else added


def difference(after: Decimal, before: Decimal) -> Decimal:
    """Return *after* minus *before*."""
    return _EXACT.subtract(after, before)
