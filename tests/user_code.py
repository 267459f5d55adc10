# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""
Typical user code with the types that it gets. mypy and pyright check it; it is never run.

A line with an ignore comment is an error that both type checkers must detect: if one does not, it
reports an unused ignore comment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, assert_type

import httpx

import htx_async
from htx_async import (
    NO_RETRY,
    UNLIMITED,
    Account,
    AccountBalance,
    Accounts,
    AccountSnapshot,
    AccountState,
    AccountType,
    APIKeyStatus,
    AssetValuation,
    BalanceChange,
    BalanceEntry,
    BalanceType,
    Clock,
    Credentials,
    CurrencyBalance,
    DepositWithdrawalState,
    DepositWithdrawalType,
    DistributionType,
    Event,
    HistoryRecord,
    HTTPTransport,
    HTXClient,
    HTXError,
    LedgerRecord,
    LiveAccount,
    LiveBalances,
    Model,
    Permission,
    PointAccountStatus,
    PointBalance,
    PointGroup,
    Points,
    Position,
    RateLimit,
    RateLimiter,
    RateLimitStatus,
    RawResponse,
    RecordIterator,
    RedisRateLimiter,
    RetryPolicy,
    Snapshot,
    StreamEvent,
    SubUserState,
    TransactType,
    TransferType,
    Users,
)
from htx_async.otel import Telemetry
from htx_async.sandbox import Sandbox


async def clients(credentials: Credentials) -> None:
    """Options of a client, and types of its attributes and methods."""

    async def provider() -> Credentials:
        return Credentials.ed25519("access-key", b"pem")

    def listener(event: Event) -> None:
        assert_type(event.endpoint, str)
        assert_type(event.wait, float | None)

    HTXClient(provider, rate_limiter=UNLIMITED, transport=HTTPTransport(), on_event=Telemetry())
    HTXClient(provider, transport=HTTPTransport(max_connections=5))
    HTXClient(
        credentials, transport=httpx.ASGITransport(app=Sandbox()), clock=Clock(), retry=NO_RETRY
    )
    HTXClient("access-key", "secret-key")  # type: ignore[arg-type]
    HTXClient(credentials, timuot=5.0)  # type: ignore[call-arg]
    HTXClient(credentials, coalesce="no")  # type: ignore[arg-type]
    HTXClient(credentials, timeout="5")  # type: ignore[arg-type]
    async with RedisRateLimiter("redis://localhost", user="us", fallback=0.25) as shared:
        assert_type(shared, RedisRateLimiter)
        HTXClient(provider, rate_limiter=shared)
    async with HTXClient(credentials, rate_limiter=RateLimiter(), on_event=listener) as htx:
        assert_type(htx, HTXClient)
        assert_type(htx.accounts, Accounts)
        assert_type(htx.points, Points)
        assert_type(htx.with_options(timeout=1.0, queue_timeout=None), HTXClient)
        htx.with_options(timeuot=1.0)  # type: ignore[call-arg]
        assert_type(htx.with_options(refresh_interval=60.0), HTXClient)
        assert_type(await htx.refresh_credentials(), bool)
        assert_type(htx.limits(), Mapping[str, RateLimitStatus])
        assert_type(htx.clock_offset(), float | None)
    assert_type(HTXClient.from_env(retry=RetryPolicy(attempts=2), on_event=listener), HTXClient)
    HTXClient.from_env(timout=3)  # type: ignore[call-arg]
    HTXClient.from_env(timeout="3")  # type: ignore[arg-type]
    HTTPTransport(max_conections=5)  # type: ignore[call-arg]
    RetryPolicy(attemps=2)  # type: ignore[call-arg]
    RateLimit(100, pre=2.0)  # type: ignore[call-arg]
    RedisRateLimiter("redis://localhost", usr="us")  # type: ignore[call-arg]
    Telemetry(clok=Clock())  # type: ignore[call-arg]
    Credentials("access-key", secret="secret-key")  # type: ignore[call-arg]
    assert_type(Credentials.from_env(), Credentials)


class MyClient(HTXClient):
    """A subclass."""


async def subclasses(client: MyClient) -> None:
    """Methods that return a client return the subclass."""
    assert_type(MyClient.from_env(), MyClient)
    assert_type(client.with_options(coalesce=False), MyClient)
    async with client as entered:
        assert_type(entered, MyClient)


async def accounts(htx: HTXClient) -> None:
    """Lists are tuples, amounts are Decimals, enums are text."""
    assert_type(await htx.accounts.list(), tuple[Account, ...])
    account = await htx.accounts.find(AccountType.SPOT)
    await htx.accounts.find("margin", "btcusdt")
    assert_type(account, Account)
    assert_type(account.id, int)
    assert_type(account.type, AccountType)
    assert_type(account.state, AccountState)
    assert_type(account.state.is_known, bool)
    text: str = account.type
    assert_type(text == AccountType.SPOT, bool)
    account.id = 1  # type: ignore[misc]
    await htx.accounts.balance(1.0)  # type: ignore[arg-type]
    assert_type(await htx.accounts.balance("1000001"), AccountBalance)
    balances(await htx.accounts.balance(account), await htx.accounts.balance(1))
    valuation = await htx.accounts.asset_valuation("spot", valuation_currency="USD", sub_uid=1)
    assert_type(valuation, AssetValuation)
    assert_type((valuation.balance, valuation.timestamp), tuple[Decimal, datetime | None])


def balances(balance: AccountBalance, previous: AccountBalance) -> None:
    """A balance is a mapping."""
    as_mapping: Mapping[str, CurrencyBalance] = balance
    assert_type(as_mapping.get("usdt"), CurrencyBalance | None)
    assert_type(balance["usdt"], CurrencyBalance)
    assert_type(balance["usdt"].total + balance["usdt"].amount(BalanceType.LOAN), Decimal)
    assert_type(balance.nonzero(), tuple[CurrencyBalance, ...])
    assert_type(balance.entries, tuple[BalanceEntry, ...])
    assert_type(balance.entries[0].debt, Decimal | None)
    assert_type(balance.entries[0].seq_num, int | None)
    assert_type([currency for currency in balance], list[str])  # noqa: C416 - tests the type of the iterator
    balance["usdt"].total + 1.5  # type: ignore[operator]
    for change in balance.changes(since=previous):
        assert_type(change, BalanceChange)
        assert_type(change.delta, Decimal)


async def streams(htx: HTXClient) -> None:
    """Live balances are models, too."""
    async with htx.accounts.stream(["spot", 1], audit_interval=5, buffer=10) as live:
        assert_type(live, LiveBalances)
        assert_type(live["spot"], LiveAccount)
        assert_type(live["spot"]["usdt"], CurrencyBalance)
        assert_type(live["spot"].balance(), AccountBalance)
        assert_type((live.synced, live.age, live.bound), tuple[bool, float, float])
        assert_type(await live.verified("spot", max_age=0.5), AccountBalance)
        async for change in live.changes():
            assert_type(change, BalanceChange)
            assert_type((change.cause, change.seq), tuple[str | None, int | None])
        async for event in live.events():
            assert_type(event, StreamEvent)
            assert_type(event.until, datetime | None)
    htx.accounts.stream(1.5)  # type: ignore[arg-type]


async def snapshots(htx: HTXClient) -> None:
    """An account has a balance or an error."""
    snapshot = await htx.accounts.snapshot()
    assert_type(snapshot, Snapshot)
    await htx.accounts.snapshot(types={"spot", AccountType.MARGIN}, strict=True)
    await htx.accounts.snapshot(types=1)  # type: ignore[arg-type]
    assert_type(snapshot.skipped, tuple[Account, ...])
    snapshot.raise_for_errors()
    assert_type(snapshot.balances, Mapping[int, AccountBalance])
    assert_type(snapshot.errors, Mapping[int, HTXError])
    account: AccountSnapshot = snapshot.accounts[0]
    assert_type(account.balance, AccountBalance | None)
    account.balance.currencies  # type: ignore[union-attr]  # noqa: B018


async def points(htx: HTXClient) -> None:
    """Points and their groups."""
    balance = await htx.points.balance(sub_uid="123")
    assert_type(balance, PointBalance)
    assert_type(balance.account_status, PointAccountStatus)
    assert_type(balance.acct_balance, Decimal)
    group: PointGroup = balance.group_ids[0]
    assert_type(group.expiry_date, datetime | None)


async def movements(htx: HTXClient, start: datetime) -> None:
    """Iterators of records, and their positions."""
    history = htx.accounts.history("spot", start=start, types={TransactType.TRADE, "transfer"})
    assert_type(history, RecordIterator[HistoryRecord])
    async for record in history:
        assert_type(record, HistoryRecord)
        assert_type(record.transact_time, datetime)
        assert_type(record.transact_type, TransactType)
    assert_type(history.position, Position)
    resumed = htx.accounts.ledger(1, start=start, resume=history.position)
    assert_type(await resumed.collect(), tuple[LedgerRecord, ...])
    htx.accounts.history("spot")  # type: ignore[call-arg]
    htx.accounts.history("spot", start="2026-01-31")  # type: ignore[arg-type]
    async for transfer in resumed:
        assert_type(transfer.transfer_type, TransferType)
    async for deposit in htx.accounts.deposits_and_withdrawals(DepositWithdrawalType.DEPOSIT):
        assert_type(deposit.state, DepositWithdrawalState)
    valuation = await htx.accounts.valuation(DistributionType.SPOT)
    assert_type(valuation.total_balance, Decimal)
    assert_type((await htx.points.deduction()).point_switch, bool)


async def users(htx: HTXClient) -> None:
    """The user of the key, and its sub users."""
    assert_type(htx.users, Users)
    assert_type(await htx.users.uid(), int)
    key = await htx.users.api_key()
    assert_type(key.permission, tuple[Permission, ...])
    assert_type(key.status, APIKeyStatus)
    assert_type(key.valid_days, int | None)
    async for sub_user in htx.users.sub_users():
        assert_type(sub_user.user_state, SubUserState)
        balances = await htx.users.sub_user_balance(sub_user.uid)
        assert_type(balances[0]["usdt"].trade, Decimal)


async def raw_responses(htx: HTXClient) -> None:
    """Any other endpoint."""
    response = await htx.get("/v2/user/uid", params={"a": 1}, limit=RateLimit(1, per=1.0))
    assert_type(response, RawResponse)
    await htx.get("/v2/user/uid", params={"amount": 1.5})  # type: ignore[dict-item]


def models(model: Model, text: str) -> None:
    """Serialization and pattern matching."""
    assert_type(model.to_dict(), dict[str, Any])
    assert_type(model.to_json(indent=2), str)
    assert_type(PointBalance.from_json(text), PointBalance)
    match model:
        case Account(number, AccountType.SPOT):
            assert_type(number, int)
        case _:
            return


def errors(error: HTXError) -> None:
    """Attributes of errors."""
    assert_type(error.retryable, bool)
    assert_type(error.code, str | int | None)
    assert_type(error.retry_after, float | None)
    assert_type(error.attempts, tuple[HTXError, ...])
    assert_type(error.headers, Mapping[str, str])
    match error:
        case htx_async.RateLimitQueueError():
            assert_type(error.retry_after, float | None)
        case htx_async.CredentialsError():
            assert_type(error.retryable, bool)
        case htx_async.DecodeError():
            assert_type(error.path, str)
        case _:
            return


API_ERRORS: tuple[type[htx_async.APIError], ...] = (
    htx_async.AccountNotFoundError,
    htx_async.RateLimitedError,
    htx_async.ServiceUnavailableError,
)
AUTHENTICATION_ERRORS: tuple[type[htx_async.AuthenticationError], ...] = (
    htx_async.AccessKeyError,
    htx_async.IPAddressError,
    htx_async.KeyExpiredError,
    htx_async.PermissionDeniedError,
    htx_async.SignatureError,
    htx_async.ClockError,
)
TRANSPORT_ERRORS: tuple[type[htx_async.TransportError], ...] = (
    htx_async.ConnectError,
    htx_async.NoResponseError,
)
VALUE_ERROR: type[ValueError] = htx_async.InvalidInputError
RUNTIME_ERRORS: tuple[type[RuntimeError], ...] = (
    htx_async.ClientClosedError,
    htx_async.EventLoopError,
)
TIMEOUT_ERROR: type[TimeoutError] = htx_async.DeadlineExceededError


async def gathering(htx: HTXClient) -> None:
    """`asyncio.gather` keeps the types."""
    both = await asyncio.gather(htx.accounts.list(), htx.points.balance())
    assert_type(both, tuple[tuple[Account, ...], PointBalance])
