"""Sends an attempt by any transport of httpx or httpx2 that was passed to the client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterable
from typing import Any

from htx_async.clock import Clock
from htx_async.errors import (
    ConnectError,
    HTXError,
    InvalidInputError,
    NoResponseError,
    TransportError,
)
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.redaction import auth_values, describe_error, redact
from htx_async.request import Request, Response
from htx_async.transports.base import (
    CONNECT_TIMEOUT,
    HEADERS,
    AsyncTransport,
    to_response,
)
from htx_async.transports.http_errors import ExchangeError, too_late
from htx_async.transports.http_response import HTTPResponse, size_limit, too_large
from htx_async.validation import Origin

_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")
"""httpx's exceptions after which nothing has reached HTX."""
_CONNECT_SHARE = 0.9
"""Share of an attempt's time that the transport may take to connect. If connecting ended with the
attempt, it would be unknown whether the request was sent."""
_CLOSE_TIMEOUT = 1.0
"""Seconds that the transport may take to close a response."""


def _redact_record(record: logging.LogRecord) -> bool:
    """Remove response headers, which may repeat the access key or the signature in any form."""
    text = record.getMessage()
    event, _, _ = text.partition(" ")
    hides = event.startswith("receive_response_headers")
    record.msg = f"{event} (headers are not logged)" if hides else redact(text)
    record.args = None
    return True


def _drop_record(_: logging.LogRecord) -> bool:
    """Drop every record: hpack logs each header of HTTP/2, signed URLs and responses included."""
    return False


# httpx's own transports log at DEBUG, by these loggers.
for _name in ("httpcore.http11", "httpcore.http2", "httpcore2.http11", "httpcore2.http2"):
    logging.getLogger(_name).addFilter(_redact_record)
for _name in ("hpack.hpack", "hpack.table"):
    logging.getLogger(_name).addFilter(_drop_record)


class HttpxAdapter:
    """
    Adapter of a transport that the caller closes.

    Raises:
        InvalidInputError: *transport* is not a transport of httpx or httpx2.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        origin: Origin,
        clock: Clock,
        *,
        max_connections: int,
        max_body: int,
    ) -> None:
        self._library = _library_of(transport)
        self._transport = transport
        self._origin = origin
        self._clock = clock
        self._max_body = max_body
        self._connect_errors = tuple(getattr(self._library, name) for name in _NOT_SENT)
        self._network_errors = (self._library.TransportError, OSError, EOFError)
        self.slots: ConnectionSlots = ConnectionSlots(max_connections)
        self.is_prepared: bool = True

    async def prepare(self) -> None:
        """Do nothing: the caller has set up the transport."""

    async def __call__(self, request: Request) -> Response:
        """Send *request* and return the response."""
        seconds = request.call.attempt_deadline - self._clock.monotonic()
        failure: HTXError
        try:
            async with self._clock.timeout(seconds):
                received = await self._exchange(request, seconds)
            return to_response(request, received.decompressed(self._max_body))
        except ExchangeError as error:
            failure = error.to_transport_error(self._origin, request.endpoint.name)
        except asyncio.CancelledError:
            if _task_is_cancelling():
                raise
            cancelled = RuntimeError("the transport was cancelled")
            failure = self._translate_error(cancelled, request, seconds)
        except Exception as error:  # noqa: BLE001 - a transport may raise anything
            failure = self._translate_error(error, request, seconds)
        # Raised outside of `except`: the library's error in the context shows the signed URL.
        raise failure

    async def aclose(self) -> None:
        """Do nothing: the caller closes the transport."""

    async def _exchange(self, request: Request, seconds: float) -> HTTPResponse:
        """Return the response with its body as it arrived; raise what the transport raises."""
        built = self._build(request, seconds)
        if self._clock.monotonic() >= request.call.attempt_deadline:
            raise too_late()
        response = await self._transport.handle_async_request(built)
        first_byte_at = self._clock.monotonic()
        headers = [(name.lower(), value.strip()) for name, value in response.headers.raw]
        try:
            # Not `aiter_bytes`: it decompresses a chunk to any size, and accepts more encodings.
            stream = response.stream
            if response.is_stream_consumed:  # a wrapper has read it, and httpx decompressed it
                stream = self._library.ByteStream(response.content)
                headers = [header for header in headers if header[0] != b"content-encoding"]
            body = await _collect(stream, size_limit(headers, self._max_body))
        finally:
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(_CLOSE_TIMEOUT):
                    await response.aclose()
        problem = too_large(self._max_body) if body is None else None
        return HTTPResponse(response.status_code, headers, body or b"", first_byte_at, problem)

    def _build(self, request: Request, seconds: float) -> Any:
        pool = seconds * _CONNECT_SHARE
        connect = min(pool, CONNECT_TIMEOUT)
        timeouts = {"connect": connect, "read": seconds, "write": seconds, "pool": pool}
        return self._library.Request(
            request.endpoint.method,
            f"{self._origin}{request.target}",
            headers=HEADERS,
            extensions={"timeout": timeouts},
        )

    def _translate_error(self, error: Exception, request: Request, seconds: float) -> HTXError:
        """Return our error for *error*, which is not chained, of an attempt of *seconds*."""
        endpoint, name = request.endpoint.name, _type(error)
        if isinstance(error, TimeoutError):
            text = f"{self._origin}: no complete response within {seconds:.3g} s (attempt_timeout)"
            return NoResponseError(text, endpoint=endpoint)
        kind: type[TransportError] = NoResponseError
        problem = "the transport failed"
        if isinstance(error, self._connect_errors):
            kind, problem = ConnectError, f"could not connect to {self._origin}"
        elif isinstance(error, self._network_errors):
            problem = f"lost the connection to {self._origin}"
        cause = describe_error(error, auth_values(request.query))
        reason = f"{name}: {cause.partition(': ')[2]}" if ": " in cause else name
        return kind(f"{problem} ({reason})", endpoint=endpoint)


def _library_of(transport: object) -> Any:
    """Return the module that *transport* is a transport of: httpx or httpx2."""
    for name in ("httpx", "httpx2"):
        library = sys.modules.get(name)  # it was imported, if *transport* is one of its objects
        if library is not None and isinstance(transport, library.AsyncBaseTransport):
            return library
    got = f"the class {transport.__name__}" if isinstance(transport, type) else _type(transport)
    msg = (
        "transport must be an httpx.AsyncBaseTransport (or one of httpx2), "
        f"for example HTTPTransport() or httpx.MockTransport(handler), got {got}"
    )
    raise InvalidInputError(msg)


def _type(value: object) -> str:
    module = type(value).__module__.partition(".")[0]
    name = type(value).__qualname__
    return name if module == "builtins" else f"{module}.{name}"


async def _collect(chunks: AsyncIterable[bytes], max_size: int) -> bytes | None:
    """Return the bytes of *chunks*; `None` if there are more than *max_size*."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > max_size:
            return None
        parts.append(chunk)
    return b"".join(parts)


def _task_is_cancelling() -> bool:
    """Return whether this task is being cancelled, and not only something below it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
