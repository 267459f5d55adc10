"""A world of users, ready to be asked; and how its values look in HTX's JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from htx_async.sandbox.records import APIKey, BalanceRow, PointsAccount, SandboxAccount, SandboxUser

UNREADABLE = frozenset({"otc"})
"""Types of accounts whose balance is not told."""


class World:
    """Users, found by key or UID. No key, UID or account id may occur twice."""

    def __init__(self, users: tuple[SandboxUser, ...]) -> None:
        self.users = users
        self.keys: dict[str, APIKey] = {key.access_key: key for user in users for key in user.keys}
        self._owners = {key.access_key: user for user in users for key in user.keys}
        self._by_uid = {user.uid: user for user in users}
        self._balances: dict[int, msgspec.Raw] = {}
        _check(users)

    def owner(self, key: APIKey) -> SandboxUser:
        """Return the user whose *key* this is."""
        return self._owners[key.access_key]

    def sub_user(self, parent: SandboxUser, uid: int) -> SandboxUser | None:
        """Return the sub user *uid* of *parent*."""
        user = self._by_uid.get(uid)
        return user if user is not None and user.parent == parent.uid else None

    def balance(self, account: SandboxAccount) -> msgspec.Raw:
        """Return the balance of *account* as JSON, which is made once."""
        if account.id not in self._balances:
            json = msgspec.json.encode(_balance(account))
            self._balances[account.id] = msgspec.Raw(json)
        return self._balances[account.id]


def readable(user: SandboxUser) -> tuple[int, ...]:
    """Return the ids of the accounts of *user* whose balance can be asked for."""
    return tuple(account.id for account in user.accounts if account.type not in UNREADABLE)


def _check(users: tuple[SandboxUser, ...]) -> None:
    _refuse_twins("access key", (key.access_key for user in users for key in user.keys))
    _refuse_twins("UID", (user.uid for user in users))
    _refuse_twins("account id", (account.id for user in users for account in user.accounts))


def _refuse_twins(what: str, values: Iterable[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            message = f"the same {what} occurs twice: {value}"
            raise ValueError(message)
        seen.add(value)


def account_json(account: SandboxAccount) -> dict[str, Any]:
    """Return *account* as it is in the list of accounts."""
    return {
        "id": account.id,
        "type": account.type,
        "subtype": account.subtype,
        "state": account.state,
    }


def worth(user: SandboxUser, account_type: str, currency: str) -> str:
    """Return what the accounts of *user* of that type are worth."""
    for each in user.valuations:
        if (each.account_type, each.currency) == (account_type, currency):
            return each.balance
    return "0"


def points_json(points: PointsAccount) -> dict[str, Any]:
    """Return *points* as the point balance is told."""
    groups = [
        {"groupId": group.group_id, "expiryDate": group.expiry_date, "remainAmt": group.remain_amt}
        for group in points.groups
    ]
    return {
        "accountId": points.account_id,
        "groupIds": groups,
        "acctBalance": points.acct_balance,
        "accountStatus": points.account_status,
    }


def _balance(account: SandboxAccount) -> dict[str, Any]:
    return {
        "id": account.id,
        "type": account.type,
        "state": account.state,
        "list": [_row(row) for row in account.rows],
    }


def _row(row: BalanceRow) -> dict[str, str]:
    always = {"currency": row.currency, "type": row.type, "balance": row.balance}
    maybe = {"debt": row.debt, "available": row.available, "seq-num": row.seq_num}
    return always | {name: value for name, value in maybe.items() if value is not None}
