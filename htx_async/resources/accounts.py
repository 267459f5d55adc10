"""
`htx.accounts`: accounts, balances and valuations.

HTX, "Get all Accounts of the Current User":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec4b291-7773-11ed-9966-0242ac110003
HTX, "Get Account Balance of a Specific Account":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec4b429-7773-11ed-9966-0242ac110003
HTX, "Get Asset Valuation":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec4ff6d-7773-11ed-9966-0242ac110003
HTX, "Get The Total Valuation of Platform Assets":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec5058c-7773-11ed-9966-0242ac110003
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from htx_async.errors import AccountNotFoundError, HTXError, InvalidInputError
from htx_async.models.account import Account
from htx_async.models.balance import AccountBalance
from htx_async.models.enums import AccountType
from htx_async.models.movements import DepositWithdrawal, HistoryRecord, LedgerRecord
from htx_async.models.position import Position
from htx_async.models.snapshot import AccountSnapshot, Snapshot
from htx_async.models.valuation import AssetValuation, PlatformValuation
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Page
from htx_async.resources import movements
from htx_async.resources.base import Client, Resource
from htx_async.resources.movements import (
    HISTORY_LIST,
    LEDGER_LIST,
    R,
    TimedList,
    TimedQuery,
)
from htx_async.resources.paging import Progress, RecordIterator
from htx_async.validation import (
    account_name,
    boolean,
    callback,
    enum_value,
    enum_values,
    int_at_least,
    numeric_id,
    positive_seconds,
    words,
)

if TYPE_CHECKING:
    from htx_async.stream.hub import StreamHub
    from htx_async.stream.live import LiveBalances

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
PLATFORM_VALUATION: Final = Endpoint(
    "/v2/account/valuation",
    RateLimit(3, per=1.0),  # "3/1s", HTX's page of it
    PlatformValuation,
)


class Accounts(Resource):
    """The accounts of a user."""

    def __init__(
        self,
        client: Client,
        cached_accounts: list[Account] | None = None,
        stream_hub: Callable[[], StreamHub] | None = None,
        timeout: float = 30.0,
    ) -> None:
        super().__init__(client)
        self._cached_accounts = [] if cached_accounts is None else cached_accounts
        self._stream_hub = stream_hub
        self._timeout = timeout

    async def list(self) -> tuple[Account, ...]:
        """
        Return all accounts, in HTX's order. The first one is often the point account.

        Rate limit: 100 requests in 2 s. `Get all Accounts of the Current User
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec4b291-7773-11ed-9966-0242ac110003>`__.

        Raises:
            HTXError: See `htx_async.errors`.
        """
        return await self._list()

    async def _list(self, started_at: float | None = None) -> tuple[Account, ...]:
        accounts = await self._request(LIST, started_at=started_at)
        self._cached_accounts[:] = accounts
        return accounts

    async def find(self, type: str, subtype: str = "") -> Account:
        """
        Return the only account of this type and subtype. The list of accounts is cached.

        Args:
            type: The type, such as `AccountType.SPOT` or `"spot"`.
            subtype: The symbol of an isolated margin account, the chain of a trust account. It
                may be omitted if there is just one account of that type.

        Raises:
            AccountNotFoundError: There is none, in a list that was just requested.
            InvalidInputError: There are several: pass the *subtype* of one.
            HTXError: See `htx_async.errors`.
        """
        return await self._find(type, subtype)

    async def _find(self, type: str, subtype: str, started_at: float | None = None) -> Account:
        words(type, "type", "spot")
        words(subtype, "subtype", "btcusdt")
        matches = _filter(self._cached_accounts, type, subtype)
        if not matches:
            matches = _filter(await self._list(started_at), type, subtype)
        if len(matches) == 1:
            return matches[0]
        wanted = f"{type!s} {subtype}".rstrip()
        candidates = ", ".join(map(_describe, matches or self._cached_accounts))
        if matches:
            msg = f"{len(matches)} accounts have the type {wanted}. Pass a subtype: {candidates}"
            raise InvalidInputError(msg)
        msg = f"no account has the type {wanted}. Accounts of this user: {candidates or 'none'}"
        raise AccountNotFoundError(msg, endpoint=LIST.name)

    async def balance(self, account: Account | int | str) -> AccountBalance:
        """
        Return the balance of an account. HTX does not return that of OTC accounts.

        Rate limit: 100 requests in 2 s, for all accounts together. `Get Account Balance of a
        Specific Account
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec4b429-7773-11ed-9966-0242ac110003>`__.

        Args:
            account: An id, as an int or its digits; a type such as `"spot"`, with a subtype
                `"margin:btcusdt"`, which is looked up as `find` does; or an `Account`. A UID is
                not an id.

        Raises:
            InvalidInputError: *account* is something else, or the type of several accounts. No
                balance was requested.
            AccountNotFoundError: The user has no such account.
            DecodeError: The response is that of another account, or malformed.
            HTXError: See `htx_async.errors`.
        """
        started_at = self._monotonic()
        account_id = await self._find_id(account, started_at)
        return await self._balance(account_id, started_at)

    async def _balance(self, account_id: int, started_at: float) -> AccountBalance:
        path = BALANCE.path.replace("{account-id}", str(account_id))
        return await self._request(BALANCE, path=path, account_id=account_id, started_at=started_at)

    async def snapshot(
        self, *, types: Collection[str] | None = None, strict: bool = False
    ) -> Snapshot:
        """
        Return all accounts with their balances. Errors are kept beside their account.

        It sends one request for the list and one for each account; all are rate limited.

        Args:
            types: The types of the accounts to read, such as `{"spot", "margin"}`. `None`: all
                but `otc`, whose balances HTX does not return. The others are in `skipped`.
            strict: Whether to raise if any balance fails, or only if every balance fails.

        Raises:
            InvalidInputError: *types* is not a collection of types, or *strict* is not a bool.
                Nothing was sent.
            HTXError: The list itself failed, or balances did (see *strict*): the first error.
        """
        boolean(strict, "strict")
        wanted = None if types is None else enum_values(types, "types", "spot")
        read: list[Account] = []
        skipped: list[Account] = []
        started_at = self._monotonic()
        for account in await self._list(started_at):
            is_read = account.type != AccountType.OTC if wanted is None else account.type in wanted
            (read if is_read else skipped).append(account)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._read_one(account, started_at)) for account in read]
        snapshot = Snapshot(tuple(task.result() for task in tasks), tuple(skipped))
        if strict or not snapshot.balances:
            snapshot.raise_for_errors()
        return snapshot

    async def asset_valuation(
        self,
        account_type: str | None = None,
        *,
        valuation_currency: str = "BTC",
        sub_uid: int | str | None = None,
    ) -> AssetValuation:
        """
        Return the value of a user's assets, at HTX's prices.

        Rate limit: 100 requests in 2 s. `Get Asset Valuation
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec4ff6d-7773-11ed-9966-0242ac110003>`__.

        Args:
            account_type: The accounts to value: `"spot"`, `"margin"`, `"otc"` or
                `"super-margin"`. `None`: HTX decides, and does not document how.
            valuation_currency: The unit of the result, in upper case: `"BTC"`, `"USD"`, `"EUR"`
                and other fiat currencies.
            sub_uid: The UID of a sub user, if its parent requests the value; `None`: the user's
                own.

        Raises:
            InvalidInputError: An argument is malformed. Nothing was sent.
            HTXError: See `htx_async.errors`.
        """
        params = [
            ("valuationCurrency", enum_value(valuation_currency, "valuation_currency", "BTC"))
        ]
        if account_type is not None:
            params.append(("accountType", enum_value(account_type, "account_type", "spot")))
        if sub_uid is not None:
            params.append(("subUid", numeric_id(sub_uid, "sub_uid")))
        return await self._request(VALUATION, params=tuple(params))

    async def valuation(
        self, account_type: str | None = None, *, valuation_currency: str = "BTC"
    ) -> PlatformValuation:
        """
        Return the value of all assets on HTX's platform, with today's profit and its parts.

        Rate limit: 3 requests in 1 s. `Get The Total Valuation of Platform Assets
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec5058c-7773-11ed-9966-0242ac110003>`__.

        Args:
            account_type: The accounts to value, by HTX's number, such as `DistributionType.SPOT`
                or `"1"`. `None`: all.
            valuation_currency: The unit of the result, in upper case. HTX supports `"BTC"` only.

        Raises:
            InvalidInputError: An argument is malformed. Nothing was sent.
            HTXError: See `htx_async.errors`.
        """
        currency = enum_value(valuation_currency, "valuation_currency", "BTC")
        params = [("valuationCurrency", currency)]
        if account_type is not None:
            params.append(("accountType", enum_value(account_type, "account_type", "1")))
        return await self._request(PLATFORM_VALUATION, params=tuple(params))

    def history(
        self,
        account: Account | int | str,
        *,
        start: datetime,
        end: datetime | None = None,
        currency: str | None = None,
        types: Collection[str] = (),
        newest_first: bool = False,
        on_progress: Progress | None = None,
        resume: Position | None = None,
    ) -> RecordIterator[HistoryRecord]:
        """
        Return an iterator of the changes of an account's balances in the last 30 days.

        Use it with `async for`, or `await ….collect()`. HTX returns an hour at a time, in pages of
        500 records: 30 days take at least 720 requests, and so five minutes.

        Rate limit: 5 requests in 2 s. `Get Account History
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec4b85b-7773-11ed-9966-0242ac110003>`__.

        Args:
            account: The account, as for `balance`.
            start: First time, included; an aware datetime.
            end: Last time, included; an aware datetime. `None`: now. No record is in the future.
            currency: A currency, such as `"usdt"`. `None`: all.
            types: Types such as `{"trade", "transfer"}`: see `TransactType`. Empty: all.
            newest_first: Whether to begin with the newest record.
            on_progress: Called with the number of hours that were read, and that of all hours.
            resume: The `position` of an earlier iterator, to continue with the record after it.
                Pass the same arguments: `start=position.start`, and no `end`.

        Raises:
            InvalidInputError: An argument is malformed, or *start* is before what HTX keeps.
                Nothing was sent.
            AccountNotFoundError: By the iterator: the user has no such account.
            HTXError: By the iterator: see `htx_async.errors`.
        """
        return self._records(
            HISTORY_LIST,
            account,
            on_progress,
            start=start,
            end=end,
            currency=currency,
            types=types,
            newest_first=newest_first,
            resume=resume,
        )

    def ledger(
        self,
        account: Account | int | str,
        *,
        start: datetime,
        end: datetime | None = None,
        currency: str | None = None,
        types: Collection[str] = (),
        on_progress: Progress | None = None,
        resume: Position | None = None,
    ) -> RecordIterator[LedgerRecord]:
        """
        Return an iterator of the transfers of an account in the last 180 days, oldest first.

        HTX returns ten days at a time, in pages of 500 records. If it sorts them otherwise (its
        page calls the parameter deprecated), ten days are read before they are returned in order.

        Rate limit: 10 requests in 1 s, HTX's rule where a page states none. `Get Account Ledger
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec501f7-7773-11ed-9966-0242ac110003>`__.

        Args:
            account: The account, as for `balance`.
            start: First time, included; an aware datetime.
            end: Last time, included; an aware datetime. `None`: now. No record is in the future.
            currency: A currency, such as `"usdt"`. `None`: all.
            types: Types of `TransactType`; HTX supports `"transfer"` only. Empty: all.
            on_progress: Called with the number of windows that were read, and that of all windows.
            resume: The `position` of an earlier iterator, to continue with the record after it.
                Pass the same arguments: `start=position.start`, and no `end`.

        Raises:
            InvalidInputError: An argument is malformed, or *start* is before what HTX keeps.
                Nothing was sent.
            AccountNotFoundError: By the iterator: the user has no such account.
            HTXError: By the iterator: see `htx_async.errors`.
        """
        return self._records(
            LEDGER_LIST,
            account,
            on_progress,
            start=start,
            end=end,
            currency=currency,
            types=types,
            newest_first=False,
            resume=resume,
        )

    def deposits_and_withdrawals(
        self,
        type: str | None = None,
        *,
        currency: str | None = None,
        newest_first: bool = False,
        resume: Position | None = None,
    ) -> RecordIterator[DepositWithdrawal]:
        """
        Return an iterator of deposits and withdrawals, with their latest states.

        Rate limit: 20 requests in 2 s. `Search for Existed Withdraws and Deposits
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec4f050-7773-11ed-9966-0242ac110003>`__.

        Args:
            type: `"deposit"` or `"withdraw"`. `None`: all deposits, then all withdrawals. The key
                of a sub user may request deposits only.
            currency: A currency, such as `"usdt"`. `None`: all.
            newest_first: Whether to begin with the newest record of each type.
            resume: The `position` of an earlier iterator with the same arguments, to continue with
                the record after it.

        Raises:
            InvalidInputError: An argument is malformed. Nothing was sent.
            HTXError: By the iterator: see `htx_async.errors`.
        """
        return movements.deposits_and_withdrawals(
            lambda params: self._request(movements.DEPOSITS_WITHDRAWALS, params=params),
            type,
            currency,
            newest_first,
            resume,
        )

    def stream(
        self,
        accounts: Account | int | str | Collection[Account | int | str] | None = None,
        *,
        audit_interval: float = 10.0,
        buffer: int = 1000,
        fill: bool = False,
    ) -> LiveBalances:
        """
        Return live balances: pushed by WebSocket, and proven equal to REST. Use `async with`.

        All streams of a client share one connection. Reads of REST, called audits, find pushes that
        were lost; each costs a request of `balance`. Needs the extra `stream`. `Subscribe Account
        Change
        <https://www.htx.com/en-us/opend/newApiPages/?id=7ec53dd5-7773-11ed-9966-0242ac110003>`__.

        Args:
            accounts: Ids, types such as `"spot"` or `"margin:btcusdt"`, or `Account`s; or one of
                them. `None`: all accounts but those of the types `otc` and `point`.
            audit_interval: Seconds between reads of REST for each account.
            buffer: Events that are kept for each slow consumer before they are conflated.
            fill: Whether to read what happened during a gap from HTX's account history.

        Raises:
            InvalidInputError: An argument is wrong, the extra is not installed, or the client has
                a `transport` that is not an `HTTPTransport`. Nothing was sent.
        """
        from htx_async.stream import live, selection  # noqa: PLC0415 - an extra

        wanted = selection.check_accounts(accounts)
        positive_seconds(audit_interval, "audit_interval")
        int_at_least(buffer, 1, "buffer")
        boolean(fill, "fill")
        selection.check_extra()
        assert self._stream_hub is not None, "the client passes it"
        hub = self._stream_hub()
        if not hub.can_connect:
            msg = (
                "stream() opens a connection of its own, and cannot use transport=: omit it, or "
                "let a test serve the sandbox on a port, with Sandbox.serve()"
            )
            raise InvalidInputError(msg)
        return live.LiveBalances(
            hub,
            self,
            self._timeout,
            wanted,
            audit_interval=audit_interval,
            buffer=buffer,
            fill=fill,
        )

    def _records(
        self,
        source: TimedList[R],
        account: Account | int | str,
        on_progress: Progress | None,
        **arguments: Any,
    ) -> RecordIterator[R]:
        """Return the iterator of a list with times."""
        if account_name(account, "account") is None:
            _numeric_id(account)
        if on_progress is not None:
            callback(on_progress, "on_progress")
        query = TimedQuery[R].check(source, self._server_time, **arguments)

        async def send(params: tuple[tuple[str, str], ...], account_id: int) -> Page[R]:
            owner = account_id if source.is_of_account else None
            return await self._request(source.endpoint, params=params, account_id=owner)

        find_id = functools.partial(self._find_id, account)
        return RecordIterator(query.listing(send), query.position, find_id, on_progress)

    async def _find_id(self, account: Account | int | str, started_at: float | None = None) -> int:
        if (name := account_name(account, "account")) is not None:
            account = await self._find(*name, started_at)
        return _numeric_id(account)

    async def _read_one(self, account: Account, started_at: float) -> AccountSnapshot:
        try:
            return AccountSnapshot(account, await self._balance(account.id, started_at), None)
        except HTXError as error:
            return AccountSnapshot(account, None, error)


def _numeric_id(account: Account | int | str) -> int:
    return int(numeric_id(account.id if isinstance(account, Account) else account, "account"))


def _filter(accounts: Iterable[Account], kind: str, subtype: str) -> tuple[Account, ...]:
    """Return the accounts of this type and subtype; all of the type if *subtype* is omitted."""
    of_type = tuple(account for account in accounts if account.type == kind)
    exact = tuple(account for account in of_type if account.subtype == subtype)
    return exact if exact or subtype else of_type


def _describe(account: Account) -> str:
    return f"{account.id} ({account.type} {account.subtype}".rstrip() + ")"
