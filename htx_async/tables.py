"""How the command shows models: tables that fit a terminal of 80 columns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from rich import box
from rich.table import Table

from htx_async.resources.balance import Account, AccountBalance, CurrencyBalance
from htx_async.resources.points import PointBalance, PointGroup
from htx_async.vocabulary import BalanceType

_COLUMNS = (BalanceType.TRADE, BalanceType.FROZEN)


def accounts(found: tuple[Account, ...]) -> Table:
    """Return a table of accounts."""
    table = _table("Accounts", "id", "type", "subtype", "state")
    for account in found:
        table.add_row(str(account.id), account.type, account.subtype, account.state)
    return table


def balance(found: AccountBalance, *, every: bool) -> Table:
    """Return a table with a row for each currency; amounts other than trade and frozen last."""
    shown = tuple(found.values()) if every else found.nonzero()
    table = _table(f"Balance of {found.type} account {found.id} ({found.state})", "currency")
    columns = (
        ("trade", aligned([row.trade for row in shown])),
        ("frozen", aligned([row.frozen for row in shown])),
        ("total", aligned([row.total for row in shown])),
    )
    for title, _ in columns:
        table.add_column(title, justify="right", overflow="fold")
    if any(others := [_others(row) for row in shown]):
        table.add_column("other", overflow="fold")
    for index, row in enumerate(shown):
        figures = (column[index] for _, column in columns)
        table.add_row(row.currency, *figures, *filter(None, others[index : index + 1]))
    if hidden := len(found) - len(shown):
        table.caption = f"and {hidden} more of which there is nothing: --all"
    return table


def _others(row: CurrencyBalance) -> str:
    kinds = dict.fromkeys(entry.type for entry in row.entries if entry.type not in _COLUMNS)
    return ", ".join(f"{kind} {figure(row.of(kind))}" for kind in kinds if row.of(kind))


def points(found: PointBalance, now: float | None = None) -> Table:
    """Return a table of point groups, those that expire first on top."""
    today = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    title = f"Points of account {found.account_id} ({found.account_status})"
    table = _table(title, "group", "expires", "in days")
    groups = sorted(found.group_ids, key=_expiry)
    *figures, total = aligned([*(group.remain_amt for group in groups), found.acct_balance])
    table.add_column("points", justify="right", footer=total)
    table.show_footer = True
    table.columns[0].footer = "all"
    for group, remaining in zip(groups, figures, strict=True):
        table.add_row(*_described(group, today), remaining)
    return table


def _expiry(group: PointGroup) -> datetime:
    return group.expiry_date or datetime.max.replace(tzinfo=UTC)


def _described(group: PointGroup, today: datetime) -> tuple[str, str, str]:
    if group.expiry_date is None:
        return str(group.group_id), "never" if group.is_termless else "unknown", ""
    days = (group.expiry_date - today).days
    return str(group.group_id), f"{group.expiry_date:%Y-%m-%d %H:%M} UTC", str(days)


def figure(amount: Decimal) -> str:
    """Return an amount without exponent and without zeros at its end."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def aligned(amounts: Sequence[Decimal]) -> list[str]:
    """Return amounts as figures of one column, their points below each other."""
    figures = [figure(amount).partition(".") for amount in amounts]
    widest = max((len(point + after) for _, point, after in figures), default=0)
    return [before + (point + after).ljust(widest) for before, point, after in figures]


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in columns:
        table.add_column(column)
    return table
