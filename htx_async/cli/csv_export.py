"""Rows for spreadsheets: every digit that HTX sent, and no exponent."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import TextIO

from htx_async.cli.number_format import figure
from htx_async.cli.tables import COLUMNS
from htx_async.models.balance import AccountBalance, CurrencyBalance
from htx_async.models.snapshot import Snapshot

Row = tuple[object, ...]

SNAPSHOT = ("account", "account_type", "subtype", "currency", "type", "balance")


def balance(found: AccountBalance) -> Iterator[Row]:
    """Yield a row for each currency; row types other than trade and frozen have columns, too."""
    shown = tuple(found.values())
    others = _others(shown)
    yield ("currency", "trade", "frozen", "total", *others)
    for row in shown:
        amounts = (row.trade, row.frozen, row.total, *(row.amount(kind) for kind in others))
        yield (row.currency, *map(figure, amounts))


def _others(shown: Iterable[CurrencyBalance]) -> tuple[str, ...]:
    kinds = dict.fromkeys(entry.type for row in shown for entry in row.entries)
    return tuple(kind for kind in kinds if kind not in COLUMNS)


def snapshot(found: Snapshot) -> Iterator[Row]:
    """Yield a row for each row of each account."""
    yield SNAPSHOT
    for picture in found.accounts:
        account = picture.account
        for entry in picture.balance.entries if picture.balance else ():
            kind = (account.id, account.type, account.subtype)
            yield (*kind, entry.currency, entry.type, figure(entry.balance))


def write(rows: Iterable[Row], file: TextIO) -> None:
    """Write rows as CSV."""
    csv.writer(file, lineterminator="\n").writerows(rows)
