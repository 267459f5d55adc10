"""CSV export: every digit that HTX sent, without exponent."""

from __future__ import annotations

import csv
from typing import TextIO

from htx_async import AccountBalance, Snapshot
from htx_async.cli.number_format import format_amount
from htx_async.cli.tables import COLUMN_TYPES


def write_balance(balance: AccountBalance, file: TextIO) -> None:
    """Write a row for each currency. Row types besides trade and frozen have a column each."""
    types = dict.fromkeys(entry.type for entry in balance.entries)
    further = [row_type for row_type in types if row_type not in COLUMN_TYPES]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("currency", "trade", "frozen", "total", *further))
    for currency in balance.values():
        amounts = [currency.trade, currency.frozen, currency.total]
        amounts += [currency.amount(row_type) for row_type in further]
        writer.writerow((currency.currency, *map(format_amount, amounts)))


def write_snapshot(snapshot: Snapshot, file: TextIO) -> None:
    """Write a row for each balance entry of each account."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("account", "account_type", "subtype", "currency", "type", "balance"))
    for item in snapshot.accounts:
        account = item.account
        for entry in item.balance.entries if item.balance else ():
            amount = format_amount(entry.balance)
            row = (account.id, account.type, account.subtype, entry.currency, entry.type, amount)
            writer.writerow(row)
