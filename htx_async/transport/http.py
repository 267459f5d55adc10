"""The only place that knows httpx: a request goes out, its whole answer comes in."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import platform
import ssl
import zlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx

from htx_async.clock import Clock
from htx_async.errors import DecodeError, HTXError, InvalidInputError, NoAnswerError, NotSentError
from htx_async.inputs import Origin
from htx_async.redaction import printable, redacted, secrets_in
from htx_async.transport.request import Request, Response

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection to come about, TLS included: long enough for two lost packets."""
IDLE = 60.0
"""Seconds for which an idle connection is kept."""

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": f"htx_async/{version('htx-async')} Python/{platform.python_version()}",
}
_GZIP = zlib.MAX_WBITS | 16
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


def _hide(record: logging.LogRecord) -> bool:
    """Keep a signed URL that comes back in a header, a redirect's say, out of the log."""
    record.msg, record.args = redacted(record.getMessage()), None
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
def _tls_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _environment(origin: Origin) -> tuple[ssl.SSLContext, httpx.Proxy | None]:
    """Return the certificates to trust, and the proxy to go through."""
    if origin.scheme == "http":  # loopback: no TLS, no proxy
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), None
    return _tls_context(), proxy_for(origin)


def proxy_for(origin: Origin) -> httpx.Proxy | None:
    """Return the proxy that the environment, or the system, names for *origin*."""
    if origin.is_loopback or proxy_bypass(origin.host):
        return None
    proxies = getproxies()
    url = proxies.get(origin.scheme) or proxies.get("all")
    if not url:
        return None
    try:
        return httpx.Proxy(url if "://" in url else f"http://{url}")
    except (ValueError, httpx.InvalidURL):
        url, proxies = "", {}  # it may hold a password
    msg = f"the proxy for {origin.scheme} in the environment is not the URL of a proxy"
    raise InvalidInputError(msg)


class HTTP:
    """
    The bottom of the stack.

    *transport* is one that the caller passed in, and keeps; `None`: one is made with the first
    request, and closed with the client.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None,
        origin: Origin,
        clock: Clock,
        *,
        max_connections: int,
        max_body: int,
    ) -> None:
        self._transport = transport
        self._foreign = transport is not None
        self._origin = origin
        self._clock = clock
        self._max_connections = max_connections
        self._max_body = max_body
        self._opening = asyncio.Lock()

    async def __call__(self, request: Request) -> Response:
        """Send *request* and return the answer, or raise why there is none."""
        # Raised out here: an error of httpx in the context would hand out the signed URL.
        outcome = await self._exchange(request)
        if isinstance(outcome, HTXError):
            raise outcome
        return outcome

    async def _exchange(self, request: Request) -> Response | HTXError:
        left = request.flight.until - self._clock.monotonic()
        seconds = left if left < math.inf else None
        # A scope of anyio, which httpcore is built on: it holds its cleaning up against one of
        # these, but not against asyncio's own timeouts, and would lose the connection for good.
        with anyio.CancelScope() as scope:
            request.flight.stop = scope.cancel
            timer = None if seconds is None else self._clock.call_later(seconds, scope.cancel)
            try:
                return await self._read(request, seconds)
            except asyncio.CancelledError:
                if scope.cancel_called or _is_cancelled():
                    raise
                return _told(RuntimeError("the transport was cancelled"), request, self._origin)
            except Exception as error:  # noqa: BLE001 - whatever a transport raises is told
                return _told(error, request, self._origin)
            finally:
                request.flight.stop = None
                if timer is not None:
                    timer.cancel()
        return _told(TimeoutError(), request, self._origin)

    async def _read(self, request: Request, seconds: float | None) -> Response | HTXError:
        transport = self._transport or await self._open()
        answer = await transport.handle_async_request(self._made(request, seconds))
        began = self._clock.monotonic()
        try:
            body = await _body(answer, self._max_body)
        finally:
            await answer.aclose()
        if isinstance(body, NoAnswerError):
            return body
        headers = dict(answer.headers)
        if isinstance(body, DecodeError) and answer.status_code >= 400:  # noqa: PLR2004
            body = b""  # the status tells more
        if isinstance(body, DecodeError):
            return Response(answer.status_code, headers, b"", began, request.query, error=body)
        return Response(answer.status_code, headers, body, began, request.query)

    def _made(self, request: Request, seconds: float | None) -> httpx.Request:
        """Return *request* as httpx wants it, to be answered within *seconds*."""
        url = httpx.URL(f"{self._origin}{request.path}")
        connect = CONNECT_TIMEOUT if seconds is None else min(seconds, CONNECT_TIMEOUT)
        timeouts = {"connect": connect, "read": seconds, "write": seconds, "pool": seconds}
        made = httpx.Request(
            request.endpoint.method, url, headers=_HEADERS, extensions={"timeout": timeouts}
        )
        # Set only now: `Request` makes a plain URL of whatever it is given. Foreign transports
        # may read the URL in other ways than ours, and get a plain one.
        made.url = (_signed if self._foreign else _HidingURL)(url, request.query)
        return made

    async def _open(self) -> httpx.AsyncBaseTransport:
        async with self._opening:
            if self._transport is None:
                # Reading certificates takes long; so may the proxy settings of some systems.
                context, proxy = await asyncio.to_thread(_environment, self._origin)
                self._transport = httpx.AsyncHTTPTransport(
                    verify=context,
                    trust_env=False,
                    proxy=proxy,
                    limits=httpx.Limits(
                        max_connections=self._max_connections,
                        max_keepalive_connections=self._max_connections,
                        keepalive_expiry=IDLE,
                    ),
                )
        return self._transport

    async def aclose(self) -> None:
        """Close the transport, if it is ours."""
        if self._transport is not None and not self._foreign:
            await self._transport.aclose()


def _is_cancelled() -> bool:
    """Tell whether it is this task that somebody has cancelled, and not something below."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _signed(url: httpx.URL, query: str) -> httpx.URL:
    return httpx.URL(f"{url}?{query}") if query else url


async def _body(answer: httpx.Response, max_body: int) -> bytes | DecodeError | NoAnswerError:
    """Read the whole body, unzipped; one that grows over *max_body* is not held."""
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        return DecodeError(f"the body comes in an encoding nobody asked for: {encoding:.20}")
    unzip = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    parts: list[bytes] = []
    room = max_body
    try:
        async for chunk in _chunks(answer):
            if unzip is not None and unzip.eof:
                return DecodeError("the body goes on after its gzip stream has ended")
            part = chunk if unzip is None else unzip.decompress(chunk, room + 1)
            room -= len(part)
            if room < 0:
                return DecodeError(f"the body is larger than {max_body:,} bytes (max_body)")
            parts.append(part)
    except zlib.error:
        return DecodeError("the body says gzip, and is not")
    if unzip is not None and not unzip.eof and parts:
        return NoAnswerError("the body was cut: its gzip stream has no end")
    return b"".join(parts)


def _chunks(answer: httpx.Response) -> AsyncIterator[bytes]:
    # Not `aiter_bytes`: it unzips a chunk however large that gets, and knows more encodings.
    stream = answer.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    return aiter(stream)


def _told(error: Exception, request: Request, origin: Origin) -> HTXError:
    """Return what *error*, of httpx or of a foreign transport, means. It is not chained."""
    endpoint = request.endpoint.name
    if isinstance(error, InvalidInputError):
        return error.with_traceback(None)
    if isinstance(error, ImportError):
        msg = 'a SOCKS proxy is set in the environment, which needs: pip install "httpx[socks]"'
        return InvalidInputError(msg, endpoint=endpoint)
    if isinstance(error, TimeoutError):
        return NoAnswerError("no whole answer in time", endpoint=endpoint)
    kind = NotSentError if isinstance(error, _NOT_SENT) else NoAnswerError
    what = "no connection to" if kind is NotSentError else "the connection broke off to"
    name = f"{type(error).__module__.partition('.')[0]}.{type(error).__qualname__}"
    told = kind(f"{what} {origin} ({name})", endpoint=endpoint)
    told.add_note(f"{name}: {printable(redacted(str(error), secrets_in(request.query)))}")
    return told
