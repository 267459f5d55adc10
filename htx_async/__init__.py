"""Asyncio SDK for the HTX (Huobi) exchange: accounts, balances and points, read exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from htx_async.auth.credentials import Credentials
from htx_async.client import HTXClient
from htx_async.clock import Clock
from htx_async.errors import (
    AccessKeyError,
    AccountNotFoundError,
    APIError,
    AuthenticationError,
    ClientClosedError,
    ClockError,
    ConnectError,
    DeadlineExceededError,
    DecodeError,
    EventLoopError,
    HTXError,
    InvalidInputError,
    IPAddressError,
    KeyExpiredError,
    NoResponseError,
    PermissionDeniedError,
    RateLimitedError,
    RateLimitQueueError,
    ServiceUnavailableError,
    SignatureError,
    TransportError,
)
from htx_async.events import Event
from htx_async.models.balance import (
    Account,
    AccountBalance,
    AccountSnapshot,
    CurrencyBalance,
    Snapshot,
)
from htx_async.models.balance_diff import BalanceChange
from htx_async.models.base import Model
from htx_async.models.enums import AccountState, AccountType, BalanceType, PointAccountStatus
from htx_async.models.rows import BalanceEntry
from htx_async.models.valuation import AssetValuation
from htx_async.options import NO_RETRY, RetryPolicy
from htx_async.ratelimit.limiter import UNLIMITED, RateLimiter
from htx_async.ratelimit.queue import RateLimitStatus
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.resources.accounts import Accounts
from htx_async.resources.points import PointBalance, PointGroup, Points
from htx_async.resources.raw import RawResponse
from htx_async.transports.adapter import AiohttpTransport

if TYPE_CHECKING:
    from htx_async.ratelimit.redis.limiter import RedisRateLimiter, Share

__all__ = [
    "NO_RETRY",
    "UNLIMITED",
    "APIError",
    "AccessKeyError",
    "Account",
    "AccountBalance",
    "AccountNotFoundError",
    "AccountSnapshot",
    "AccountState",
    "AccountType",
    "Accounts",
    "AiohttpTransport",
    "AssetValuation",
    "AuthenticationError",
    "BalanceChange",
    "BalanceEntry",
    "BalanceType",
    "ClientClosedError",
    "Clock",
    "ClockError",
    "ConnectError",
    "Credentials",
    "CurrencyBalance",
    "DeadlineExceededError",
    "DecodeError",
    "Event",
    "EventLoopError",
    "HTXClient",
    "HTXError",
    "IPAddressError",
    "InvalidInputError",
    "KeyExpiredError",
    "Model",
    "NoResponseError",
    "PermissionDeniedError",
    "PointAccountStatus",
    "PointBalance",
    "PointGroup",
    "Points",
    "RateLimit",
    "RateLimitQueueError",
    "RateLimitStatus",
    "RateLimitedError",
    "RateLimiter",
    "RawResponse",
    "RedisRateLimiter",
    "RetryPolicy",
    "ServiceUnavailableError",
    "Share",
    "SignatureError",
    "Snapshot",
    "TransportError",
]


def __getattr__(name: str) -> object:
    """Import the shared rate limiter when it is first used: it takes a fifth of the import."""
    if name in {"RedisRateLimiter", "Share"}:
        from htx_async.ratelimit.redis import limiter  # noqa: PLC0415 - see above

        return globals().setdefault(name, getattr(limiter, name))
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
