"""The default transport, and the only module that imports httpx."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TypeAlias

import anyio
import httpx

from htx_async.clock import Clock
from htx_async.errors import InvalidInputError
from htx_async.redaction import redact
from htx_async.request import Request, Response
from htx_async.transports.base import HEADERS, MAX_IDLE, Cancel, connect_timeout, proxy_url
from htx_async.transports.body import read_body
from htx_async.transports.pool import HttpxPool
from htx_async.validation import Origin


def _redact_record(record: logging.LogRecord) -> bool:
    """Redact a signed URL that a response header repeats, e.g. that of a redirect."""
    record.msg, record.args = redact(record.getMessage()), None
    return True


# This logger, and only this one, logs response headers (at DEBUG).
logging.getLogger("httpcore.http11").addFilter(_redact_record)


class _RedactedURL(httpx.URL):
    """A URL that is sent with its query, and logged or traced without it."""

    def __init__(self, url: httpx.URL, query: str) -> None:
        super().__init__(url)
        self._query = query.encode()

    @property
    def raw_path(self) -> bytes:
        path = super().raw_path
        return path + b"?" + self._query if self._query else path


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return a context that trusts httpx's certificates, or those that `SSL_CERT_FILE` names."""
    return httpx.create_ssl_context()


_Environment: TypeAlias = "tuple[ssl.SSLContext, httpx.Proxy | None]"


def _tls_and_proxy(origin: Origin) -> _Environment:
    if origin.scheme == "http":  # loopback: no TLS, no proxy
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), None
    return tls_context(), proxy_for(origin)


def proxy_for(origin: Origin) -> httpx.Proxy | None:
    """Return the proxy for *origin* that the environment names."""
    url = proxy_url(origin)
    try:
        return None if url is None else httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL):
        url = ""  # it may contain a password
    msg = f"the proxy for {origin.scheme} in the environment is not the URL of a proxy"
    raise InvalidInputError(msg)


class _CancelScope:
    """
    A scope of anyio, which httpcore is built on.

    httpcore shields its clean-up from such a scope, but not from asyncio's own timeouts: then it
    would lose the connection.
    """

    def __init__(self) -> None:
        self._scope = anyio.CancelScope()

    async def __aenter__(self) -> Cancel:
        self._scope.__enter__()
        return self._scope.cancel

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._scope.__exit__(kind, error, trace):
            raise TimeoutError


class HttpxTransport:
    """Sends requests by *transport*, which the caller closes, or by a pool of its own (`None`)."""

    connect_errors: tuple[type[Exception], ...] = (
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,
        httpx.UnsupportedProtocol,
    )

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None,
        origin: Origin,
        clock: Clock,
        *,
        max_body: int,
    ) -> None:
        self._transport = transport
        self._origin = origin
        self._clock = clock
        self._max_body = max_body
        self._pool = HttpxPool(clock)
        self._environment: _Environment | None = None
        self._environment_lock = asyncio.Lock()

    def cancel_scope(self) -> _CancelScope:
        """Return a scope that ends with `TimeoutError` when it is cancelled."""
        return _CancelScope()

    async def send(self, request: Request, seconds: float | None) -> Response:
        """Return the response with its body; raise what httpx raises."""
        if self._transport is not None:
            return await self._send_via(self._transport, request, seconds)
        environment = self._environment or await self._read_environment()
        transport = self._pool.acquire(functools.partial(_create_transport, environment))
        try:
            response = await self._send_via(transport, request, seconds)
        except BaseException:
            await self._pool.discard(transport)
            raise
        await self._pool.release(transport)
        return response

    async def aclose(self) -> None:
        """Close the pool."""
        await self._pool.aclose()

    async def _send_via(
        self, transport: httpx.AsyncBaseTransport, request: Request, seconds: float | None
    ) -> Response:
        response = await transport.handle_async_request(self._build_request(request, seconds))
        first_byte_at = self._clock.monotonic()
        chunks = _chunks(response)
        try:
            return await read_body(
                request,
                response.status_code,
                dict(response.headers),
                chunks,
                first_byte_at=first_byte_at,
                max_body=self._max_body,
            )
        finally:
            await response.aclose()
            if self._transport is None:
                await _exhaust(chunks)

    def _build_request(self, request: Request, seconds: float | None) -> httpx.Request:
        url = _cached_url(f"{self._origin}{request.path}")
        connect = connect_timeout(seconds)
        timeouts = {"connect": connect, "read": seconds, "write": seconds, "pool": seconds}
        method, extensions = request.endpoint.method, {"timeout": timeouts}
        built = httpx.Request(method, url, headers=HEADERS, extensions=extensions)
        # Set afterwards: `Request` copies a URL into a plain one. Other transports may read the
        # URL in other ways than ours, and get a plain one.
        built.url = (_RedactedURL if self._transport is None else _url_with)(url, request.query)
        return built

    async def _read_environment(self) -> _Environment:
        async with self._environment_lock:
            if self._environment is None:
                # In a thread: reading certificates is slow, and so are some proxy settings.
                self._environment = await asyncio.to_thread(_tls_and_proxy, self._origin)
        return self._environment


def _create_transport(environment: _Environment) -> httpx.AsyncBaseTransport:
    context, proxy = environment
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=MAX_IDLE)
    try:
        return httpx.AsyncHTTPTransport(verify=context, trust_env=False, proxy=proxy, limits=limits)
    except ImportError:
        extra = 'pip install "httpx[socks]"'
    msg = f"a SOCKS proxy is set in the environment, and needs: {extra}"
    raise InvalidInputError(msg)


@functools.lru_cache(maxsize=256)
def _cached_url(url: str) -> httpx.URL:
    return httpx.URL(url)  # parsing takes longer than signing


def _url_with(url: httpx.URL, query: str) -> httpx.URL:
    return httpx.URL(f"{url}?{query}") if query else url


async def _exhaust(chunks: AsyncIterator[bytes]) -> None:
    """
    End the generators of a closed response.

    asyncio would create a task for each one that was left in the middle.
    """
    with contextlib.suppress(Exception):
        async for _ in chunks:
            pass


def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    # Not `aiter_bytes`: it decompresses a chunk to any size, and accepts more encodings.
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    return aiter(stream)
