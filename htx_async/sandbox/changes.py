"""Changes of a sandbox's data. Records are frozen: each function returns a changed copy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

import attrs

from htx_async.sandbox.records import (
    BalanceRow,
    PointsAccount,
    PointsGroup,
    SandboxAccount,
    SandboxUser,
)

Amount = str | int | Decimal

POINTS_CURRENCY = "hbpoint"
"""HTX returns points as a currency of the point account, too."""

_TERM = 365 * 24 * 3600 * 1000  # milliseconds until points that are added expire
_AMOUNT = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_TYPES = ("trade", "frozen")  # the rows that HTX sends for every currency


def amount_text(amount: Amount, name: str) -> str:
    """Return *amount* as it is sent. Text is unchanged; a float may not be the intended amount."""
    text = f"{amount:f}" if isinstance(amount, Decimal) else str(amount)
    if isinstance(amount, bool | float) or not _AMOUNT.fullmatch(text):
        message = f"{name} must be an amount as text, int or Decimal, got {amount!r:.40}"
        raise ValueError(message)
    return text


def with_balance(
    account: SandboxAccount, currency: str, amounts: Mapping[str, str]
) -> SandboxAccount:
    """
    Return *account* with these *amounts* of *currency*, by row type, and a new serial number.

    A currency that it does not have is added, with "0" for what *amounts* does not contain.
    """
    rows = list(account.rows)
    own = [index for index, row in enumerate(rows) if row.currency == currency]
    end = own[-1] + 1 if own else len(rows)
    missing = [name for name in _TYPES if name not in {rows[index].type for index in own}]
    rows[end:end] = [BalanceRow(currency, name, "0", "0") for name in missing]
    seq_num = str(max((int(rows[index].seq_num or 0) for index in own), default=0) + 1)
    changed = (_changed(row, amounts, seq_num) if row.currency == currency else row for row in rows)
    return attrs.evolve(account, rows=tuple(changed))


def _changed(row: BalanceRow, amounts: Mapping[str, str], seq_num: str) -> BalanceRow:
    balance = amounts.get(row.type, row.balance)
    available = balance if row.available == row.balance else row.available
    return attrs.evolve(row, balance=balance, available=available, seq_num=seq_num)


def with_points(points: PointsAccount, amount: str, group_id: int, now: float) -> PointsAccount:
    """
    Return *points* with this *amount* in a group, and a new sum.

    A group that does not exist is added; it expires a year from *now* (seconds since 1970-01-01
    UTC), the group 0 never.
    """
    groups = {group.group_id: group for group in points.groups}
    expiry = int(now * 1000) + _TERM if group_id else None
    known = groups.get(group_id) or PointsGroup(group_id, expiry, "0")
    groups[group_id] = attrs.evolve(known, remain_amt=amount)
    return PointsAccount(points.account_id, tuple(groups.values()), points.account_status)


def with_account(user: SandboxUser, account: SandboxAccount) -> SandboxUser:
    """Return *user* with *account* in place of the one with its id, else at the end."""
    accounts = {known.id: known for known in user.accounts} | {account.id: account}
    return attrs.evolve(user, accounts=tuple(accounts.values()))
