"""How the command shows models: tables that fit a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from htx_async.cli.doctor.finding import Finding, Verdict
from htx_async.cli.number_format import aligned, figure, figures
from htx_async.models.account import Account
from htx_async.models.balance import AccountBalance, CurrencyBalance
from htx_async.models.decimals import total
from htx_async.models.enums import AccountType, BalanceType
from htx_async.models.points import PointBalance, PointGroup
from htx_async.models.snapshot import AccountSnapshot, Snapshot
from htx_async.ratelimit.headers import RateLimitHeaders
from htx_async.ratelimit.queue import RateLimitStatus
from htx_async.redaction import one_line

COLUMNS = (BalanceType.TRADE, BalanceType.FROZEN)
"""Row types that have a column of their own."""

_WIDEST = 10_000

SOON = 30
"""Days before points expire at which they are shown in another colour."""


def accounts(found: tuple[Account, ...]) -> Table:
    """Return a table of accounts."""
    table = plain("Accounts", "id", "type", "subtype", "state")
    for account in found:
        names = map(one_line, (account.type, account.subtype, account.state))
        table.add_row(str(account.id), *names)
    return table


class Fitting:
    """The first of some tables that the terminal has room for, else the last one."""

    def __init__(self, *widest_first: Table) -> None:
        self._tables = widest_first

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the one that fits: figures are never folded where that can be helped."""
        endless = options.update(max_width=_WIDEST)
        fits = (
            table
            for table in self._tables
            if Measurement.get(console, endless, table).maximum <= options.max_width
        )
        yield next(fits, self._tables[-1])


def balance(found: AccountBalance, *, every: bool, subtype: str = "") -> Fitting:
    """Return a table of the currencies; amounts other than trade and frozen come last."""
    shown = tuple(found.values()) if every else found.nonzero()
    kind = one_line(f"{found.type} {subtype}")
    title = f"Balance of {kind} account {found.id} ({one_line(found.state)})"
    hidden = len(found) - len(shown)
    caption = f"and {hidden} more of which there is nothing: --all" if hidden else ""
    return _amounts(title, caption, [_sums(row.currency, [row]) for row in shown])


_Sums = tuple[str, tuple[tuple[str, Decimal], ...]]
"""A currency, and what there is of it: trade, frozen, total, then other row types."""


def _sums(currency: str, rows: Sequence[CurrencyBalance], *, others: bool = True) -> _Sums:
    kinds = dict.fromkeys(entry.type for row in rows for entry in row.entries)
    further = ((kind, total(row.amount(kind) for row in rows)) for kind in kinds if kind not in COLUMNS)
    return currency, (
        ("trade", total(row.trade for row in rows)),
        ("frozen", total(row.frozen for row in rows)),
        ("total", total(row.total for row in rows)),
        *((one_line(kind), amount) for kind, amount in further if others and amount),
    )


_ALWAYS = 3
"""Amounts that every currency has."""


def _amounts(title: str, caption: str, held: Sequence[_Sums]) -> Fitting:
    wide = plain(title, "currency", caption=caption)
    narrow = plain(title, "currency", "type", caption=caption)
    _row_each(wide, held)
    _line_each(narrow, held)
    return Fitting(wide, narrow)


def _row_each(table: Table, held: Sequence[_Sums]) -> None:
    """Fill *table* with a row for each currency."""
    titles = ("trade", "frozen", "total")
    columns = [[amounts[index][1] for _, amounts in held] for index in range(_ALWAYS)]
    shown = figures(table, *zip(titles, columns, strict=True))
    others = [", ".join(_said(each) for each in amounts[_ALWAYS:]) for _, amounts in held]
    if any(others):
        table.add_column("other", overflow="fold")
    for (currency, _), row, other in zip(held, shown, others, strict=True):
        table.add_row(one_line(currency), *row, *filter(None, [other]))


def _said(kind_and_amount: tuple[str, Decimal]) -> str:
    return f"{kind_and_amount[0]} {figure(kind_and_amount[1])}"


def _line_each(table: Table, held: Sequence[_Sums]) -> None:
    """Fill *table* with a line for each amount."""
    lines = [
        ("" if number else one_line(currency), kind, amount)
        for currency, amounts in held
        for number, (kind, amount) in enumerate(amounts)
    ]
    shown = figures(table, ("amount", [amount for *_, amount in lines]))
    for (currency, kind, _), amount in zip(lines, shown, strict=True):
        table.add_row(currency, kind, *amount)


def snapshot(found: Snapshot, *, every: bool) -> Group:
    """Return a table for each account that holds something, one of the sums, and what failed."""
    read = [(each.account, each.balance) for each in found.accounts if each.balance is not None]
    full = [(account, held) for account, held in read if every or held.nonzero()]
    parts: list[RenderableType] = [
        balance(held, every=every, subtype=account.subtype) for account, held in full
    ]
    if len(full) > 1:
        parts.append(together([held for _, held in full]))
    if empty := [account for account, held in read if not (every or held.nonzero())]:
        parts.append(Text(f"Nothing in {', '.join(map(_named, empty))}."))
    parts += [_failure(picture) for picture in found.accounts if picture.error is not None]
    return Group(*(line for part in parts for line in (part, Text()))) if parts else Group()


def together(balances: Sequence[AccountBalance]) -> Fitting:
    """Return a table of what accounts hold together."""
    held: dict[str, list[CurrencyBalance]] = {}
    for row in (row for balance in balances for row in balance.nonzero()):
        held.setdefault(row.currency, []).append(row)
    title = f"All {len(balances)} accounts together"
    sums = [_sums(currency, rows, others=False) for currency, rows in held.items()]
    return _amounts(title, "loans and the like are not in it", sums)


def _named(account: Account) -> str:
    return one_line(f"{account.id} ({account.type} {account.subtype}".rstrip()) + ")"


def _failure(picture: AccountSnapshot) -> Text:
    if picture.account.type == AccountType.OTC:
        return Text(f"HTX does not tell what is in {_named(picture.account)}.")
    return Text(f"Not read: {_named(picture.account)}: {picture.error}", "yellow")


def points(found: PointBalance, now: float) -> Table:
    """Return a table of point groups at *now*, those that expire first on top."""
    today = datetime.fromtimestamp(now, UTC)
    title = f"Points of account {found.account_id} ({one_line(found.account_status)})"
    table = plain(title, "group", "expires")
    table.add_column("in days", justify="right")
    groups = sorted(found.group_ids, key=_expiry)
    *left, sum_of_all = aligned([*(group.remain_amt for group in groups), found.acct_balance])
    table.add_column("points", justify="right", footer=sum_of_all)
    table.show_footer = True
    table.columns[0].footer = "all"
    for group, remaining in zip(groups, left, strict=True):
        expires, days = _described(group, today)
        table.add_row(str(group.group_id), expires, days, remaining)
    return table


def _expiry(group: PointGroup) -> datetime:
    return group.expiry_date or datetime.max.replace(tzinfo=UTC)


def _described(group: PointGroup, today: datetime) -> tuple[str, Text]:
    if group.expiry_date is None:
        return "never" if group.is_termless else "unknown", Text()
    days = (group.expiry_date - today).days
    shown = Text("expired", "red") if days < 0 else Text(str(days), "yellow" if days < SOON else "")
    return f"{group.expiry_date:%Y-%m-%d %H:%M} UTC", shown


def limits(found: Mapping[str, RateLimitStatus], now: float) -> Table:
    """Return a table of how things stand at each endpoint; *now* is HTX's time of day."""
    caption = "free: tokens here; left, ends: what HTX says of its own window; -: not asked"
    table = plain("Limits", caption=caption)
    table.add_column("endpoint", overflow="fold")
    table.add_column("allowed")
    for title in ("free", "left", "ends", "refused"):
        table.add_column(title, justify="right")
    for name, status in found.items():
        limit = status.limit
        left = "-" if status.remaining is None else str(status.remaining)
        headers = RateLimitHeaders(None, status.resets_at)
        ends = f"{headers.window_remaining(now, limit.per):.1f} s" if headers.expire else "-"
        allowed = f"{limit.requests}/{limit.per:g} s"
        path = name.removeprefix("GET ")
        table.add_row(path, allowed, str(status.available), left, ends, str(status.rate_limited))
    return table


_COLOURS = {
    Verdict.OK: "green",
    Verdict.UNKNOWN: "dim",
    Verdict.WARNED: "yellow",
    Verdict.FAILED: "bold red",
    Verdict.MISUSED: "bold red",
}


def finding(found: Finding) -> Group:
    """Return a line for what the doctor has found, and one below for what to do about it."""
    table = Table.grid()
    for width in (6, 12):
        table.add_column(width=width)
    table.add_column(overflow="fold")
    table.add_row(Text(found.verdict, _COLOURS[found.verdict]), found.step, found.says)
    if not found.advice:
        return Group(table)
    below = Table.grid()
    for width in (6, 2):
        below.add_column(width=width)
    below.add_column(overflow="fold")
    below.add_row("", Text(">", "bold"), Text(found.advice, "bold"))
    return Group(table, below)


def verdict(found: Iterable[Finding]) -> str:
    """Return the doctor's last word."""
    bad = [each.step for each in found if each.verdict not in (Verdict.OK, Verdict.UNKNOWN)]
    return f"Begin with: {bad[0]}." if bad else "All is well."


def plain(title: str, *columns: str, caption: str = "") -> Table:
    """Return an empty table of the kind that all are of, as wide as what is above and below it."""
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
