"""Redis or Valkey as the server of the buckets; the only module that uses redis-py."""

from __future__ import annotations

import asyncio
import logging
import re
from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from htx_async.ratelimit.redis.exchange import (
    BucketKeys,
    Reply,
    Request,
    Unavailable,
    decode,
    encode,
)

_PACKAGE = "htx_async.ratelimit.redis"
SCRIPT: Final = resources.files(_PACKAGE).joinpath("exchange.lua").read_text("utf-8")
CONNECT_TIMEOUT: Final = 5.0
"""Seconds for connecting, which `command_timeout` does not include."""
MAX_CONNECTIONS: Final = 10
"""Connections of one event loop, which its users and endpoints share."""

_INVALID_URL = (
    "url must be the URL of a Redis server as redis-py accepts it, for example "
    "redis://localhost:6379/0, rediss:// for TLS or unix:// for a socket. "
    "Percent-encode special characters of the password."
)
_log = logging.getLogger("htx_async")


@attrs.frozen
class Address:
    """Address of a server and its credentials. *display* contains no secret."""

    display: str
    _url: str = attrs.field(repr=False)
    _command_timeout: float

    @classmethod
    def of(cls, url: object, command_timeout: float) -> Address | str:
        """Return the address that *url* names, or an error message that shows no part of it."""
        if not isinstance(url, str) or _has_stray_at(url):
            return _INVALID_URL
        try:
            pool = cls("", url, command_timeout).pool()
            pool.make_connection()  # raises for unknown options
        except Exception:  # noqa: BLE001 - the message of any error may show a part of the password
            return _INVALID_URL
        options = pool.connection_kwargs
        host = f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        return cls(options.get("path") or host, url, command_timeout)

    def pool(self) -> Any:
        """Return a new pool of connections, none of which is open."""
        pools: Any = ConnectionPool
        pool = pools.from_url(
            self._url,
            protocol=2,
            # The server may have closed an idle connection. Repeating a request does no harm.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            retry_on_error=[RedisConnectionError],
            socket_timeout=self._command_timeout,
            socket_connect_timeout=CONNECT_TIMEOUT,
        )
        pool.connection_kwargs["decode_responses"] = False
        return pool

    def server(self, policy: str) -> RedisServer:
        """Return the server; *policy* describes what calls do while it is unavailable."""
        return RedisServer(self.display, policy, self.pool())

    def __reduce__(self) -> Any:
        msg = "the address of a Redis server cannot be pickled: it may contain a password"
        raise TypeError(msg)


def _has_stray_at(url: str) -> bool:
    """Return whether a `/`, `?` or `#` in the password ends the host too early."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    return "@" in parts.path + parts.query + parts.fragment


class _ClusterError(Exception):
    """The server belongs to a Redis Cluster."""


class RedisServer:
    """
    The server of the buckets, for one event loop.

    Args:
        display: Its address, for messages.
        policy: What calls do while it is unavailable.
        pool: Connections to it.
    """

    def __init__(self, display: str, policy: str, pool: Any) -> None:
        self._display, self._policy, self._pool = display, policy, pool
        self._client: Any = Redis(connection_pool=pool)
        self._script = self._client.register_script(SCRIPT)
        # Costs less than a pool that waits for a free connection.
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        self._is_checked = False
        self._outage: Unavailable | None = None
        self._failures = 0

    async def exchange(self, keys: BucketKeys, request: Request) -> Reply | Unavailable:
        """Run the script; raise nothing but cancellation."""
        failures = self._failures
        async with self._connections:
            if self._outage is not None and self._failures > failures:
                return self._outage  # it hangs, as others that did not wait have found
            return await self._exchange(keys, request)

    async def _exchange(self, keys: BucketKeys, request: Request) -> Reply | Unavailable:
        try:
            if not self._is_checked:
                await self._check()
            reply = await self._script(keys=[keys.bucket, keys.record], args=[encode(request)])
            outcome: Reply | Unavailable = decode(reply)
        except Exception as error:  # noqa: BLE001 - any error of redis-py is translated
            outcome = _translate(error, self._display)
        if isinstance(outcome, Unavailable):
            self._failures += 1
            # A name may lead to another server next time.
            await self._pool.disconnect(inuse_connections=False)
        self._log(outcome)
        return outcome

    async def _check(self) -> None:
        """Reject a cluster, and warn once if Redis may discard the buckets."""
        info = await self._client.info()
        if info.get("cluster_enabled"):
            raise _ClusterError
        self._is_checked = True
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory") and policy != "noeviction":
            _log.warning(
                "Redis at %s may evict rate limits, because its maxmemory-policy is %s: then no "
                "call is sent for some seconds. Use noeviction",
                self._display,
                policy,
            )

    def _log(self, outcome: Reply | Unavailable) -> None:
        """Log the start and the end of an outage, not every call."""
        if isinstance(outcome, Unavailable):
            if self._outage is None or self._outage.reason != outcome.reason:
                _log.info("%s; until it recovers, %s", outcome.reason, self._policy)
            self._outage = outcome
        elif self._outage is not None:
            _log.info("Redis at %s is available again", self._display)
            self._outage = None

    async def aclose(self) -> None:
        """Close the connections. A later exchange opens new ones."""
        await self._pool.disconnect()


@attrs.frozen
class _ErrorPattern:
    """Names or texts of errors, their meaning, and whether the server may recover by itself."""

    pattern: re.Pattern[str]
    meaning: str
    retryable: bool


_AUTH_ERRORS: Final = (
    "AuthenticationError|NOAUTH|WRONGPASS|(?i:invalid username|authentication req)"
)
_ERROR_PATTERNS: Final = tuple(
    _ErrorPattern(re.compile(pattern), meaning, retryable)
    for pattern, meaning, retryable in (
        ("_ClusterError|MOVED|ASK ", "is a Redis Cluster, which is not supported", False),
        (_AUTH_ERRORS, "does not accept the user or password in its URL", False),
        ("ReadOnly|READONLY", "is a read-only replica: use the URL of the primary", True),
        ("BusyLoading|LOADING", "is loading its data", True),
        ("TRYAGAIN|TryAgain|CLUSTERDOWN|ClusterDown|MASTERDOWN|MasterDown", "is not ready", True),
        ("NoPermission|NOPERM", "denies its user a command that RedisRateLimiter needs", False),
        ("Invalid Database|DB index", "has no database with that number", False),
        ("SSL|CERTIFICATE", "does not support TLS, or its certificate is not trusted", False),
        ("InvalidResponse|MsgspecError", "does not respond like a Redis server", False),
        ("TimeoutError", "did not respond in time", True),
        ("ConnectionError|OSError", "could not be reached", True),
        ("", "could not run the command", True),
    )
)
"""The first match counts."""


def _translate(error: Exception, address: str) -> Unavailable:
    """Return the meaning of *error* without its text, which may show what was sent."""
    context = error.__context__ or error  # older versions of redis-py do not state the cause
    kinds = (*type(error).__mro__, *type(context).__mro__)
    names = " ".join(kind.__name__ for kind in kinds)
    match = next(entry for entry in _ERROR_PATTERNS if entry.pattern.search(f"{names} {error}"))
    # The class name is more precise where the meaning is vague, and contains no secret.
    name = f" ({type(error).__name__})" if match.retryable else ""
    return Unavailable(f"Redis at {address} {match.meaning}{name}", match.retryable)
