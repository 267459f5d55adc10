"""The package's transport for any `httpx.AsyncClient`."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from collections.abc import Iterable
from typing import Any

import httpx

from htx_async.clock import Clock
from htx_async.errors import EventLoopError
from htx_async.transports.http_connection import READ_BUFFER_SIZE
from htx_async.transports.http_errors import ExchangeError
from htx_async.transports.http_pool import ConnectionPool, Timeouts
from htx_async.transports.http_response import HTTPResponse
from htx_async.validation import DEFAULT_PORTS, Origin, int_at_least

MAX_UNUSED_POOLS = 100
"""Number of origins above which the pools without connections are dropped."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[!-~]+")
_MAX_PORT = 65_535
_VALUE = re.compile(rb"[^\0\r\n]*")


class HTTPTransport(httpx.AsyncBaseTransport):
    """
    HTTP/1.1 on asyncio, with less CPU time per request than httpx's own transport.

    Bodies are read completely, gzip is decompressed. Certificates and proxies are those of the
    environment: `SSL_CERT_FILE`, `SSL_CERT_DIR`, `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`,
    `NO_PROXY`.

    Args:
        max_connections: Largest number of connections to one origin.
        max_body: Largest body of a response in bytes, decompressed.

    Raises:
        InvalidInputError: An argument is out of range.
    """

    def __init__(self, *, max_connections: int = 20, max_body: int = 16 * 2**20) -> None:
        self.max_connections: int = int_at_least(max_connections, 1, "max_connections")
        self._max_body = int_at_least(max_body, 1, "max_body")
        self._pools: dict[Origin, ConnectionPool] = {}
        self._origins_of_clients: set[Origin] = set()
        self._read_buffer = memoryview(bytearray(READ_BUFFER_SIZE))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def pool(self, origin: Origin, clock: Clock | None = None) -> ConnectionPool:
        """
        Return the connections to *origin*. Internal: for the clients that use this transport.

        Args:
            origin: Scheme, host and port.
            clock: The clock of a new pool.

        Raises:
            EventLoopError: The transport was used in another event loop.
        """
        self._origins_of_clients.add(origin)
        return self._pool(origin, clock or Clock())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """
        Send *request* and return the response; raise what httpx raises.

        Raises:
            InvalidInputError: A variable of the environment is wrong.
            EventLoopError: The transport was used in another event loop.
        """
        origin = _origin(request)
        target, headers = _target_and_headers(request, len(await request.aread()))
        timeouts = _timeouts(request.extensions.get("timeout", {}))
        kind: str
        try:
            pool = self._pool(origin, Clock())
            async with pool.slot(timeouts.pool):
                response = await pool.exchange(
                    request.method, target, headers, request.content, timeouts=timeouts
                )
        except ExchangeError as error:
            kind, text = error.kind, str(error)
        else:
            if "close" in request.headers.get("connection", "").lower():
                response.close_connection()
            if response.problem is None:
                return _to_httpx(response)
            kind, text = "DecodingError", response.problem
        finally:
            del target, headers  # secret; a traceback shows the locals of its frames
        raise getattr(httpx, kind)(text, request=request)

    async def aclose(self) -> None:
        """
        Close all connections. Requests that still run fail, as do later ones.

        Raises:
            EventLoopError: The transport was used in another event loop.
        """
        self._ensure_loop()
        self._is_closed = True
        async with contextlib.AsyncExitStack() as stack:  # closes the others if one fails
            for pool in self._pools.values():
                stack.push_async_callback(pool.aclose)
                pool.close()

    def _pool(self, origin: Origin, clock: Clock) -> ConnectionPool:
        self._ensure_loop()
        if origin not in self._pools:
            self._drop_unused_pools()
            pool = self._pools[origin] = ConnectionPool(
                origin,
                clock,
                max_connections=self.max_connections,
                max_body=self._max_body,
                read_buffer=self._read_buffer,
            )
            if self._is_closed:
                pool.close()
        return self._pools[origin]

    def _drop_unused_pools(self) -> None:
        if len(self._pools) >= MAX_UNUSED_POOLS:
            self._pools = {
                origin: pool
                for origin, pool in self._pools.items()
                if origin in self._origins_of_clients or not pool.is_unused
            }

    def _ensure_loop(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            msg = "the transport belongs to another event loop. Create one for each loop"
            raise EventLoopError(msg)


def _to_httpx(response: HTTPResponse) -> httpx.Response:
    return httpx.Response(
        response.status,
        headers=response.raw_headers,
        stream=httpx.ByteStream(response.body),
        extensions={
            "http_version": f"HTTP/{response.http_version}".encode(),
            "reason_phrase": response.reason_phrase,
        },
    )


def _origin(request: httpx.Request) -> Origin:
    url = request.url
    if url.scheme not in DEFAULT_PORTS:
        msg = f"the scheme of the URL must be http or https, got {url.scheme!r}"
        raise httpx.UnsupportedProtocol(msg, request=request)
    port = DEFAULT_PORTS[url.scheme] if url.port is None else url.port
    if not 1 <= port <= _MAX_PORT:  # the system would take it modulo 65,536
        msg = f"the port of the URL must be from 1 to {_MAX_PORT}, got {port}"
        raise httpx.LocalProtocolError(msg, request=request)
    return Origin(url.scheme, url.raw_host.decode("ascii").rstrip("."), port)


def _target_and_headers(request: httpx.Request, length: int) -> tuple[bytes, bytes]:
    """Return what *request* is sent with, and reject it if its end could be misunderstood."""
    target = request.extensions.get("target", request.url.raw_path)
    # The content is sent as a whole.
    headers = [field for field in request.headers.raw if field[0].lower() != b"transfer-encoding"]
    is_chunked = len(headers) < len(request.headers.raw)
    if (length or is_chunked) and "content-length" not in request.headers:
        headers.append((b"Content-Length", b"%d" % length))
    problem = _problem(request.method.encode(), target, headers, length)
    if problem is not None:
        del target, headers  # secret; a traceback shows the locals of its frames
        raise httpx.LocalProtocolError(problem, request=request)
    return target, b"".join([b"%b: %b\r\n" % field for field in headers])


def _problem(
    method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]], length: int
) -> str | None:
    """Return why a request with *length* bytes of content cannot be sent."""
    fields = [(name.lower(), value) for name, value in headers]
    if not (
        _TOKEN.fullmatch(method)
        and _TARGET.fullmatch(target)
        and all(_TOKEN.fullmatch(name) and _VALUE.fullmatch(value) for name, value in fields)
    ):
        return "the method, the URL or a header contains a character that cannot be sent"
    if method == b"CONNECT":  # its response would make the connection a tunnel
        return "the method CONNECT is not supported"
    if [name for name, _ in fields].count(b"host") != 1:
        return "the request must have exactly one Host header"
    if [value for name, value in fields if name == b"content-length"] not in ([], [b"%d" % length]):
        return f"Content-Length must occur once and be {length}, the length of the content. Omit it"
    return None


def _timeouts(seconds: dict[str, Any]) -> Timeouts:
    """Return httpx's timeouts; `None`: without a limit."""
    pool, connect, read = (seconds.get(name) for name in ("pool", "connect", "read"))
    return Timeouts(
        pool=math.inf if pool is None else pool,
        connect=math.inf if connect is None else connect,
        read=math.inf if read is None else read,
    )
