"""Data of a sandbox: its users, indexed by access key, UID and account id."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import TypeVar

import attrs

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

    def sub_users(self, parent: SandboxUser) -> tuple[SandboxUser, ...]:
        """Return the sub users of *parent*, in ascending order of their UIDs."""
        sub_users = (user for user in self.users if user.parent == parent.uid)
        return tuple(sorted(sub_users, key=lambda user: user.uid))

    def account(self, owner: SandboxUser, account_id: int) -> SandboxAccount | None:
        """Return the account *account_id* of *owner*."""
        account, user = self._accounts.get(account_id, (None, None))
        return account if user is owner else None

    @property
    def first_user(self) -> SandboxUser:
        """Return the first user; `ValueError` if there is none."""
        if not self.users:
            message = "the sandbox has no user"
            raise ValueError(message)
        return self.users[0]

    @property
    def next_account_id(self) -> int:
        """Return an id that no account has."""
        return max(self._accounts, default=0) + 1

    def find(self, account: object) -> tuple[SandboxAccount, SandboxUser]:
        """
        Return an account and its user.

        *account*: an id or its digits, or an object with that `id`; or a type of the first user,
        such as "spot" or "margin:btcusdt". `ValueError` unless there is exactly one.
        """
        name = str(getattr(account, "id", account))
        matches = [
            pair
            for pair in self._accounts.values()
            if str(pair[0].id) == name or (pair[1] is self.first_user and _is_named(pair[0], name))
        ]
        if len(matches) == 1:
            return matches[0]
        listed = ", ".join(map(_describe, self._accounts.values()))
        message = f"{len(matches)} accounts are {name!r:.40}. Accounts: {listed or 'none'}"
        raise ValueError(message)

    def replace(self, old: SandboxUser, new: SandboxUser) -> SandboxState:
        """Return the state with the user *new* in place of *old*."""
        return SandboxState(tuple(new if user is old else user for user in self.users))

    def with_rows_of(self, other: SandboxState, currencies: Collection[str]) -> SandboxState:
        """Return the state with the rows of these *currencies* as they are in *other*."""

        def mixed(account: SandboxAccount) -> SandboxAccount:
            source, _ = other._accounts.get(account.id, (account, None))
            own = (row for row in account.rows if row.currency not in currencies)
            others = (row for row in source.rows if row.currency in currencies)
            return attrs.evolve(account, rows=(*own, *others))

        return SandboxState(
            tuple(
                attrs.evolve(user, accounts=tuple(map(mixed, user.accounts))) for user in self.users
            )
        )


def _is_named(account: SandboxAccount, name: str) -> bool:
    return name in {account.type, f"{account.type}:{account.subtype}"}


def _describe(pair: tuple[SandboxAccount, SandboxUser]) -> str:
    return f"{pair[0].id} ({pair[0].type} {pair[0].subtype}".rstrip() + ")"


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
