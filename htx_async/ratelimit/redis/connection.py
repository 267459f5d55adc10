"""Redis or Valkey as the lease server; the only module that uses redis-py."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import attrs

from htx_async.ratelimit.redis.protocol import SCRIPT, LeaseReply, LeaseRequest, Unavailable

if TYPE_CHECKING:
    from redis.asyncio import Connection

T = TypeVar("T")

SOCKET_TIMEOUT: Final = 1.0
"""Seconds for one step, such as connecting; `socket_timeout` in the URL takes precedence."""
COMMAND_TIMEOUT: Final = 2.0
"""Seconds for one exchange: a server that does not respond must not block calls."""
LISTEN_TIMEOUT: Final = 30
"""Seconds after which waiting for a notification starts again."""
MIN_VERSION: Final = (6, 2)
"""The oldest version that the tests run with."""

_NOT_INSTALLED = 'RedisRateLimiter needs the package redis: pip install "htx-async[redis]"'
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
    _factory: Callable[[], Connection] = attrs.field(repr=False)

    def connection(self) -> Connection:
        """Return a new connection that is not open yet."""
        return self._factory()

    def __reduce__(self) -> Any:
        msg = "the address of a Redis server cannot be pickled: it may contain a password"
        raise TypeError(msg)


def address_of(url: object) -> Address | str:
    """Return the address that *url* names, or an error message that shows no part of it."""
    try:
        from redis.asyncio import ConnectionPool, retry  # noqa: PLC0415 - an extra
        from redis.backoff import NoBackoff  # noqa: PLC0415 - an extra
    except ImportError:
        return _NOT_INSTALLED
    if not isinstance(url, str) or _has_stray_at(url):
        return _INVALID_URL
    try:
        pools: Any = ConnectionPool
        pool = pools.from_url(
            url,
            protocol=2,
            retry=retry.Retry(NoBackoff(), 0),
            socket_timeout=SOCKET_TIMEOUT,
            socket_connect_timeout=SOCKET_TIMEOUT,
        )
        kind, options = pool.connection_class, pool.connection_kwargs
        kind(**options)  # raises for unknown options
    except Exception:  # noqa: BLE001 - the message of any error may show a part of the password
        return _INVALID_URL
    host, port = options.get("host", "localhost"), options.get("port", 6379)
    return Address(options.get("path") or f"{host}:{port}", lambda: kind(**options))


def _has_stray_at(url: str) -> bool:
    """Return whether a `/`, `?` or `#` in the password ends the host too early."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    return "@" in parts.path + parts.query + parts.fragment


@attrs.frozen
class _Identity:
    """Id of a server, and when it started, in microseconds of its own clock."""

    id: str
    started: int


class _VersionError(Exception):
    pass


class _Connection:
    """One connection and the identity of the server."""

    def __init__(self, address: Address) -> None:
        self._connection: Any = address.connection()
        self._identity = _Identity("", 0)
        self.script_hash = ""

    @property
    def is_open(self) -> bool:
        return bool(self._connection.is_connected)

    async def open(self) -> _Identity:
        """Connect if necessary: a restart or a failover of the server closes connections."""
        if not self.is_open:
            await _await_cancellable(self._connection.connect())
            self._identity = await self._identify()
            self.script_hash = str(await self.call("SCRIPT", "LOAD", SCRIPT), "ascii")
        return self._identity

    async def _identify(self) -> _Identity:
        text = str(await self.call("INFO", "server"), "utf-8", "replace")
        seconds, micros = map(int, await self.call("TIME"))
        info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        if tuple(map(int, re.findall(r"\d+", info["redis_version"])[:2])) < MIN_VERSION:
            raise _VersionError
        # A difference of whole seconds, so it may be one more than the real uptime.
        uptime = max(int(info["uptime_in_seconds"]) - 1, 0)
        return _Identity(info["run_id"], seconds * 1_000_000 + micros - uptime * 1_000_000)

    async def call(self, *command: Any, within: float | None = None) -> Any:
        """Send a command and return its reply."""
        await _await_cancellable(self._connection.send_command(*command))
        return await self._connection.read_response(disable_decoding=True, timeout=within)

    async def drop(self) -> None:
        """Close the connection at once, because a reply may still be under way."""
        await self._connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.disconnect()


class RedisServer:
    """
    The lease server, for one event loop. *outage_policy* says what calls do during an outage.

    Exchanges take turns on one connection; each listener has a connection of its own.
    """

    def __init__(self, address: Address, outage_policy: str) -> None:
        self._address, self._outage_policy = address, outage_policy
        self._connection = _Connection(address)
        self._lock = asyncio.Lock()
        self._idle_listeners: list[_Connection] = []
        self._is_unavailable = False

    async def exchange(self, request: LeaseRequest) -> LeaseReply | Unavailable:
        """Run the script."""
        async with self._lock:
            was_open = self._connection.is_open
            outcome = await self._attempt(self._connection, lambda: self._run(request))
            if isinstance(outcome, Unavailable) and was_open and outcome.retryable:
                # The server may only have closed an idle connection.
                outcome = await self._attempt(self._connection, lambda: self._run(request))
        self._log(outcome)
        return outcome

    async def _run(self, request: LeaseRequest) -> LeaseReply:
        identity = await self._connection.open()
        arguments = request.arguments(identity.id, identity.started)
        command = ("EVALSHA", self._connection.script_hash, len(request.keys), *request.keys)
        return LeaseReply.parse(await self._connection.call(*command, *arguments))

    async def wait_notification(self, key: str) -> bool:
        """Wait for a notification at *key*; return `False` if the server cannot send one."""
        listeners = self._idle_listeners
        listener = listeners.pop() if listeners else _Connection(self._address)

        async def listen() -> bool:
            await listener.open()
            # Without a timeout of redis-py, which would leave the reply in the connection.
            return await listener.call("BLPOP", key, LISTEN_TIMEOUT, within=math.inf) is not None

        outcome: bool | Unavailable = False
        while outcome is False:
            outcome = await self._attempt(listener, listen, LISTEN_TIMEOUT + COMMAND_TIMEOUT)
        if isinstance(outcome, Unavailable):
            return False
        self._idle_listeners.append(listener)
        return outcome

    async def _attempt(
        self,
        connection: _Connection,
        action: Callable[[], Awaitable[T]],
        seconds: float = COMMAND_TIMEOUT,
    ) -> T | Unavailable:
        """Return the result of *action*, or why it failed; no error of redis-py is raised."""
        try:
            async with asyncio.timeout(seconds):
                return await action()
        except Exception as error:  # noqa: BLE001 - any error of redis-py is translated
            outage = _translate(error, self._address.display)
        except BaseException:
            await connection.drop()
            raise
        await connection.drop()
        return outage

    def _log(self, outcome: LeaseReply | Unavailable) -> None:
        """Log the start and the end of an outage, not every call."""
        if isinstance(outcome, Unavailable) and not self._is_unavailable:
            _log.warning("%s; until it recovers, %s", outcome.reason, self._outage_policy)
        elif self._is_unavailable and not isinstance(outcome, Unavailable):
            _log.warning("Redis at %s is available again", self._address.display)
        self._is_unavailable = isinstance(outcome, Unavailable)

    async def aclose(self) -> None:
        """Close the connections. A later exchange opens new ones."""
        connections, self._idle_listeners = [self._connection, *self._idle_listeners], []
        for connection in connections:
            await connection.close()


async def _await_cancellable(step: Awaitable[object]) -> None:
    """Await *step* and raise a cancellation that redis-py loses on 3.11, in `wait_for`."""
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    await step
    if task.cancelling() > before:
        raise asyncio.CancelledError


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
        ("_VersionError", f"is too old: use {'.'.join(map(str, MIN_VERSION))} or later", False),
        (_AUTH_ERRORS, "does not accept the user or password in its URL", False),
        ("ReadOnly|READONLY", "is a read-only replica: use the URL of the primary", False),
        ("NoPermission|NOPERM", "denies its user a command that RedisRateLimiter needs", False),
        ("Invalid Database|DB index", "has no database with that number", False),
        ("SSL|CERTIFICATE", "does not support TLS, or its certificate is not trusted", False),
        ("InvalidResponse|KeyError", "does not respond like a Redis server", False),
        ("TimeoutError", "did not respond in time", True),
        ("ConnectionError|OSError", "could not be reached", True),
        ("", "could not run the command", True),
    )
)
"""The first match counts."""


def _translate(error: Exception, address: str) -> Unavailable:
    """Return the meaning of *error* without its text, which may show what was sent."""
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    match = next(entry for entry in _ERROR_PATTERNS if entry.pattern.search(f"{names} {error}"))
    # The class name says more where the meaning is vague, and contains no secret.
    name = f" ({type(error).__name__})" if match.retryable else ""
    return Unavailable(f"Redis at {address} {match.meaning}{name}", match.retryable)
