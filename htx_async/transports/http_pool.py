"""Keep-alive pool of the connections to one origin."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Self

import msgspec

from htx_async.clock import Clock
from htx_async.ratelimit.queue import Token, TokenQueue
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import UnlimitedBucket
from htx_async.transports.base import CONNECT_TIMEOUT, MAX_IDLE
from htx_async.transports.connect import connect, describe
from htx_async.transports.environment import Environment, Proxy, read_environment
from htx_async.transports.http_connection import READ_BUFFER_SIZE, HTTPConnection
from htx_async.transports.http_errors import ExchangeError
from htx_async.transports.http_parser import ResponseParser
from htx_async.transports.http_response import HTTPResponse
from htx_async.validation import Origin


class Timeouts(msgspec.Struct, frozen=True):
    """
    Limits in seconds of one exchange.

    Attributes:
        first_byte: Until the first byte of a response on a reused connection.
        pool: For waiting while `max_connections` are in use.
        connect: For connecting.
        read: Longest time without a byte.
    """

    first_byte: float = math.inf
    pool: float = math.inf
    connect: float = CONNECT_TIMEOUT
    read: float = math.inf


class ConnectionPool:
    """
    Connections to *origin*; the one that was used last is reused first.

    It belongs to the event loop of its first exchange. Every exchange needs one of its `slots`, so
    that at most *max_connections* run at a time: a client acquires it together with its token,
    other callers by `slot`. Pools of the same event loop may share a *read_buffer*.

    Attributes:
        slots: Slots of all callers.
    """

    def __init__(
        self,
        origin: Origin,
        clock: Clock,
        *,
        max_connections: int,
        max_body: int,
        read_buffer: memoryview | None = None,
    ) -> None:
        self.origin = origin
        self.slots: ConnectionSlots = ConnectionSlots(max_connections)
        self._clock = clock
        self._max_body = max_body
        self._callers_without_token = TokenQueue(UnlimitedBucket(), clock)
        self._connections: set[HTTPConnection] = set()
        self._connecting: set[asyncio.Timeout] = set()
        self._idle: list[HTTPConnection] = []
        self._read_buffer = read_buffer or memoryview(bytearray(READ_BUFFER_SIZE))
        self._environment: Environment | None = None
        self._environment_lock = asyncio.Lock()
        self._forward_proxy: Proxy | None = None
        self._exchanges = 0
        self._has_no_exchange = asyncio.Event()
        self._has_no_exchange.set()
        self._is_closed = False

    @property
    def is_unused(self) -> bool:
        """Whether it has neither callers nor connections."""
        return not self.slots.in_use and not self._connections

    @property
    def open_connections(self) -> int:
        """The number of open connections, in use or idle."""
        return len(self._connections)

    async def prepare(self) -> Environment:
        """
        Read the certificate and proxy settings, once; `exchange` does so if needed.

        Raises:
            InvalidInputError: A variable is wrong.
        """
        async with self._environment_lock:
            self._environment = self._environment or await self._read_environment()
        return self._environment

    def slot(self, seconds: float) -> Token:
        """
        Return a slot for exchanges that need no token, to acquire by `async with`.

        Args:
            seconds: For waiting; callers are served in order of arrival.

        Raises:
            ExchangeError: No slot was free in time, or the pool is closed.
        """
        self._ensure_open()
        return _Slot(self._callers_without_token, self, seconds, self._clock)

    async def exchange(
        self,
        method: str,
        target: bytes,
        headers: bytes,
        content: bytes = b"",
        *,
        deadline: float = math.inf,
        timeouts: Timeouts,
        max_body: int | None = None,
        fresh: bool = False,
    ) -> HTTPResponse:
        """
        Send a request and return the response. The caller occupies a slot.

        Args:
            method: GET, for example.
            target: Path and query as they are sent.
            headers: Header lines, `Host` included, each with its line end.
            content: The body.
            deadline: When the response must be complete, in monotonic seconds. Nothing is sent
                after it.
            timeouts: Its limits.
            max_body: Largest body of the response in bytes, if less than that of the pool.
            fresh: Whether to open a new connection, even if there is an idle one.

        Raises:
            ExchangeError: There is no complete response.
            InvalidInputError: A variable is wrong. Nothing was sent.
        """
        started_at = self._clock.monotonic()
        max_body = self._max_body if max_body is None else min(max_body, self._max_body)
        parser = ResponseParser(max_body=max_body, has_no_body=method == "HEAD")
        connection: HTTPConnection | None = None
        self._exchanges += 1
        self._has_no_exchange.clear()
        try:
            connection = None if fresh else self._take_idle(started_at)
            connection = connection or await self._connect(deadline, timeouts)
            if self._forward_proxy is not None:
                target = describe(self.origin).encode() + target
                headers += self._forward_proxy.header.encode()
            await connection.exchange(
                b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method.encode(), target, headers, content),
                parser,
                deadline=deadline,
                first_byte_timeout=timeouts.first_byte if connection.is_reused else math.inf,
                read_timeout=timeouts.read,
            )
            return parser.response(connection.close)
        except ExchangeError:
            if connection is not None and connection.is_reused:
                self._close_idle(before=started_at)  # they may be as dead
            raise
        finally:
            del target, headers, content  # signed; a traceback shows the locals of its frames
            if connection is not None:
                self._release(connection, parser)
            self._exchanges -= 1
            if not self._exchanges:
                self._has_no_exchange.set()

    async def aclose(self) -> None:
        """Close all connections, and wait until they are closed; exchanges that still run fail."""
        self.close()
        await self._has_no_exchange.wait()
        if closing := [connection.closed for connection in self._connections]:
            await asyncio.wait(closing)

    def close(self) -> None:
        """Begin to close all connections. Every exchange fails, also one that starts later."""
        self._is_closed = True
        now = asyncio.get_running_loop().time()
        for timeout in self._connecting:
            with contextlib.suppress(RuntimeError):  # it has expired by itself
                timeout.reschedule(now)
        self._close_idle()
        for connection in tuple(self._connections):
            connection.abort()

    async def _read_environment(self) -> Environment:
        is_plain = self.origin.scheme == "http"
        if is_plain and self.origin.is_loopback:
            return Environment(None, None)
        # In a thread: reading certificates is slow, as are some proxy settings.
        environment = await asyncio.to_thread(read_environment, self.origin)
        self._forward_proxy = environment.proxy if is_plain else None
        return environment

    async def _connect(self, deadline: float, timeouts: Timeouts) -> HTTPConnection:
        environment = self._environment or await self.prepare()
        self._ensure_open()
        if self._idle and len(self._connections) + len(self._connecting) >= self.slots.limit:
            self._idle.pop(0).close()
        connection = HTTPConnection(self._clock, self._connections, self._read_buffer)
        left = deadline - self._clock.monotonic()
        timeout = self._clock.timeout(_finite(min(timeouts.connect, left)))
        self._connecting.add(timeout)
        try:
            await connect(connection, self.origin, environment, self._clock, timeout)
        except ExchangeError:
            if not self._is_closed:
                raise
        finally:
            self._connecting.discard(timeout)
        if self._is_closed:
            connection.abort()
        self._ensure_open()
        return connection

    def _ensure_open(self) -> None:
        if self._is_closed:
            text = "the transport is closed"
            raise ExchangeError(text, "ConnectError", retryable=False)

    def _take_idle(self, now: float) -> HTTPConnection | None:
        while self._idle:
            connection = self._idle.pop()
            is_fresh = now - connection.idle_since < MAX_IDLE
            if connection.is_open and is_fresh and not connection.has_unread_bytes():
                return connection
            connection.close()
        return None

    def _release(self, connection: HTTPConnection, parser: ResponseParser) -> None:
        if self._is_closed or not parser.allows_reuse:
            connection.close()
        elif connection.is_open:
            connection.become_idle(MAX_IDLE)
            self._idle.append(connection)

    def _close_idle(self, before: float = math.inf) -> None:
        """Close idle connections: those not used since *before*, when a similar one was dead."""
        for connection in [idle for idle in self._idle if idle.idle_since <= before]:
            self._idle.remove(connection)
            connection.close()


def _finite(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds


class _Slot(Token):
    """A slot of a pool, whose token belongs to no rate limit."""

    __slots__ = ("_clock", "_pool", "_seconds")

    def __init__(
        self, queue: TokenQueue, pool: ConnectionPool, seconds: float, clock: Clock
    ) -> None:
        super().__init__(queue, pool.slots, attempt_timeout=math.inf, on_wait=None)
        self._pool, self._seconds, self._clock = pool, seconds, clock

    async def __aenter__(self) -> Self:
        if self.slots.free:  # it takes no time
            return await super().__aenter__()
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(_finite(self._seconds)):
                return await super().__aenter__()
        text = f"all {self.slots.limit} connections to {self._pool.origin} are in use"
        raise ExchangeError(text, "PoolTimeout")
