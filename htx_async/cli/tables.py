"""Tables of models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.text import Text

from htx_async import (
    Account,
    AccountBalance,
    AccountSnapshot,
    AssetValuation,
    BalanceType,
    CurrencyBalance,
    PointBalance,
    PointGroup,
    RateLimitStatus,
    Snapshot,
)
from htx_async.cli.layout import Amount, Cell, DataTable, Record
from htx_async.cli.number_format import format_amount
from htx_async.models.decimals import total
from htx_async.redaction import one_line

COLUMN_TYPES = (BalanceType.TRADE, BalanceType.FROZEN)
"""Row types with a column of their own."""

_DEBTS = (BalanceType.LOAN, BalanceType.INTEREST)
_WITHOUT_DEBTS = 4
"""Columns of a total of accounts without loans: currency, trade, frozen, total."""

EXPIRES_SOON = 30
"""Days before they expire from which points are highlighted."""


def accounts(accounts: tuple[Account, ...]) -> DataTable:
    """Return a table of accounts."""
    rows = [
        (str(account.id), *map(one_line, (account.type, account.subtype, account.state)))
        for account in accounts
    ]
    return DataTable("Accounts", ("id", "type", "subtype", "state"), rows)


def balance(balance: AccountBalance, *, show_zero: bool, subtype: str = "") -> DataTable:
    """Return a table of currencies; row types other than trade and frozen come last."""
    currencies = tuple(balance.values()) if show_zero else balance.nonzero()
    kind = one_line(f"{balance.type} {subtype}")
    title = f"Balance of {kind} account {balance.id} ({one_line(balance.state)})"
    hidden = len(balance) - len(currencies)
    caption = f"zero balances hidden: {hidden} (see --all)" if hidden else ""
    rows: list[tuple[Cell, ...]] = []
    records: list[Record] = []
    for currency in currencies:
        name, amounts = one_line(currency.currency), _amounts([currency])
        others = [(kind, amount) for kind, amount in _others(currency) if amount]
        other = ", ".join(f"{kind} {format_amount(amount)}" for kind, amount in others)
        rows.append((name, *_cells(amount for _, amount in amounts), other))
        kinds, values = zip(*amounts, *others, strict=True)
        records.append((("currency", name), *zip(kinds, _cells(values), strict=True)))
    columns = ["currency", "trade", "frozen", "total"]
    if any(other for *_, other in rows):
        columns.append("other")
    return DataTable(title, columns, rows, caption, records=records)


def _amounts(balances: Sequence[CurrencyBalance]) -> list[tuple[str, Decimal]]:
    """Return the sums of the row types that have a column of their own."""
    return [
        ("trade", total(row.trade for row in balances)),
        ("frozen", total(row.frozen for row in balances)),
        ("total", total(row.total for row in balances)),
    ]


def _others(balance: CurrencyBalance) -> Iterator[tuple[str, Decimal]]:
    """Yield the amounts of the other row types."""
    for kind in dict.fromkeys(entry.type for entry in balance.entries):
        if kind not in COLUMN_TYPES:
            yield one_line(kind), balance.amount(kind)


def _cells(amounts: Iterable[Decimal]) -> list[Cell]:
    return [Amount(format_amount(amount)) for amount in amounts]


def snapshot(snapshot: Snapshot, *, show_zero: bool) -> Group:
    """Return a table for each account with a balance, one of the totals, and the failures."""
    read = [(item.account, item.balance) for item in snapshot.accounts if item.balance is not None]
    filled = [(account, amounts) for account, amounts in read if show_zero or amounts.nonzero()]
    parts: list[RenderableType] = [
        balance(amounts, show_zero=show_zero, subtype=account.subtype)
        for account, amounts in filled
    ]
    if len(filled) > 1:
        parts.append(combined([amounts for _, amounts in filled]))
    if empty := [account for account, amounts in read if not (show_zero or amounts.nonzero())]:
        parts.append(Text(f"Zero balance: {', '.join(map(_label, empty))}"))
    if snapshot.skipped:
        parts.append(Text(f"Not reported by HTX: {', '.join(map(_label, snapshot.skipped))}"))
    parts += [_failure(item) for item in snapshot.accounts if item.error is not None]
    return Group(*(line for part in parts for line in (part, Text())))


def combined(balances: Sequence[AccountBalance]) -> DataTable:
    """Return a table of the totals of several accounts, with their loans and the net value."""
    by_currency: dict[str, list[CurrencyBalance]] = {}
    for row in (row for balance in balances for row in balance.nonzero()):
        by_currency.setdefault(row.currency, []).append(row)
    columns = ["currency", "trade", "frozen", "total", *_DEBTS, "net"]
    rows: list[list[Cell]] = []
    records: list[Record] = []
    has_debts = False
    for currency, parts in by_currency.items():
        amounts = [amount for _, amount in _amounts(parts)]
        debts = [total(part.amount(kind) for part in parts) for kind in _DEBTS]
        has_debts |= any(debts)
        net = total((amounts[-1], *debts))  # HTX writes debts as negative amounts
        rows.append([one_line(currency), *_cells((*amounts, *debts, net))])
        shown = rows[-1] if any(debts) else rows[-1][:_WITHOUT_DEBTS]
        records.append(tuple(zip(columns, shown, strict=False)))
    title = f"Total of {len(balances)} accounts"
    if has_debts:
        caption = "net: total plus loans and interest, which are negative"
        return DataTable(title, columns, rows, caption, records=records)
    rows = [row[:_WITHOUT_DEBTS] for row in rows]
    return DataTable(title, columns[:_WITHOUT_DEBTS], rows, records=records)


def _label(account: Account) -> str:
    return one_line(f"{account.id} ({account.type} {account.subtype}".rstrip()) + ")"


def _failure(item: AccountSnapshot) -> Text:
    return Text(f"Failed: {_label(item.account)}: {item.error}", "yellow")


def points(points: PointBalance, now: float) -> DataTable:
    """Return a table of point groups at *now* (seconds since 1970), ordered by expiry."""
    title = f"Points of account {points.account_id} ({one_line(points.account_status)})"
    rows: list[tuple[Cell, ...]] = []
    for group in sorted(points.group_ids, key=_expiry):
        expires, days = _describe_expiry(group, datetime.fromtimestamp(now, UTC))
        amount = Amount(format_amount(group.remain_amt))
        rows.append((str(group.group_id), expires, days, amount))
    rows.append(("total", "", "", Amount(format_amount(points.acct_balance))))
    return DataTable(title, ("group", "expires", "days", "points"), rows, has_total=True)


def _expiry(group: PointGroup) -> datetime:
    return group.expiry_date or datetime.max.replace(tzinfo=UTC)


def _describe_expiry(group: PointGroup, now: datetime) -> tuple[str, Amount]:
    if group.expiry_date is None:
        return "never" if group.is_termless else "unknown", Amount("")
    days = (group.expiry_date - now).days
    style = "yellow" if days < EXPIRES_SOON else ""
    left = Amount("expired", "red") if days < 0 else Amount(str(days), style)
    return f"{group.expiry_date:%Y-%m-%d %H:%M} UTC", left


def limits(limits: Mapping[str, RateLimitStatus], server_time: float) -> DataTable:
    """Return a table of rate limits at HTX's time *server_time* (seconds since 1970)."""
    rows: list[tuple[Cell, ...]] = []
    for name, status in limits.items():
        limit, rate_limited = status.limit, Amount(str(status.rate_limited))
        remaining = "-" if status.remaining is None else str(status.remaining)
        if status.resets_at is not None:
            seconds = status.resets_at.timestamp() - server_time
            remaining += f" ({min(max(seconds, 0.0), limit.per):.1f} s)"
        path, per = name.removeprefix("GET "), f"{limit.requests}/{limit.per:g} s"
        rows.append((path, per, Amount(str(status.available)), remaining, rate_limited))
    columns = ("endpoint", "limit", "available", "remaining", "429s")
    caption = "available: local tokens; remaining: as HTX reports (seconds to reset)"
    return DataTable("Rate limits", columns, rows, caption)


def valuation(valuation: AssetValuation, currency: str, account_type: str | None) -> DataTable:
    """Return a table of the value of a user's assets."""
    at = "unknown" if valuation.timestamp is None else f"{valuation.timestamp:%Y-%m-%d %H:%M:%S}"
    value = Amount(format_amount(valuation.balance))
    row = (account_type or "default of HTX", value, currency, at)
    return DataTable("Value of assets", ("accounts", "value", "currency", "time (UTC)"), [row])
