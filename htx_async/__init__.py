"""Asyncio SDK for the HTX (Huobi) exchange: accounts, balances and points, exact and live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from htx_async import log
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
    CredentialsError,
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
from htx_async.models import (
    account,
    balance,
    balance_diff,
    deduction,
    enums,
    movements,
    points,
    position,
    snapshot,
    users,
    valuation,
)
from htx_async.models.account import *
from htx_async.models.balance import *
from htx_async.models.balance_diff import *
from htx_async.models.base import Model
from htx_async.models.deduction import *
from htx_async.models.enums import *
from htx_async.models.movements import *
from htx_async.models.points import *
from htx_async.models.position import *
from htx_async.models.snapshot import *
from htx_async.models.users import *
from htx_async.models.valuation import *
from htx_async.options import NO_RETRY, RetryPolicy
from htx_async.ratelimit.limiter import UNLIMITED, RateLimiter
from htx_async.ratelimit.queue import RateLimitStatus
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.resources.accounts import Accounts
from htx_async.resources.paging import RecordIterator
from htx_async.resources.points import Points
from htx_async.resources.raw import RawResponse
from htx_async.resources.users import Users

if TYPE_CHECKING:
    from htx_async.ratelimit.redis.limiter import RedisRateLimiter
    from htx_async.stream.events import StreamEvent
    from htx_async.stream.live import LiveAccount, LiveBalances
    from htx_async.transports.http_transport import HTTPTransport

__all__ = [
    "NO_RETRY",
    "UNLIMITED",
    "APIError",
    "AccessKeyError",
    "AccountNotFoundError",
    "Accounts",
    "AuthenticationError",
    "ClientClosedError",
    "Clock",
    "ClockError",
    "ConnectError",
    "Credentials",
    "CredentialsError",
    "DeadlineExceededError",
    "DecodeError",
    "Event",
    "EventLoopError",
    "HTTPTransport",
    "HTXClient",
    "HTXError",
    "IPAddressError",
    "InvalidInputError",
    "KeyExpiredError",
    "LiveAccount",
    "LiveBalances",
    "Model",
    "NoResponseError",
    "PermissionDeniedError",
    "Points",
    "RateLimit",
    "RateLimitQueueError",
    "RateLimitStatus",
    "RateLimitedError",
    "RateLimiter",
    "RawResponse",
    "RecordIterator",
    "RedisRateLimiter",
    "RetryPolicy",
    "ServiceUnavailableError",
    "SignatureError",
    "StreamEvent",
    "TransportError",
    "Users",
]
__all__ += account.__all__
__all__ += balance.__all__
__all__ += balance_diff.__all__
__all__ += deduction.__all__
__all__ += enums.__all__
__all__ += movements.__all__
__all__ += points.__all__
__all__ += position.__all__
__all__ += snapshot.__all__
__all__ += users.__all__
__all__ += valuation.__all__

log.read_environment()


def __getattr__(name: str) -> object:
    # Imported when they are used: few programs need them, and they take long to import.
    if name == "RedisRateLimiter":
        from htx_async.ratelimit.redis import limiter  # noqa: PLC0415 - see above

        return limiter.RedisRateLimiter
    if name in {"LiveAccount", "LiveBalances", "StreamEvent"}:
        from htx_async.stream import live  # noqa: PLC0415 - see above

        return getattr(live, name)
    if name == "HTTPTransport":
        from htx_async.transports.http_transport import HTTPTransport  # noqa: PLC0415 - see above

        return HTTPTransport
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
