"""Asyncio SDK for the HTX (Huobi) exchange: accounts, balances and points, read exactly."""

from __future__ import annotations

from htx_async.auth.credentials import Credentials
from htx_async.client import HTXClient
from htx_async.clock import Clock
from htx_async.errors import (
    AccessKeyError,
    AccountNotFoundError,
    AuthenticationError,
    BudgetError,
    ClientClosedError,
    ClockError,
    DeadlineExceededError,
    DecodeError,
    HTXError,
    InvalidInputError,
    IPAddressError,
    KeyExpiredError,
    NoAnswerError,
    NotSentError,
    PermissionDeniedError,
    RateLimitedError,
    RefusedError,
    SignatureError,
    UnavailableError,
)
from htx_async.events import Event
from htx_async.models.balance import (
    Account,
    AccountBalance,
    AccountPicture,
    CurrencyBalance,
    Snapshot,
)
from htx_async.models.balance_diff import Change
from htx_async.models.base import Model
from htx_async.models.enums import AccountState, AccountType, BalanceType, PointAccountStatus
from htx_async.models.rows import BalanceEntry
from htx_async.models.valuation import AssetValuation
from htx_async.ratelimit.limiter import UNLIMITED, Budget
from htx_async.ratelimit.queue import LimitStatus
from htx_async.ratelimit.redis.limiter import RedisBudget, Share
from htx_async.request import RateLimit
from htx_async.resources.accounts import Accounts
from htx_async.resources.points import PointBalance, PointGroup, Points
from htx_async.resources.raw import Answer
from htx_async.retry import NO_RETRY, RetryPolicy
from htx_async.transports.adapter import AiohttpTransport

__all__ = [
    "NO_RETRY",
    "UNLIMITED",
    "AccessKeyError",
    "Account",
    "AccountBalance",
    "AccountNotFoundError",
    "AccountPicture",
    "AccountState",
    "AccountType",
    "Accounts",
    "AiohttpTransport",
    "Answer",
    "AssetValuation",
    "AuthenticationError",
    "BalanceEntry",
    "BalanceType",
    "Budget",
    "BudgetError",
    "Change",
    "ClientClosedError",
    "Clock",
    "ClockError",
    "Credentials",
    "CurrencyBalance",
    "DeadlineExceededError",
    "DecodeError",
    "Event",
    "HTXClient",
    "HTXError",
    "IPAddressError",
    "InvalidInputError",
    "KeyExpiredError",
    "LimitStatus",
    "Model",
    "NoAnswerError",
    "NotSentError",
    "PermissionDeniedError",
    "PointAccountStatus",
    "PointBalance",
    "PointGroup",
    "Points",
    "RateLimit",
    "RateLimitedError",
    "RedisBudget",
    "RefusedError",
    "RetryPolicy",
    "Share",
    "SignatureError",
    "Snapshot",
    "UnavailableError",
]
