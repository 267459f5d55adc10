"""Which accounts a stream follows, and the checks of its arguments."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias, cast

from htx_async import validation
from htx_async.errors import AccountNotFoundError, InvalidInputError
from htx_async.models.account import Account
from htx_async.models.enums import AccountType

Wanted: TypeAlias = "tuple[str, str] | int"
"""A type and subtype, or an id."""

_NOT_FOLLOWED = frozenset({AccountType.OTC, AccountType.POINT})
"""Types that are followed only if they are named: REST has no balance of the first, and HTX does
not document pushes of the second."""


def check_accounts(accounts: object) -> frozenset[Wanted] | None:
    """Return what the argument `accounts` names; `None`: all."""
    if accounts is None:
        return None
    if isinstance(accounts, str | int | Account):
        return frozenset({wanted_of(accounts)})
    got = validation.describe(accounts)
    if not isinstance(accounts, Collection) or isinstance(accounts, bytes | Mapping):
        msg = f"accounts must be an account or a collection of them, got {got}"
        raise InvalidInputError(msg)
    items = cast("Collection[object]", accounts)
    if not items:
        msg = "accounts must not be empty: pass None for all accounts"
        raise InvalidInputError(msg)
    return frozenset(map(wanted_of, items))


def check_extra() -> None:
    """Raise `InvalidInputError` if the library for WebSocket is not installed."""
    if importlib.util.find_spec("websockets") is None:
        msg = 'live balances need the package websockets: pip install "htx-async[stream]"'
        raise InvalidInputError(msg)


def wanted_of(account: object) -> Wanted:
    """Return a type and subtype, or an id."""
    if (name := validation.account_name(account, "accounts")) is not None:
        return name
    key = account.id if isinstance(account, Account) else account
    return int(validation.numeric_id(key, "accounts"))


def matches(account: Account, wanted: Wanted) -> bool:
    """Return whether *account* is one that is wanted."""
    if isinstance(wanted, int):
        return account.id == wanted
    return account.type == wanted[0] and wanted[1] in ("", account.subtype)


def select(accounts: Iterable[Account], wanted: frozenset[Wanted] | None) -> list[Account]:
    """Return the accounts to follow."""
    accounts = tuple(accounts)
    if wanted is None:
        selected = [account for account in accounts if account.type not in _NOT_FOLLOWED]
        missing: Iterable[object] = () if selected else ("any that has balances",)
    else:
        selected = [each for each in accounts if any(matches(each, name) for name in wanted)]
        missing = [name for name in wanted if not any(matches(each, name) for each in accounts)]
    for name in missing:
        text = ":".join(filter(None, name)) if isinstance(name, tuple) else str(name)
        candidates = ", ".join(map(describe_account, accounts)) or "none"
        msg = f"no account is {text}. Accounts of this user: {candidates}"
        raise AccountNotFoundError(msg)
    return selected


def describe_account(account: Account) -> str:
    """Return id, type and subtype."""
    return f"{account.id} ({account.type} {account.subtype}".rstrip() + ")"
