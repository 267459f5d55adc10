"""
Accounts and what is in them.

HTX, "Get all Accounts of the Current User":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec4b291-7773-11ed-9966-0242ac110003
HTX, "Get Account Balance of a Specific Account":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec4b429-7773-11ed-9966-0242ac110003
HTX, "Get Asset Valuation":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec4ff6d-7773-11ed-9966-0242ac110003
"""

from __future__ import annotations

import asyncio
from typing import Final

from htx_async import validation
from htx_async.errors import AccountNotFoundError, HTXError, InvalidInputError
from htx_async.models.account import Account
from htx_async.models.balance import AccountBalance
from htx_async.models.snapshot import AccountSnapshot, Snapshot
from htx_async.models.valuation import AssetValuation
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint
from htx_async.resources.base import Ask

LIST: Final = Endpoint(
    "/v1/account/accounts",
    RateLimit(100, per=2.0),  # "100times/2s", HTX's page of it
    tuple[Account, ...],
)
BALANCE: Final = Endpoint(
    "/v1/account/accounts/{account-id}/balance",
    RateLimit(100, per=2.0),  # "100times/2s", HTX's page of it; for all ids together
    AccountBalance,
)
VALUATION: Final = Endpoint(
    "/v2/account/asset-valuation",
    RateLimit(100, per=2.0),  # "100times/2s", HTX's page of it
    AssetValuation,
)


class Accounts:
    """The accounts of a user."""

    def __init__(self, ask: Ask, remembered: list[Account] | None = None) -> None:
        self._ask = ask
        self._remembered = [] if remembered is None else remembered

    def asking(self, ask: Ask) -> Accounts:
        """Return the same accounts, asked in another way."""
        return Accounts(ask, self._remembered)

    async def list(self) -> tuple[Account, ...]:
        """
        Return all accounts, in HTX's order. The first one is often the point account.

        HTX allows 100 reads in 2 s: `Get all Accounts of the Current User
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec4b291-7773-11ed-9966-0242ac110003>`__.

        Raises:
            HTXError: See `htx_async.errors`.
        """
        accounts = await self._ask(LIST)
        self._remembered[:] = accounts
        return accounts

    async def find(self, type: str, subtype: str = "") -> Account:  # noqa: A002 - HTX's word
        """
        Return the one account of this kind; the list of accounts is remembered.

        Args:
            type: HTX's word, such as `AccountType.SPOT` or `"spot"`.
            subtype: The symbol of an isolated margin account, the chain of a trust account;
                left out, it is found also where there is just one account of that type.

        Raises:
            AccountNotFoundError: There is none, in a list that was just read.
            InvalidInputError: There are several: say which by its *subtype*.
            HTXError: See `htx_async.errors`.
        """
        found = _matching(tuple(self._remembered), type, subtype)
        if not found:
            found = _matching(await self.list(), type, subtype)
        if len(found) == 1:
            return found[0]
        wanted = f"{type!s} {subtype}".rstrip()
        there = ", ".join(_described(account) for account in found or self._remembered)
        if found:
            msg = f"{len(found)} accounts are of type {wanted}, say which by subtype: {there}"
            raise InvalidInputError(msg)
        msg = f"no account is of type {wanted}; there is {there or 'none at all'}"
        raise AccountNotFoundError(msg, endpoint=LIST.name)

    async def balance(self, account: Account | int | str) -> AccountBalance:
        """
        Return the balance of an account. HTX does not tell that of OTC accounts.

        HTX allows 100 reads in 2 s, of all accounts together: `Get Account Balance of a Specific
        Account
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec4b429-7773-11ed-9966-0242ac110003>`__.

        Args:
            account: An id, as a number or its digits, or an `Account`. A UID is none.

        Raises:
            InvalidInputError: *account* is nothing of the kind. Nothing was sent.
            AccountNotFoundError: HTX knows no such account of this user.
            HTXError: See `htx_async.errors`.
        """
        given = account.id if isinstance(account, Account) else account
        account_id = validation.numeric_id(given, "account")
        return await self._ask(BALANCE, path=BALANCE.path.replace("{account-id}", account_id))

    async def snapshot(self) -> Snapshot:
        """
        Return all accounts with their balances; what failed is kept beside its account.

        It costs a request for the list and one for each account; they wait for tokens as all do.
        The balance of an OTC account always fails: HTX does not tell it.

        Raises:
            HTXError: The list itself could not be read.
        """
        accounts = await self.list()
        async with asyncio.TaskGroup() as group:
            reads = [group.create_task(self._picture(account)) for account in accounts]
        return Snapshot(tuple(read.result() for read in reads))

    async def asset_valuation(
        self,
        account_type: str | None = None,
        *,
        valuation_currency: str = "BTC",
        sub_uid: int | str | None = None,
    ) -> AssetValuation:
        """
        Return what the assets of a user are worth, at HTX's prices.

        HTX allows 100 reads in 2 s: `Get Asset Valuation
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec4ff6d-7773-11ed-9966-0242ac110003>`__.

        Args:
            account_type: Which accounts are valued: `"spot"`, `"margin"`, `"otc"` or
                `"super-margin"`. `None`: HTX decides, and does not tell how.
            valuation_currency: The unit of the answer, in upper case: `"BTC"`, `"USD"`, `"EUR"`
                and other fiat currencies.
            sub_uid: The UID of a sub user whose assets its parent asks for; `None`: one's own.

        Raises:
            InvalidInputError: An argument is nothing of the kind. Nothing was sent.
            HTXError: What else can go wrong: see `htx_async.errors`.
        """
        currency = validation.enum_value(valuation_currency, "valuation_currency", "BTC")
        params = [("valuationCurrency", currency)]
        if account_type is not None:
            params.append(
                ("accountType", validation.enum_value(account_type, "account_type", "spot"))
            )
        if sub_uid is not None:
            params.append(("subUid", validation.numeric_id(sub_uid, "sub_uid")))
        return await self._ask(VALUATION, params=tuple(params))

    async def _picture(self, account: Account) -> AccountSnapshot:
        try:
            return AccountSnapshot(account, await self.balance(account), None)
        except HTXError as error:
            return AccountSnapshot(account, None, error)


def _matching(accounts: tuple[Account, ...], kind: str, subtype: str) -> tuple[Account, ...]:
    """Return the accounts of just this kind; without a subtype, else all of the type."""
    of_type = tuple(account for account in accounts if account.type == kind)
    exact = tuple(account for account in of_type if account.subtype == subtype)
    return exact if exact or subtype else of_type


def _described(account: Account) -> str:
    return f"{account.id} ({account.type} {account.subtype}".rstrip() + ")"
