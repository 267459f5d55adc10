"""The transport of the extra `aiohttp`, and the only module that imports aiohttp."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Literal

import aiohttp
from yarl import URL

from htx_async.clock import Clock
from htx_async.errors import InvalidInputError
from htx_async.request import Request, Response
from htx_async.transports.base import (
    CONNECT_TIMEOUT,
    HEADERS,
    MAX_IDLE,
    Cancel,
    connect_timeout,
    proxy_url,
)
from htx_async.transports.body import read_body
from htx_async.transports.httpx import proxy_for, tls_context
from htx_async.validation import Origin


def _timeout_of(connect: float) -> aiohttp.ClientTimeout:
    # Not rounded up, as aiohttp does with long ones.
    return aiohttp.ClientTimeout(total=None, connect=connect, ceil_threshold=math.inf)


_TIMEOUT = _timeout_of(CONNECT_TIMEOUT)


class _CancelScope:
    """Ends like `asyncio.timeout`, but is cancelled from outside; half of its cost."""

    __slots__ = ("_cancelling", "_is_over", "_task")

    async def __aenter__(self) -> Cancel:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._is_over = False
        return self._cancel

    def _cancel(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._task.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        is_ours = self._is_over and self._task.uncancel() <= self._cancelling
        self._is_over = True  # a later cancellation has no effect
        if is_ours and kind is asyncio.CancelledError:
            raise TimeoutError


class AiohttpClient:
    """Sends requests by an aiohttp session of its own."""

    connect_errors: tuple[type[Exception], ...] = (
        aiohttp.ClientConnectorError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.ClientHttpProxyError,
        aiohttp.InvalidURL,
    )

    def __init__(
        self, origin: Origin, clock: Clock, *, max_connections: int, max_body: int
    ) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._proxy: URL | None = None
        self._origin = origin
        self._clock = clock
        self._max_connections = max_connections
        self._max_body = max_body
        self._session_lock = asyncio.Lock()

    def cancel_scope(self) -> _CancelScope:
        """Return a scope that ends with `TimeoutError` when it is cancelled."""
        return _CancelScope()

    async def send(self, request: Request, seconds: float | None) -> Response:
        """Return the response with its body; raise what aiohttp raises."""
        session = self._session or await self._open()
        response = await session.request(
            request.endpoint.method,
            self._url(request),
            allow_redirects=False,
            proxy=self._proxy,
            timeout=_timeout(seconds),
        )
        first_byte_at = self._clock.monotonic()
        try:
            chunks, headers = response.content.iter_any(), _plain(response.headers)
            return await read_body(
                request,
                response.status,
                headers,
                chunks,
                first_byte_at=first_byte_at,
                max_body=self._max_body,
            )
        finally:
            response.close()  # after the last byte, its connection is back in the pool already

    def _url(self, request: Request) -> URL:
        query = f"?{request.query}" if request.query else ""
        return URL(f"{self._origin}{request.path}{query}", encoded=True)

    async def _open(self) -> aiohttp.ClientSession:
        async with self._session_lock:
            if self._session is None:
                # Reading certificates takes long; so may the proxy settings of some systems.
                context, self._proxy = await asyncio.to_thread(_tls_and_proxy, self._origin)
                self._session = self._own(context)
        return self._session

    def _own(self, context: ssl.SSLContext | Literal[True]) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._max_connections, keepalive_timeout=MAX_IDLE, ssl=context
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            auto_decompress=False,
            trust_env=False,
        )
        # aiohttp retries when a connection breaks, without a token and with the old signature. It
        # has no public option for this.
        session._retry_connection = False  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return session

    async def aclose(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)  # its sockets are closed one iteration later


def _tls_and_proxy(origin: Origin) -> tuple[ssl.SSLContext | Literal[True], URL | None]:
    """Return the certificates to trust, and the proxy to use."""
    if origin.scheme == "http":  # loopback: no TLS, no proxy
        return True, None
    proxy_for(origin)  # the same is wrong, in the same words
    url = proxy_url(origin)
    if url is not None and url.startswith("socks"):
        msg = "a SOCKS proxy is set in the environment: AiohttpTransport knows only http proxies"
        raise InvalidInputError(msg)
    return tls_context(), None if url is None else URL(url)


def _timeout(seconds: float | None) -> aiohttp.ClientTimeout:
    connect = connect_timeout(seconds)
    return _TIMEOUT if connect == CONNECT_TIMEOUT else _timeout_of(connect)


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    """Return *headers* with names in lower case, repeated ones joined as RFC 9110 says."""
    plain: dict[str, str] = {}
    for name, value in headers.items():
        key = name.lower()
        plain[key] = f"{plain[key]}, {value}" if key in plain else value
    return plain
