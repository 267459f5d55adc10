"""Data of a sandbox: its users, indexed by access key, UID and account id."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

from htx_async.sandbox.records import APIKey, SandboxAccount, SandboxUser

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

OTC = "otc"
"""Account type whose balance HTX does not return."""


class SandboxState:
    """Users of a sandbox. `ValueError` if an access key, UID or account id occurs twice."""

    def __init__(self, users: tuple[SandboxUser, ...]) -> None:
        self.users: tuple[SandboxUser, ...] = users
        keys = [(key, user) for user in users for key in user.keys]
        accounts = [(account, user) for user in users for account in user.accounts]
        self.keys: dict[str, APIKey] = _index(
            "access key", ((key.access_key, key) for key, _ in keys)
        )
        self._owners = {key.access_key: user for key, user in keys}
        self._users = _index("UID", ((user.uid, user) for user in users))
        self._accounts = _index("account id", ((pair[0].id, pair) for pair in accounts))

    def owner(self, key: APIKey) -> SandboxUser:
        """Return the user that *key* belongs to."""
        return self._owners[key.access_key]

    def sub_user(self, parent: SandboxUser, uid: int) -> SandboxUser | None:
        """Return the sub user *uid* of *parent*."""
        user = self._users.get(uid)
        return user if user is not None and user.parent == parent.uid else None

    def account(self, owner: SandboxUser, account_id: int) -> SandboxAccount | None:
        """Return the account *account_id* of *owner*."""
        account, user = self._accounts.get(account_id, (None, None))
        return account if user is owner else None


def _index(name: str, items: Iterable[tuple[K, V]]) -> dict[K, V]:
    index: dict[K, V] = {}
    for key, value in items:
        if key in index:
            message = f"the same {name} occurs twice: {key}"
            raise ValueError(message)
        index[key] = value
    return index


def balance_account_ids(user: SandboxUser) -> tuple[int, ...]:
    """Return the ids of the accounts of *user* whose balance HTX returns."""
    return tuple(account.id for account in user.accounts if account.type != OTC)


def valuation_of(user: SandboxUser, account_type: str, currency: str) -> str:
    """Return the value of the accounts of *user* of this type, in *currency*."""
    for valuation in user.valuations:
        if (valuation.account_type, valuation.currency) == (account_type, currency):
            return valuation.balance
    return "0"
