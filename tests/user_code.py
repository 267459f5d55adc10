# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""
What users write, with the types that they get: mypy and pyright read it, nobody runs it.

A line with an ignore is a mistake that both must see: who does not, says that there is nothing to
ignore.
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
    AiohttpTransport,
    AssetValuation,
    BalanceChange,
    BalanceEntry,
    BalanceType,
    Clock,
    Credentials,
    CurrencyBalance,
    Event,
    HTXClient,
    HTXError,
    Model,
    PointAccountStatus,
    PointBalance,
    PointGroup,
    Points,
    RateLimit,
    RateLimiter,
    RateLimitStatus,
    RawResponse,
    RedisRateLimiter,
    RetryPolicy,
    Share,
    Snapshot,
)
from htx_async.otel import Telemetry
from htx_async.sandbox import Sandbox


async def clients(keys: Credentials) -> None:
    """What a client is made of, and what it gives."""

    async def provider() -> Credentials:
        return Credentials.ed25519("access-key", b"pem")

    def heard(event: Event) -> None:
        assert_type(event.endpoint, str)
        assert_type(event.wait, float | None)

    HTXClient(provider, rate_limiter=UNLIMITED, transport=AiohttpTransport(), on_event=Telemetry())
    HTXClient(keys, transport=httpx.ASGITransport(app=Sandbox()), clock=Clock(), retry=NO_RETRY)
    HTXClient("access-key", "secret-key")  # type: ignore[call-arg, arg-type]
    HTXClient(keys, timeout="5")  # type: ignore[arg-type]
    async with RedisRateLimiter("redis://localhost", user="us", on_outage=Share(0.25)) as shared:
        assert_type(shared, RedisRateLimiter)
        HTXClient(provider, rate_limiter=shared)
    async with HTXClient(keys, rate_limiter=RateLimiter(), on_event=heard) as htx:
        assert_type(htx, HTXClient)
        assert_type(htx.accounts, Accounts)
        assert_type(htx.points, Points)
        assert_type(htx.with_options(timeout=1.0, queue_timeout=None), HTXClient)
        htx.with_options(timeuot=1.0)  # type: ignore[call-arg]
        assert_type(htx.limits(), Mapping[str, RateLimitStatus])
        assert_type(htx.clock_offset(), float | None)
    assert_type(HTXClient.from_env(retry=RetryPolicy(attempts=2)), HTXClient)
    assert_type(Credentials.from_env(), Credentials)


class MyClient(HTXClient):
    """A client of one's own."""


async def subclasses(mine: MyClient) -> None:
    """They stay what they are."""
    assert_type(MyClient.from_env(), MyClient)
    assert_type(mine.with_options(coalesce=False), MyClient)
    async with mine as entered:
        assert_type(entered, MyClient)


async def accounts(htx: HTXClient) -> None:
    """Lists are tuples, amounts are Decimals, HTX's words are text."""
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


def balances(now: AccountBalance, before: AccountBalance) -> None:
    """A balance is a mapping."""
    as_mapping: Mapping[str, CurrencyBalance] = now
    assert_type(as_mapping.get("usdt"), CurrencyBalance | None)
    assert_type(now["usdt"], CurrencyBalance)
    assert_type(now["usdt"].total + now["usdt"].amount(BalanceType.LOAN), Decimal)
    assert_type(now.nonzero(), tuple[CurrencyBalance, ...])
    assert_type(now.entries, tuple[BalanceEntry, ...])
    assert_type(now.entries[0].debt, Decimal | None)
    assert_type(now.entries[0].seq_num, int | None)
    assert_type([currency for currency in now], list[str])  # noqa: C416 - its type is shown
    now["usdt"].total + 1.5  # type: ignore[operator]
    for change in now.changes(since=before):
        assert_type(change, BalanceChange)
        assert_type(change.delta, Decimal)


async def snapshots(htx: HTXClient) -> None:
    """What failed stands beside its account."""
    snapshot = await htx.accounts.snapshot()
    assert_type(snapshot, Snapshot)
    assert_type(snapshot.balances, Mapping[int, AccountBalance])
    assert_type(snapshot.errors, Mapping[int, HTXError])
    picture: AccountSnapshot = snapshot.accounts[0]
    assert_type(picture.balance, AccountBalance | None)
    picture.balance.currencies  # type: ignore[union-attr]  # noqa: B018


async def points(htx: HTXClient) -> None:
    """Points, and when they expire."""
    balance = await htx.points.balance(sub_uid="123")
    assert_type(balance, PointBalance)
    assert_type(balance.account_status, PointAccountStatus)
    assert_type(balance.acct_balance, Decimal)
    group: PointGroup = balance.group_ids[0]
    assert_type(group.expiry_date, datetime | None)


async def others(htx: HTXClient) -> None:
    """Any other path."""
    answer = await htx.get("/v2/user/uid", params={"a": 1}, limit=RateLimit(1, per=1.0))
    assert_type(answer, RawResponse)
    await htx.get("/v2/user/uid", params={"amount": 1.5})  # type: ignore[dict-item]


def models(model: Model, text: str) -> None:
    """All of them go out and come back."""
    assert_type(model.to_dict(), dict[str, Any])
    assert_type(model.to_json(indent=2), str)
    assert_type(PointBalance.from_json(text), PointBalance)
    match model:
        case Account(number, AccountType.SPOT):
            assert_type(number, int)
        case _:
            return


def errors(error: HTXError) -> None:
    """Every error says what it is about; some are Python's own, too."""
    assert_type(error.retryable, bool)
    assert_type(error.code, str | int | None)
    assert_type(error.retry_after, float | None)
    match error:
        case htx_async.RateLimitQueueError():
            assert_type(error.retry_after, float | None)
        case htx_async.DecodeError():
            assert_type(error.path, str)
        case _:
            return


SAID_BY_HTX: tuple[type[htx_async.APIError], ...] = (
    htx_async.AccountNotFoundError,
    htx_async.RateLimitedError,
    htx_async.ServiceUnavailableError,
)
SAID_OF_KEYS: tuple[type[htx_async.AuthenticationError], ...] = (
    htx_async.AccessKeyError,
    htx_async.IPAddressError,
    htx_async.KeyExpiredError,
    htx_async.PermissionDeniedError,
    htx_async.SignatureError,
    htx_async.ClockError,
)
SAID_HERE: tuple[type[HTXError], ...] = (htx_async.ConnectError, htx_async.NoResponseError)
PYTHONS_VALUE_ERROR: type[ValueError] = htx_async.InvalidInputError
PYTHONS_RUNTIME_ERROR: type[RuntimeError] = htx_async.ClientClosedError
PYTHONS_TIMEOUT: type[TimeoutError] = htx_async.DeadlineExceededError


async def together(htx: HTXClient) -> None:
    """Through asyncio's own."""
    both = await asyncio.gather(htx.accounts.list(), htx.points.balance())
    assert_type(both, tuple[tuple[Account, ...], PointBalance])
