"""CSV export: exact amounts, without exponent and trailing zeros; empty if HTX sent none."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, TextIO, cast

from htx_async import AccountBalance, Model, Snapshot
from htx_async.cli.number_format import format_amount
from htx_async.cli.tables import COLUMN_TYPES
from htx_async.models.schema import fields_of

_FORMULA = ("=", "+", "-", "@")
"""A spreadsheet reads text that begins so as a formula."""


def write_balance(balance: AccountBalance, file: TextIO) -> None:
    """
    Write a row for each currency. Row types besides trade and frozen have a column each.

    A cell is empty if HTX sent no such row.
    """
    types = dict.fromkeys(entry.type for entry in balance.entries)
    further = [row_type for row_type in types if row_type not in COLUMN_TYPES]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("currency", "trade", "frozen", "total", *map(_text, further)))
    for currency in balance.values():
        amounts = {
            entry.type: format_amount(currency.amount(entry.type)) for entry in currency.entries
        }
        cells = [amounts.get(row_type, "") for row_type in (*COLUMN_TYPES, *further)]
        total = format_amount(currency.total) if any(cells[: len(COLUMN_TYPES)]) else ""
        cells.insert(len(COLUMN_TYPES), total)
        writer.writerow((_text(currency.currency), *cells))


def write_snapshot(snapshot: Snapshot, file: TextIO) -> None:
    """Write a row for each balance entry of each account."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("account", "account_type", "subtype", "currency", "type", "balance"))
    for item in snapshot.accounts:
        account = item.account
        for entry in item.balance.entries if item.balance else ():
            texts = (account.type, account.subtype, entry.currency, entry.type)
            writer.writerow((account.id, *map(_text, texts), format_amount(entry.balance)))


def write_models(kind: type[Model], models: Iterable[Model], file: TextIO) -> None:
    """Write a row for each of *models*, which are of this *kind*, with a column for each field."""
    model_class: Any = kind
    names = [field.name for field in fields_of(model_class)]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for model in models:
        writer.writerow([_cell(getattr(model, name)) for name in names])


def _cell(value: object) -> object:
    if isinstance(value, Decimal):
        return format_amount(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return " ".join(str(_cell(item)) for item in cast("tuple[object, ...]", value))
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    """Return *text* without control characters, and never as a formula."""
    escaped = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
    return f"'{escaped}" if escaped.startswith(_FORMULA) else escaped
