"""The default wire, and the only place that knows httpx."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import ssl
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TypeAlias

import anyio
import httpx

from htx_async.clock import Clock
from htx_async.errors import HTXError, InvalidInputError
from htx_async.redaction import redact
from htx_async.request import Request, Response
from htx_async.transports import body
from htx_async.transports.base import HEADERS, IDLE, Stop, connect_timeout, proxy_url
from htx_async.validation import Origin


def _hide(record: logging.LogRecord) -> bool:
    """Keep a signed URL that comes back in a header, a redirect's say, out of the log."""
    record.msg, record.args = redact(record.getMessage()), None
    return True


# It logs the headers of an answer at DEBUG, and only there.
logging.getLogger("httpcore.http11").addFilter(_hide)


class _HidingURL(httpx.URL):
    """Is sent with its query, and shown without it wherever a URL is logged or traced."""

    def __init__(self, url: httpx.URL, query: str) -> None:
        super().__init__(url)
        self._query = query.encode()

    @property
    def raw_path(self) -> bytes:
        path = super().raw_path
        return path + b"?" + self._query if self._query else path


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return whom to trust: the certificates of httpx, or those that `SSL_CERT_FILE` names."""
    return httpx.create_ssl_context()


_Environment: TypeAlias = "tuple[ssl.SSLContext, httpx.Proxy | None]"


def _environment(origin: Origin) -> _Environment:
    """Return the certificates to trust, and the proxy to go through."""
    if origin.scheme == "http":  # loopback: no TLS, no proxy
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), None
    return tls_context(), proxy_for(origin)


def proxy_for(origin: Origin) -> httpx.Proxy | None:
    """Return the proxy to go through to *origin*."""
    url = proxy_url(origin)
    try:
        return None if url is None else httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL):
        url = ""  # it may hold a password
    msg = f"the proxy for {origin.scheme} in the environment is not the URL of a proxy"
    raise InvalidInputError(msg)


class _Stoppable:
    """
    A scope of anyio, which httpcore is built on.

    It holds its cleaning up against one of these, but not against asyncio's own timeouts, and
    would lose the connection for good.
    """

    def __init__(self) -> None:
        self._scope = anyio.CancelScope()

    async def __aenter__(self) -> Stop:
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


class HttpxWire:
    """
    Goes through an httpx transport.

    *transport* is one that the caller passed in, and keeps; `None`: our own are made when they
    are needed, and closed with the client.

    Each of ours has one connection. A pool of httpcore looks at all of its connections before
    each request and after it, which soon costs more than all the rest; and one that an attempt
    has broken, or left in the middle, is thrown away with its transport.
    """

    not_sent: tuple[type[Exception], ...] = (
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
        self._foreign = transport
        self._origin = origin
        self._clock = clock
        self._max_body = max_body
        self._environment: _Environment | None = None
        self._opening = asyncio.Lock()
        self._own: set[httpx.AsyncBaseTransport] = set()
        # Since when they have nothing to do; the last one is asked first.
        self._idle: deque[tuple[float, httpx.AsyncBaseTransport]] = deque()

    def stoppable(self) -> _Stoppable:
        """End what is done inside when told to."""
        return _Stoppable()

    async def carry(self, request: Request, seconds: float | None) -> Response | HTXError:
        """Return the whole answer, or raise what httpx raises."""
        if self._foreign is not None:
            return await self._through(self._foreign, request, seconds)
        transport = await self._take()
        try:
            response = await self._through(transport, request, seconds)
        except BaseException:
            await self._discard(transport)
            raise
        await self._give_back(transport)
        return response

    async def _through(
        self, transport: httpx.AsyncBaseTransport, request: Request, seconds: float | None
    ) -> Response | HTXError:
        answer = await transport.handle_async_request(self._made(request, seconds))
        began = self._clock.monotonic()
        chunks = _chunks(answer)
        try:
            status, headers = answer.status_code, dict(answer.headers)
            return await body.read(
                request, status, headers, chunks, began=began, max_body=self._max_body
            )
        finally:
            await answer.aclose()
            if self._foreign is None:
                await _see_to_its_end(chunks)

    def _made(self, request: Request, seconds: float | None) -> httpx.Request:
        """Return *request* as httpx wants it, to be answered within *seconds*."""
        url = _plain_url(f"{self._origin}{request.path}")
        connect = connect_timeout(seconds)
        timeouts = {"connect": connect, "read": seconds, "write": seconds, "pool": seconds}
        made = httpx.Request(
            request.endpoint.method, url, headers=HEADERS, extensions={"timeout": timeouts}
        )
        # Set only now: `Request` makes a plain URL of whatever it is given. Foreign transports
        # may read the URL in other ways than ours, and get a plain one.
        made.url = (_HidingURL if self._foreign is None else _signed)(url, request.query)
        return made

    async def _take(self) -> httpx.AsyncBaseTransport:
        """Return a transport that has nothing to do; whoever asks has a slot for it."""
        if self._idle:
            return self._idle.pop()[1]
        transport = _transport(self._environment or await self._read_environment())
        self._own.add(transport)
        return transport

    async def _give_back(self, transport: httpx.AsyncBaseTransport) -> None:
        now = self._clock.monotonic()
        self._idle.append((now, transport))
        while self._idle[0][0] < now - IDLE:
            await self._discard(self._idle.popleft()[1])

    async def _discard(self, transport: httpx.AsyncBaseTransport) -> None:
        await transport.aclose()
        self._own.discard(transport)

    async def _read_environment(self) -> _Environment:
        async with self._opening:
            if self._environment is None:
                # Reading certificates takes long; so may the proxy settings of some systems.
                self._environment = await asyncio.to_thread(_environment, self._origin)
        return self._environment

    async def aclose(self) -> None:
        """Close the transports that are ours."""
        for transport in tuple(self._own):
            await self._discard(transport)


def _transport(environment: _Environment) -> httpx.AsyncBaseTransport:
    context, proxy = environment
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE)
    try:
        return httpx.AsyncHTTPTransport(verify=context, trust_env=False, proxy=proxy, limits=limits)
    except ImportError:
        needs = 'pip install "httpx[socks]"'
    msg = f"a SOCKS proxy is set in the environment, which needs: {needs}"
    raise InvalidInputError(msg)


@functools.lru_cache(maxsize=256)
def _plain_url(url: str) -> httpx.URL:
    return httpx.URL(url)  # to read one takes longer than to sign a request


def _signed(url: httpx.URL, query: str) -> httpx.URL:
    return httpx.URL(f"{url}?{query}") if query else url


async def _see_to_its_end(chunks: AsyncIterator[bytes]) -> None:
    """
    End the generators of an answer that is closed already.

    Of those that were left in the middle asyncio would make tasks, one after the other.
    """
    with contextlib.suppress(Exception):
        async for _ in chunks:
            pass


def _chunks(answer: httpx.Response) -> AsyncIterator[bytes]:
    # Not `aiter_bytes`: it unzips a chunk however large that gets, and knows more encodings.
    stream = answer.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    return aiter(stream)
