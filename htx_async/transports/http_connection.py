"""One HTTP/1.1 connection: sends a request, waits for its response, and knows when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import os
import select
import socket
import ssl
import struct
from collections.abc import Callable
from typing import cast

from htx_async.clock import Clock
from htx_async.transports.http_errors import ExchangeError, too_late
from htx_async.transports.http_parser import ResponseParser

READ_BUFFER_SIZE = 256 * 1024
"""Bytes that are read at once; what asyncio would allocate for each read otherwise."""

_RESET_ON_CLOSE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # SO_LINGER: on, 0 s


class HTTPConnection(asyncio.BufferedProtocol):
    """
    A connection that carries one request at a time.

    A connection that received anything but the response to its request is closed, never reused:
    the rest could be taken for the response to the next request.

    Args:
        registry: The open connections of a pool; contains this one as long as its socket is open.
        read_buffer: May be shared by all connections of an event loop: each read is parsed before
            the next one begins (asyncio's proactor loop copies into it).
    """

    transport: asyncio.Transport

    def __init__(
        self, clock: Clock, registry: set[HTTPConnection], read_buffer: memoryview
    ) -> None:
        self._clock = clock
        self._registry = registry
        self._read_buffer = read_buffer
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._is_attached = False
        self._parser: ResponseParser | None = None
        self._response: asyncio.Future[None] | None = None
        self._deadline = self._expires_at = math.inf
        self._read_timeout = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self.is_open: bool = True
        self.is_reused: bool = False
        self.received_unrequested: bool = False
        self.idle_since: float = 0.0
        self.closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def was_attached(self) -> bool:
        """Whether it had a socket."""
        return self._socket is not None

    async def attach(self, sock: socket.socket) -> None:
        """Carry the exchanges on *sock*, which is connected."""
        self._socket = sock
        self._read_events = _read_events(sock)
        opening = self._loop.create_task(self._loop.create_connection(lambda: self, sock=sock))
        try:
            # It takes no I/O. If it was cancelled, or its transport aborted too early, uvloop and
            # *sock* would both close the file descriptor: the second time another connection's.
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._abort_opened)
            raise
        self._is_attached = True

    def _abort_opened(self, opening: asyncio.Task[object]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self.transport.abort()

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Encrypt the connection; *host* must be in the certificate."""
        if not self.is_open or self.transport.is_closing():
            raise ConnectionResetError
        transport = await self._loop.start_tls(self.transport, self, context, server_hostname=host)
        if transport is None or not self.is_open:  # asyncio hides a loss in the handshake
            raise ConnectionResetError
        self.transport = transport

    async def exchange(
        self,
        request: bytes,
        parser: ResponseParser,
        *,
        deadline: float = math.inf,
        first_byte_timeout: float = math.inf,
        read_timeout: float = math.inf,
    ) -> None:
        """
        Send *request*, and let *parser* read the response.

        Args:
            request: Its bytes.
            parser: A new parser.
            deadline: When the response must be complete, in monotonic seconds. Nothing is sent
                after it.
            first_byte_timeout: Longest time in seconds until its first byte.
            read_timeout: Longest time in seconds without a byte.

        Raises:
            ExchangeError: There is no complete response. The connection is closed.
        """
        problem = self._problem_before_request()
        now = self._clock.monotonic()
        if problem is not None or now >= deadline:
            self.abort()
            del request  # it is signed
            raise too_late() if problem is None else ExchangeError(problem, "ConnectError")
        self._parser, self._deadline, self._read_timeout = parser, deadline, read_timeout
        self._response = self._loop.create_future()
        self._expire_at(min(deadline, now + first_byte_timeout, now + read_timeout))
        try:
            self.transport.write(request)
            del request
            await self._response
            if self.transport.get_write_buffer_size() or parser.failure is not None:
                self.abort()  # the response may have arrived before all of the request was sent
        except BaseException:
            self.abort()
            raise
        finally:
            self._parser = self._response = None
            parser.close()
        if parser.failure is not None:
            raise ExchangeError(*parser.failure)

    def _problem_before_request(self) -> str | None:
        """Return why no request can be sent."""
        if self.received_unrequested or (self.is_open and self._has_early_bytes()):
            return "the server sent data before the request"
        return None if self.is_open else "the connection was closed before the request was sent"

    def _has_early_bytes(self) -> bool:
        """Return whether bytes have arrived on a new connection."""
        if self.is_reused:  # the pool has looked for them
            return False
        # Over TLS, they may be those of a session ticket.
        is_tls = self.transport.get_extra_info("ssl_object") is not None
        return not is_tls and self.has_unread_bytes()

    def become_idle(self, seconds: float) -> None:
        """Wait for the next exchange, at most *seconds*."""
        self.is_reused = True
        self.idle_since = self._clock.monotonic()
        self._expire_at(self.idle_since + seconds)

    def has_unread_bytes(self) -> bool:
        """Return whether bytes, or the end of the stream, have arrived but were not read yet."""
        return bool(self._read_events())

    def close(self) -> None:
        """Close the connection; over TLS, without waiting for the other side."""
        self.is_open = False
        if not self.closed.done():
            self.transport.close()
            self.transport.abort()

    def abort(self) -> None:
        """Reset the connection, so that a request which was given up does not arrive later."""
        self.is_open = False
        if self._socket is not None and not self.closed.done():
            with contextlib.suppress(OSError):  # it is closed already
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()

    def discard(self) -> None:
        """Give up a connection that could not be established."""
        if self._is_attached:
            self.abort()
        # asyncio does not report the loss of a connection during the TLS handshake.
        self.connection_lost(None)

    # asyncio calls the following methods.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport, and let it write at once."""
        self._registry.add(self)
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        # uvloop would write a request when all callbacks of the iteration have run, however late.
        self.transport.set_write_buffer_limits(high=0)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next read."""
        del sizehint
        return self._read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what was read."""
        if self._parser is None:
            self.received_unrequested = True
            self.abort()
            return
        now = self._clock.monotonic()
        if self._parser.feed(self._read_buffer[:nbytes], now):
            self._finish()
        self._expires_at = min(self._deadline, now + self._read_timeout)

    def eof_received(self) -> bool:
        """Accept a response that ends with the connection; asyncio then closes the transport."""
        self.is_open = False
        if self._parser is not None and self._is_end_authentic():
            self._parser.feed_eof()
            self._finish()
        return False

    def _is_end_authentic(self) -> bool:
        """Return whether the server has ended the stream: over TLS, anybody can cut it."""
        tls = self.transport.get_extra_info("ssl_object")
        try:
            return tls is None or not tls.read(1)
        except ssl.SSLError as error:
            return isinstance(error, ssl.SSLZeroReturnError)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the exchange, if there is one."""
        self.is_open = False
        self._registry.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._parser is not None:
            reason = f" ({exc.strerror})" if isinstance(exc, OSError) and exc.strerror else ""
            self._parser.connection_lost(f"the connection was lost{reason}")
            self._finish()
        if not self.closed.done():
            self.closed.set_result(None)

    def _finish(self) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_result(None)

    def _expire_at(self, when: float) -> None:
        """
        Set the time of `_on_timer`.

        A timer that is due earlier is kept, and started again when it fires: most exchanges take
        much less than their deadline, and need no timer of their own.
        """
        self._expires_at = when
        if when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            self._timer = self._clock.call_later(when - self._clock.monotonic(), self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._clock.monotonic() < self._expires_at:
            self._expire_at(self._expires_at)
        elif self._parser is None:
            self.close()
        else:
            self._parser.timed_out()
            self._finish()


def _read_events(sock: socket.socket) -> Callable[[], object]:
    """Return a function whose result is true if *sock* is readable."""
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return lambda: select.select([sock], [], [], 0)[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return functools.partial(poll.poll, 0)
