"""Sends an attempt over the package's own connections, and chooses the adapter of a transport."""

from __future__ import annotations

import functools
from collections.abc import Callable

from htx_async.clock import Clock
from htx_async.errors import InvalidInputError
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.request import Request, Response
from htx_async.transports.base import (
    HEADERS,
    Adapter,
    AsyncTransport,
    to_response,
)
from htx_async.transports.http_errors import ExchangeError
from htx_async.transports.http_pool import ConnectionPool, Timeouts
from htx_async.validation import Origin

_FIRST_BYTE_SHARE = 1 / 3
"""Share of an attempt's time in which a reused connection must respond: it may be dead."""
_MIN_FIRST_BYTE_TIMEOUT = 0.5
"""Seconds that a reused connection has at least to respond: HTX may be that slow."""


class PoolAdapter:
    """
    Adapter of a connection pool, past the requests and responses of httpx.

    Args:
        get_pool: Returns the pool, in the event loop of the calls.
        origin: HTX's address.
        clock: Source of time.
        max_connections: Requests of the client at a time.
        max_body: Largest body of a response, in bytes.
        owns_pool: Whether to close the pool.
    """

    def __init__(
        self,
        get_pool: Callable[[], ConnectionPool],
        origin: Origin,
        clock: Clock,
        *,
        max_connections: int,
        max_body: int,
        owns_pool: bool,
    ) -> None:
        self._get_pool = get_pool
        self._pool: ConnectionPool | None = None
        self._origin = origin
        self._clock = clock
        self._max_body = max_body
        self._owns_pool = owns_pool
        self.slots: ConnectionSlots = ConnectionSlots(max_connections)
        self.is_prepared: bool = False
        fields = {"Host": str(origin).partition("://")[2], **HEADERS}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()

    async def prepare(self) -> None:
        """Read the settings of the environment, and share the slots of the pool."""
        self._pool = self._get_pool()
        self.slots.share(self._pool.slots)
        await self._pool.prepare()
        self.is_prepared = True

    async def __call__(self, request: Request) -> Response:
        """Send *request* and return the response."""
        assert self._pool is not None, "retrying prepares the adapter"
        deadline = request.call.attempt_deadline
        seconds = deadline - self._clock.monotonic()
        first_byte = max(seconds * _FIRST_BYTE_SHARE, _MIN_FIRST_BYTE_TIMEOUT)
        failure: ExchangeError
        try:
            received = await self._pool.exchange(
                request.endpoint.method,
                request.target.encode(),
                self._headers,
                deadline=deadline,
                timeouts=Timeouts(first_byte=first_byte),
                max_body=self._max_body,
                fresh=request.call.needs_new_connection,
            )
        except ExchangeError as error:
            failure = error
        else:
            return to_response(request, received)
        # Raised outside of `except`: the other error is not its context.
        raise failure.to_transport_error(self._origin, request.endpoint.name)

    async def aclose(self) -> None:
        """Close the pool, unless it belongs to a transport that was passed to the client."""
        if self._owns_pool and self._pool is not None:
            await self._pool.aclose()


def adapter_for(
    transport: AsyncTransport | None,
    origin: Origin,
    clock: Clock,
    *,
    max_connections: int,
    max_body: int,
) -> Adapter:
    """
    Return the adapter of *transport*; `None`: of a pool of its own.

    Raises:
        InvalidInputError: *transport* is not a transport.
    """
    if transport is None:
        pool = ConnectionPool(origin, clock, max_connections=max_connections, max_body=max_body)
        return PoolAdapter(
            lambda: pool,
            origin,
            clock,
            max_connections=max_connections,
            max_body=max_body,
            owns_pool=True,
        )
    from htx_async.transports import http_transport, httpx_adapter  # noqa: PLC0415 - import httpx

    if (
        isinstance(transport, ours := http_transport.HTTPTransport)
        # Otherwise, the method of a subclass would not be called.
        and type(transport).handle_async_request is ours.handle_async_request
    ):
        if not hasattr(transport, "max_connections"):
            msg = f"transport: {type(transport).__qualname__} must call super().__init__()"
            raise InvalidInputError(msg)
        return PoolAdapter(
            functools.partial(transport.pool, origin, clock),
            origin,
            clock,
            max_connections=max_connections,
            max_body=max_body,
            owns_pool=False,
        )
    return httpx_adapter.HttpxAdapter(
        transport, origin, clock, max_connections=max_connections, max_body=max_body
    )
