"""Tables of movements, valuations, keys and sub users."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from htx_async import (
    APIKeyInfo,
    HistoryRecord,
    LedgerRecord,
    PlatformValuation,
    SubUser,
)
from htx_async.cli.layout import Amount, Cell, DataTable
from htx_async.cli.number_format import format_amount
from htx_async.redaction import one_line

_NEVER, _UNKNOWN = "never", "unknown"


def history(records: Sequence[HistoryRecord], start: datetime) -> DataTable:
    """Return a table of the history since *start*."""
    rows: list[tuple[Cell, ...]] = [
        (
            _time(record.transact_time),
            one_line(record.currency),
            one_line(record.transact_type),
            Amount(format_amount(record.transact_amt)),
            Amount(format_amount(record.acct_balance)),
            Amount(format_amount(record.avail_balance)),
            str(record.record_id),
        )
        for record in records
    ]
    columns = ("time (UTC)", "currency", "type", "amount", "balance", "available", "record")
    optional = ("record", "available", "balance")
    return DataTable("History", columns, rows, _caption(records, start), optional)


def ledger(records: Sequence[LedgerRecord], start: datetime) -> DataTable:
    """Return a table of the transfers since *start*."""
    rows: list[tuple[Cell, ...]] = [
        (
            _time(record.transact_time),
            one_line(record.currency),
            one_line(record.transfer_type),
            Amount(format_amount(record.transact_amt)),
            _id(record.transferer),
            _id(record.transferee),
        )
        for record in records
    ]
    columns = ("time (UTC)", "currency", "type", "amount", "from", "to")
    return DataTable("Ledger", columns, rows, _caption(records, start))


def platform_valuation(valuation: PlatformValuation, currency: str) -> DataTable:
    """Return a table of the parts of a valuation, and their total."""
    rows: list[tuple[Cell, ...]] = []
    for part in valuation.profit_account_balance_list:
        kind = part.distribution_type
        name = kind.name.lower().replace("_", "-") if kind.is_known else one_line(kind)
        value = Amount(format_amount(part.account_balance))
        rows.append((name, value if part.success else Amount("failed", "yellow")))
    rows.append(("total", Amount(format_amount(valuation.total_balance))))
    columns = ("accounts", f"value in {one_line(currency)}")
    caption = ""
    if valuation.today_profit is not None:
        caption = f"profit of today: {format_amount(valuation.today_profit)} {one_line(currency)}"
        if valuation.today_profit_rate is not None:
            caption += f" ({valuation.today_profit_rate:+.2%})"
    return DataTable("Value of all assets", columns, rows, caption, has_total=True)


def key(info: APIKeyInfo) -> DataTable:
    """Return a table of what HTX knows of a key."""
    days = _NEVER if info.valid_days is None else f"in {info.valid_days} days"
    rows = [
        ("status", one_line(info.status)),
        ("permissions", one_line(", ".join(info.permission))),
        ("IP addresses", one_line(", ".join(info.ip_addresses)) or "all"),
        ("expires", days),
        ("created", _time(info.create_time)),
        ("changed", _time(info.update_time)),
        ("note", one_line(info.note)),
    ]
    return DataTable("API key", ("property", "value"), [row for row in rows if row[1]])


def sub_users(users: Sequence[SubUser]) -> DataTable:
    """Return a table of sub users."""
    rows = [
        (
            str(user.uid),
            one_line(user.user_state),
            one_line(user.sub_user_name),
            one_line(user.note),
        )
        for user in users
    ]
    return DataTable("Sub users", ("uid", "state", "name", "note"), rows)


def _caption(records: Sequence[object], start: datetime) -> str:
    return f"{len(records)} since {start:%Y-%m-%d %H:%M} UTC"


def _time(time: datetime | None) -> str:
    return _UNKNOWN if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


def _id(account_id: int | None) -> str:
    return _UNKNOWN if account_id is None else str(account_id)
