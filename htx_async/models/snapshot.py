"""All accounts of a user with their balances."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import attrs

from htx_async.errors import HTXError
from htx_async.models.account import Account
from htx_async.models.balance import AccountBalance
from htx_async.models.base import Model
from htx_async.models.error_json import error_key

__all__ = ["AccountSnapshot", "Snapshot"]


@attrs.frozen(repr=False)
class AccountSnapshot(Model):
    """
    One account in a snapshot: it has either a balance or an error.

    Attributes:
        account: The account as it is listed.
        balance: Its balance; `None` if the request failed.
        error: The error if the request failed, else `None`. Errors with the same class, text,
            attributes and notes are equal here.
    """

    account: Account
    balance: AccountBalance | None
    error: HTXError | None = attrs.field(eq=error_key)


@attrs.frozen(repr=False)
class Snapshot(Model):
    """
    All accounts of a user with their balances, requested at once as far as the limit allows.

    Attributes:
        accounts: One account snapshot for each account that was read, in HTX's order.
        skipped: The other accounts: of type `otc`, or of a type that was not wanted.
    """

    accounts: tuple[AccountSnapshot, ...]
    skipped: tuple[Account, ...] = ()

    @property
    def balances(self) -> Mapping[int, AccountBalance]:
        """The balances by account id, without those that failed."""
        balances = ((item.account.id, item.balance) for item in self.accounts)
        return {key: value for key, value in balances if value is not None}

    @property
    def errors(self) -> Mapping[int, HTXError]:
        """The errors by account id."""
        errors = ((item.account.id, item.error) for item in self.accounts)
        return {key: value for key, value in errors if value is not None}

    def raise_for_errors(self) -> None:
        """
        Raise the error of the first account whose balance failed; return if there is none.

        Raises:
            HTXError: A copy of that error, with a note that names the account.
        """
        errors = self.errors
        if not errors:
            return
        account_id, first = next(iter(errors.items()))
        error = copy.copy(first)
        note = f"account {account_id}: {len(errors)} of {len(self.accounts)} balances failed"
        error.__notes__ = [*getattr(first, "__notes__", ()), note]
        raise error
