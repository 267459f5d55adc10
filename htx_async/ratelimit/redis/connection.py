"""Redis, or Valkey, as the server that lends tokens: the only place that knows redis-py."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import attrs

from htx_async.ratelimit.redis.protocol import RULE, Ask, Away, Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Connection

T = TypeVar("T")

TIMEOUT: Final = 1.0
"""Seconds for one step, such as connecting; `socket_timeout` in the URL goes before."""
PATIENCE: Final = 2.0
"""Seconds for a whole trade: a server that hangs must not make calls hang."""
RINGS_WITHIN: Final = 30
"""Seconds after which listening for the bell begins anew."""
LEAST: Final = (6, 2)
"""The oldest version that the tests run with."""

_EXTRA = 'RedisRateLimiter needs the package redis: pip install "htx-async[redis]"'
_NO_URL = (
    "url must be the URL of a Redis as redis-py reads it, for example redis://localhost:6379/0, "
    "rediss:// for TLS or unix:// for a socket, special characters of a password percent-encoded"
)
_log = logging.getLogger("htx_async")


@attrs.frozen
class Address:
    """Where the server is, and how to greet it: *shown* has no secrets, the others have."""

    shown: str
    _make: Callable[[], Connection] = attrs.field(repr=False)

    def connection(self) -> Connection:
        """Return a new connection, not connected yet."""
        return self._make()

    def __reduce__(self) -> Any:
        msg = "the address of a Redis is not pickled: it may hold a password"
        raise TypeError(msg)


def address_of(url: object) -> Address | str:
    """Return the address that *url* names, or what is wrong, without a part of it."""
    try:
        from redis.asyncio import ConnectionPool  # noqa: PLC0415 - an extra
        from redis.asyncio.retry import Retry  # noqa: PLC0415 - an extra
        from redis.backoff import NoBackoff  # noqa: PLC0415 - an extra
    except ImportError:
        return _EXTRA
    if not isinstance(url, str) or _has_stray_at(url):
        return _NO_URL
    try:
        pools: Any = ConnectionPool
        pool = pools.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
        )
        kind, options = pool.connection_class, pool.connection_kwargs
        kind(**options)  # options that it does not know show only now
    except Exception:  # noqa: BLE001 - whatever it says may show a part of the password
        return _NO_URL
    shown = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return Address(shown, lambda: kind(**options))


def _has_stray_at(url: str) -> bool:
    """Tell whether a `/`, `?` or `#` of a password has ended the host too early."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    return "@" in parts.path + parts.query + parts.fragment


@attrs.frozen
class _Identity:
    """Which server it is, and when it started, in microseconds of its own clock."""

    id: str
    started: int


class _TooOldError(Exception):
    pass


class _Line:
    """One connection, and who is at its other end."""

    def __init__(self, address: Address) -> None:
        self._connection: Any = address.connection()
        self._identity = _Identity("", 0)
        self.rule = ""

    @property
    def is_open(self) -> bool:
        return bool(self._connection.is_connected)

    async def open(self) -> _Identity:
        """Connect if need be: whenever a server starts, or another takes over, connections end."""
        if not self.is_open:
            await _heeded(self._connection.connect())
            self._identity = await self._met()
            self.rule = str(await self.call("SCRIPT", "LOAD", RULE), "ascii")
        return self._identity

    async def _met(self) -> _Identity:
        info = str(await self.call("INFO", "server"), "utf-8", "replace")
        seconds, micros = map(int, await self.call("TIME"))
        said = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        if tuple(map(int, re.findall(r"\d+", said["redis_version"])[:2])) < LEAST:
            raise _TooOldError
        # A difference of whole seconds: it may say one more than have passed.
        up = max(int(said["uptime_in_seconds"]) - 1, 0)
        return _Identity(said["run_id"], seconds * 1_000_000 + micros - up * 1_000_000)

    async def call(self, *command: Any, within: float | None = None) -> Any:
        """Send a command and return its answer."""
        await _heeded(self._connection.send_command(*command))
        return await self._connection.read_response(disable_decoding=True, timeout=within)

    async def drop(self) -> None:
        """Cut it off: an answer may still be on its way."""
        await self._connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close it."""
        await self._connection.disconnect()


class RedisServer:
    """
    The server, for one event loop. *then* says what calls do while it is away.

    Trades take turns on one connection; who listens for a bell has one of its own.
    """

    def __init__(self, address: Address, then: str) -> None:
        self._address, self._then = address, then
        self._line = _Line(address)
        self._turn = asyncio.Lock()
        self._free_bells: list[_Line] = []
        self._is_away = False

    async def trade(self, ask: Ask) -> Reply | Away:
        """Run the rule."""
        async with self._turn:
            was_open = self._line.is_open
            outcome = await self._attempt(self._line, lambda: self._run(ask))
            if isinstance(outcome, Away) and was_open and outcome.passes:
                # It may only have closed a connection that was idle for long.
                outcome = await self._attempt(self._line, lambda: self._run(ask))
        self._log(outcome)
        return outcome

    async def _run(self, ask: Ask) -> Reply:
        identity = await self._line.open()
        arguments = ask.arguments(identity.id, identity.started)
        command = ("EVALSHA", self._line.rule, len(ask.keys), *ask.keys, *arguments)
        return Reply.of(await self._line.call(*command))

    async def bell(self, key: str) -> bool:
        """Return once the server rings at *key*, or cannot; tell if it rang."""
        line = self._free_bells.pop() if self._free_bells else _Line(self._address)

        async def listen() -> bool:
            await line.open()
            # No timeout of redis-py: it would leave the answer in the line.
            return await line.call("BLPOP", key, RINGS_WITHIN, within=math.inf) is not None

        outcome: bool | Away = False
        while outcome is False:
            outcome = await self._attempt(line, listen, RINGS_WITHIN + PATIENCE)
        if isinstance(outcome, Away):
            return False
        self._free_bells.append(line)
        return outcome

    async def _attempt(
        self, line: _Line, do: Callable[[], Awaitable[T]], patience: float = PATIENCE
    ) -> T | Away:
        """Return what *do* returns, or why it failed: no error of redis-py goes further."""
        try:
            async with asyncio.timeout(patience):
                return await do()
        except Exception as error:  # noqa: BLE001 - whatever redis-py raises is told
            away = _told(error, self._address.shown)
        except BaseException:
            await line.drop()
            raise
        await line.drop()
        return away

    def _log(self, outcome: Reply | Away) -> None:
        """Log the beginning and the end of an outage, not each call."""
        if isinstance(outcome, Away) and not self._is_away:
            _log.warning("%s; until it is mended %s", outcome.why, self._then)
        elif self._is_away and not isinstance(outcome, Away):
            _log.warning("Redis at %s is back", self._address.shown)
        self._is_away = isinstance(outcome, Away)

    async def aclose(self) -> None:
        """Close the connections. Whoever asks again opens new ones."""
        lines, self._free_bells = [self._line, *self._free_bells], []
        for line in lines:
            await line.close()


async def _heeded(step: Awaitable[object]) -> None:
    """Await *step*, and end if it was cancelled: redis-py loses that on 3.11, by `wait_for`."""
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    await step
    if task.cancelling() > before:
        raise asyncio.CancelledError


@attrs.frozen
class _Cause:
    """What a failure is known by: the name of a class, or a word; what it means; may it pass."""

    known_by: re.Pattern[str]
    meaning: str
    passes: bool


_NO_ENTRY: Final = "AuthenticationError|NOAUTH|WRONGPASS|(?i:invalid username|authentication req)"
_CAUSES: Final = tuple(
    _Cause(re.compile(known_by), meaning, passes)
    for known_by, meaning, passes in (
        ("_TooOldError", f"is too old: {'.'.join(map(str, LEAST))} or later is needed", False),
        (_NO_ENTRY, "does not accept the user or password of its URL", False),
        ("ReadOnly|READONLY", "is a read-only replica: the URL must name the primary", False),
        ("NoPermission|NOPERM", "does not let its user do what a budget needs", False),
        ("Invalid Database|DB index", "has no database of that number", False),
        ("SSL|CERTIFICATE", "does not speak TLS, or nobody vouches for it", False),
        ("InvalidResponse|KeyError", "does not answer as a Redis does", False),
        ("TimeoutError", "does not answer in time", True),
        ("ConnectionError|OSError", "cannot be reached", True),
        ("", "cannot do it now", True),
    )
)
"""The first that fits counts."""


def _told(error: Exception, where: str) -> Away:
    """Return what *error* means, without its text, which may show what was sent."""
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    cause = next(each for each in _CAUSES if each.known_by.search(f"{names} {error}"))
    # The class tells more where nothing else does, and holds no secret.
    name = f" ({type(error).__name__})" if cause.passes else ""
    return Away(f"Redis at {where} {cause.meaning}{name}", cause.passes)
