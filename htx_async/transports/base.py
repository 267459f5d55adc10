"""Constants, protocols and conversions that the adapters of transports share."""

from __future__ import annotations

import sys
from typing import Any, Protocol

from htx_async.errors import DecodeError
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.request import Request, Response
from htx_async.transports.http_response import HTTPResponse
from htx_async.version import VERSION

CONNECT_TIMEOUT = 10.0
"""Seconds for connecting, TLS included: long enough for two lost packets."""
MAX_IDLE = 60.0
"""Seconds for which an idle connection is kept."""
HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": f"htx_async/{VERSION} Python/{'.'.join(map(str, sys.version_info[:3]))}",
}
"""The headers of every request, besides `Host`."""

_ERROR_STATUS = 400


class AsyncTransport(Protocol):
    """
    A transport of httpx or httpx2.

    Type checkers accept any class with these methods. At run time it must be an instance of
    `httpx.AsyncBaseTransport` or `httpx2.AsyncBaseTransport`.
    """

    async def handle_async_request(self, request: Any, /) -> Any:
        """Send *request* and return the response."""
        ...

    async def aclose(self) -> None:
        """Close the transport."""
        ...


class Adapter(Protocol):
    """
    The last handler of the chain: sends an attempt by a transport.

    Attributes:
        slots: Slots of the client: the limit of its requests in flight.
        is_prepared: Whether `prepare` has succeeded, or is not needed.
    """

    slots: ConnectionSlots
    is_prepared: bool

    async def prepare(self) -> None:
        """
        Read the settings of the environment, before a token is spent.

        Raises:
            InvalidInputError: A variable is wrong.
            EventLoopError: The transport belongs to another event loop.
        """
        ...

    async def __call__(self, request: Request) -> Response:
        """
        Send *request* and return the response. A body that cannot be used is its `error`.

        Raises:
            TransportError: There is no complete response.
        """
        ...

    async def aclose(self) -> None:
        """Close what it has opened itself."""
        ...


def to_response(request: Request, received: HTTPResponse) -> Response:
    """Return what was *received* as the response to *request*."""
    headers, body, problem = received.headers, received.body, received.problem
    if body and headers.get("content-encoding", "identity") not in ("identity", ""):
        problem = "the body has an encoding that was not requested"
    is_error = received.status >= _ERROR_STATUS  # its status is more precise than its body
    return Response(
        received.status,
        headers,
        b"" if problem else body,
        received.first_byte_at,
        request.query,
        error=None if problem is None or is_error else DecodeError(problem),
        close_connection=received.close_connection,
    )
