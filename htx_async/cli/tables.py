"""Tables of models, for terminals of 80 columns and more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from htx_async import (
    Account,
    AccountBalance,
    AccountSnapshot,
    BalanceType,
    CurrencyBalance,
    PointBalance,
    PointGroup,
    RateLimitStatus,
    Snapshot,
)
from htx_async.cli.number_format import add_amount_columns, align, format_amount
from htx_async.models.decimals import total
from htx_async.redaction import one_line

COLUMN_TYPES = (BalanceType.TRADE, BalanceType.FROZEN)
"""Row types with a column of their own."""

_UNLIMITED_WIDTH = 10_000

EXPIRES_SOON = 30
"""Days before they expire from which points are highlighted."""


class WidestThatFits:
    """The first of several tables that fits the terminal, else the last one."""

    def __init__(self, *widest_first: Table) -> None:
        self._tables = widest_first

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the widest table whose amounts need not be wrapped."""
        unlimited = options.update(max_width=_UNLIMITED_WIDTH)
        fitting = (
            table
            for table in self._tables
            if Measurement.get(console, unlimited, table).maximum <= options.max_width
        )
        yield next(fitting, self._tables[-1])


def new_table(title: str, *columns: str, caption: str = "") -> Table:
    """Return an empty table, at least as wide as its title and caption."""
    table = Table(
        title=Text(title, "bold"),
        title_justify="left",
        caption=caption or None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        min_width=max(len(title), len(caption)),
        collapse_padding=True,
    )
    for column in columns:
        table.add_column(column)
    return table


def accounts(accounts: tuple[Account, ...]) -> Table:
    """Return a table of accounts."""
    table = new_table("Accounts", "id", "type", "subtype", "state")
    for account in accounts:
        texts = map(one_line, (account.type, account.subtype, account.state))
        table.add_row(str(account.id), *texts)
    return table


def balance(balance: AccountBalance, *, show_zero: bool, subtype: str = "") -> WidestThatFits:
    """Return a table of currencies; row types other than trade and frozen come last."""
    currencies = tuple(balance.values()) if show_zero else balance.nonzero()
    kind = one_line(f"{balance.type} {subtype}")
    title = f"Balance of {kind} account {balance.id} ({one_line(balance.state)})"
    hidden = len(balance) - len(currencies)
    caption = f"zero balances hidden: {hidden} (see --all)" if hidden else ""
    return _amounts(title, caption, [_sums(row.currency, [row]) for row in currencies])


_Sums = tuple[str, tuple[tuple[str, Decimal], ...]]
"""A currency and its amounts by row type: trade, frozen, total, then the others."""


def _sums(currency: str, balances: Sequence[CurrencyBalance], *, others: bool = True) -> _Sums:
    types = dict.fromkeys(entry.type for row in balances for entry in row.entries)
    further = [kind for kind in types if kind not in COLUMN_TYPES] if others else []
    amounts = ((one_line(kind), total(row.amount(kind) for row in balances)) for kind in further)
    return currency, (
        ("trade", total(row.trade for row in balances)),
        ("frozen", total(row.frozen for row in balances)),
        ("total", total(row.total for row in balances)),
        *(pair for pair in amounts if pair[1]),
    )


_COLUMNS = ("trade", "frozen", "total")


def _amounts(title: str, caption: str, sums: Sequence[_Sums]) -> WidestThatFits:
    return WidestThatFits(_wide(title, caption, sums), _narrow(title, caption, sums))


def _wide(title: str, caption: str, sums: Sequence[_Sums]) -> Table:
    """Return a table with a row for each currency."""
    table = new_table(title, "currency", caption=caption)
    columns = [[amounts[index][1] for _, amounts in sums] for index in range(len(_COLUMNS))]
    rows = add_amount_columns(table, *zip(_COLUMNS, columns, strict=True))
    others = [
        ", ".join(f"{kind} {format_amount(amount)}" for kind, amount in amounts[len(_COLUMNS) :])
        for _, amounts in sums
    ]
    if any(others):
        table.add_column("other", overflow="fold")
    for (currency, _), cells, other in zip(sums, rows, others, strict=True):
        table.add_row(one_line(currency), *cells, *filter(None, [other]))
    return table


def _narrow(title: str, caption: str, sums: Sequence[_Sums]) -> Table:
    """Return a table with a row for each amount."""
    table = new_table(title, "currency", "type", caption=caption)
    rows = [
        ("" if index else one_line(currency), kind, amount)
        for currency, amounts in sums
        for index, (kind, amount) in enumerate(amounts)
    ]
    cells = add_amount_columns(table, ("amount", [amount for *_, amount in rows]))
    for (currency, kind, _), (cell,) in zip(rows, cells, strict=True):
        table.add_row(currency, kind, cell)
    return table


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


def combined(balances: Sequence[AccountBalance]) -> WidestThatFits:
    """Return a table of the totals of several accounts."""
    by_currency: dict[str, list[CurrencyBalance]] = {}
    for row in (row for balance in balances for row in balance.nonzero()):
        by_currency.setdefault(row.currency, []).append(row)
    sums = [_sums(currency, rows, others=False) for currency, rows in by_currency.items()]
    caption = "excludes loans and interest"
    return _amounts(f"Total of {len(balances)} accounts", caption, sums)


def _label(account: Account) -> str:
    return one_line(f"{account.id} ({account.type} {account.subtype}".rstrip()) + ")"


def _failure(item: AccountSnapshot) -> Text:
    return Text(f"Failed: {_label(item.account)}: {item.error}", "yellow")


def points(points: PointBalance, now: float) -> Table:
    """Return a table of point groups at *now* (seconds since 1970), ordered by expiry."""
    title = f"Points of account {points.account_id} ({one_line(points.account_status)})"
    table = new_table(title, "group", "expires")
    table.add_column("days", justify="right")
    groups = sorted(points.group_ids, key=_expiry)
    *amounts, sum_of_all = align([*(group.remain_amt for group in groups), points.acct_balance])
    table.add_column("points", justify="right", footer=sum_of_all)
    table.show_footer = True
    table.columns[0].footer = "total"
    for group, amount in zip(groups, amounts, strict=True):
        expires, days = _describe_expiry(group, datetime.fromtimestamp(now, UTC))
        table.add_row(str(group.group_id), expires, days, amount)
    return table


def _expiry(group: PointGroup) -> datetime:
    return group.expiry_date or datetime.max.replace(tzinfo=UTC)


def _describe_expiry(group: PointGroup, now: datetime) -> tuple[str, Text]:
    if group.expiry_date is None:
        return "never" if group.is_termless else "unknown", Text()
    days = (group.expiry_date - now).days
    style = "yellow" if days < EXPIRES_SOON else ""
    left = Text("expired", "red") if days < 0 else Text(str(days), style)
    return f"{group.expiry_date:%Y-%m-%d %H:%M} UTC", left


def limits(limits: Mapping[str, RateLimitStatus], server_time: float) -> Table:
    """Return a table of rate limits at HTX's time *server_time* (seconds since 1970)."""
    caption = "available: local tokens; remaining: as HTX reports (seconds to reset)"
    table = new_table("Rate limits", caption=caption)
    table.add_column("endpoint", overflow="fold")
    table.add_column("limit")
    for title in ("available", "remaining", "429s"):
        table.add_column(title, justify="right")
    for name, status in limits.items():
        limit, rate_limited = status.limit, str(status.rate_limited)
        remaining = "-" if status.remaining is None else str(status.remaining)
        if status.resets_at is not None:
            seconds = status.resets_at.timestamp() - server_time
            remaining += f" ({min(max(seconds, 0.0), limit.per):.1f} s)"
        path, per = name.removeprefix("GET "), f"{limit.requests}/{limit.per:g} s"
        table.add_row(path, per, str(status.available), remaining, rate_limited)
    return table
