"""Changes of a sandbox's data. Records are frozen: each function returns a changed copy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import attrs

from htx_async.sandbox.records import (
    BalanceRow,
    HistoryRow,
    PointsAccount,
    PointsGroup,
    SandboxAccount,
    SandboxUser,
    exact_sum,
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
    account: SandboxAccount, currency: str, amounts: Mapping[str, str], seq: int | None = None
) -> SandboxAccount:
    """
    Return *account* with these *amounts* of *currency*, by row type, and a new serial number.

    A currency that it does not have is added, with "0" for what *amounts* does not contain. *seq*:
    the serial number; `None`: the next one.
    """
    rows = list(account.rows)
    own = [index for index, row in enumerate(rows) if row.currency == currency]
    end = own[-1] + 1 if own else len(rows)
    known = {rows[index].type for index in own}
    missing = [name for name in dict.fromkeys((*_TYPES, *amounts)) if name not in known]
    rows[end:end] = [BalanceRow(currency, name, "0", "0") for name in missing]
    seq_num = str(seq_of(account, currency) + 1 if seq is None else seq)
    changed = (_changed(row, amounts, seq_num) if row.currency == currency else row for row in rows)
    return attrs.evolve(account, rows=tuple(changed))


def seq_of(account: SandboxAccount, currency: str) -> int:
    """Return the serial number of the latest change of *currency*; 0 if there was none."""
    numbers = (int(row.seq_num or 0) for row in account.rows if row.currency == currency)
    return max(numbers, default=0)


def _changed(row: BalanceRow, amounts: Mapping[str, str], seq_num: str) -> BalanceRow:
    balance = amounts.get(row.type, row.balance)
    available = balance if row.available == row.balance else row.available
    return attrs.evolve(row, balance=balance, available=available, seq_num=seq_num)


@attrs.frozen
class BalanceUpdate:
    """
    Amounts of a currency in an account, as a stream shows them.

    *account_type*: "trade", "loan" or "interest". Of "trade", *available* is the trade balance, and
    *balance* the sum of trade and frozen. *changed_at*: milliseconds since 1970-01-01 UTC; `None`
    in a snapshot, as the *cause*.
    """

    account_id: int
    currency: str
    account_type: str
    balance: str
    available: str
    seq: int
    cause: str | None = None
    changed_at: int | None = None
    has_new_balance: bool = True
    has_new_available: bool = True

    @property
    def is_snapshot(self) -> bool:
        """Return whether this is the present state, and not a change."""
        return self.changed_at is None


def snapshot_of(
    account: SandboxAccount, number_of: Callable[[SandboxAccount, str], int]
) -> Iterator[BalanceUpdate]:
    """
    Yield the present amounts of *account* that are not 0: a recorded snapshot had no others.

    *number_of* returns the serial number of a currency.
    """
    for currency in dict.fromkeys(row.currency for row in account.rows):
        for account_type in _ACCOUNT_TYPES:
            balance, available = _totals(account, currency, account_type)
            if Decimal(balance) or Decimal(available):
                seq = number_of(account, currency)
                yield BalanceUpdate(account.id, currency, account_type, balance, available, seq)


def updates_between(
    old: SandboxAccount,
    new: SandboxAccount,
    currency: str,
    amounts: Mapping[str, str],
    changed_at: int,
    **details: Any,
) -> Iterator[BalanceUpdate]:
    """
    Yield what a change of *amounts*, by row type, is to a stream: one update per account type.

    *details*: the serial number and the cause.
    """
    for account_type in dict.fromkeys(_ACCOUNT_TYPE_OF[name] for name in amounts):
        before = _totals(old, currency, account_type)
        balance, available = _totals(new, currency, account_type)
        yield BalanceUpdate(
            new.id,
            currency,
            account_type,
            balance,
            available,
            changed_at=changed_at,
            has_new_balance=Decimal(balance) != Decimal(before[0]),
            has_new_available=Decimal(available) != Decimal(before[1]),
            **details,
        )


def history_between(
    old: SandboxAccount,
    new: SandboxAccount,
    currency: str,
    cause: str,
    changed_at: int,
    record_id: int,
) -> Iterator[HistoryRow]:
    """Yield what a change is in the account history: HTX lists changes of the total only."""
    before, _ = totals(old, currency)
    balance, available = totals(new, currency)
    if Decimal(balance) != Decimal(before):
        amount = exact_sum(balance, str(Decimal(before).copy_negate()))
        kind = _TRANSACT_TYPE_OF.get(cause, "other-types")
        yield HistoryRow(new.id, record_id, currency, amount, kind, changed_at, available, balance)


def totals(account: SandboxAccount, currency: str) -> tuple[str, str]:
    """Return the sum of trade and frozen, and trade."""
    return _totals(account, currency, "trade")


_TRANSACT_TYPE_OF = {
    "order.match": "trade",
    "order.fee-refund": "fee-deduction",
    "margin.transfer": "transfer",
    "margin.interest": "interest",
    **{cause: cause for cause in ("deposit", "withdraw", "transfer")},
}
_ACCOUNT_TYPE_OF = {"trade": "trade", "frozen": "trade", "loan": "loan", "interest": "interest"}
_ACCOUNT_TYPES = tuple(dict.fromkeys(_ACCOUNT_TYPE_OF.values()))


def _totals(account: SandboxAccount, currency: str, account_type: str) -> tuple[str, str]:
    """Return balance and available. Of loan and interest, the sign on a stream is not known."""
    amounts = {row.type: row.balance for row in account.rows if row.currency == currency}
    available = amounts.get(account_type, "0")
    if account_type != "trade":
        return available, available
    return exact_sum(available, amounts.get("frozen", "0")), available


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
