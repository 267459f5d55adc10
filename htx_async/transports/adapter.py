"""Sends one attempt by a transport, and translates the errors of its library."""

from __future__ import annotations

import asyncio
import math
from importlib.util import find_spec
from typing import TYPE_CHECKING

import attrs

from htx_async.clock import Clock
from htx_async.errors import ConnectError, HTXError, InvalidInputError, NoResponseError
from htx_async.redaction import auth_values, one_line, redact
from htx_async.request import Request, Response
from htx_async.transports.body import CutBodyError
from htx_async.validation import Origin

if TYPE_CHECKING:
    import httpx

    from htx_async.transports.base import Transport


@attrs.frozen
class AiohttpTransport:
    """
    Sends requests by aiohttp instead of httpx, with less CPU time per request.

    Pass one as `transport`. Each client opens a session of its own, and closes it. An
    instrumentation of aiohttp that records URLs records signed ones.

    Raises:
        InvalidInputError: The extra `aiohttp` is not installed.
    """

    def __attrs_post_init__(self) -> None:
        if find_spec("aiohttp") is None:
            msg = 'AiohttpTransport needs the package aiohttp: pip install "htx-async[aiohttp]"'
            raise InvalidInputError(msg)


class TransportAdapter:
    """Handler that sends one attempt by *transport*, the option of the client; `None`: httpx."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | AiohttpTransport | None,
        origin: Origin,
        clock: Clock,
        *,
        max_connections: int,
        max_body: int,
    ) -> None:
        self._origin = origin
        self._clock = clock
        self._transport: Transport
        if isinstance(transport, AiohttpTransport):
            from htx_async.transports.aiohttp import AiohttpClient  # noqa: PLC0415 - an extra

            self._transport = AiohttpClient(
                origin, clock, max_connections=max_connections, max_body=max_body
            )
        else:
            from htx_async.transports.httpx import HttpxTransport  # noqa: PLC0415 - slow import

            self._transport = HttpxTransport(transport, origin, clock, max_body=max_body)

    async def __call__(self, request: Request) -> Response:
        """Send *request* and return the response, or raise a `TransportError`."""
        left = request.call.time_left(self._clock.monotonic())
        seconds = left if left < math.inf else None
        failure: HTXError
        try:
            async with self._transport.cancel_scope() as request.call.abort_handle:
                return await self._transport.send(request, seconds)
        except asyncio.CancelledError:
            if _task_is_cancelling():
                raise
            failure = self._translate_error(RuntimeError("the transport was cancelled"), request)
        except Exception as error:  # noqa: BLE001 - a transport may raise anything
            failure = self._translate_error(error, request)
        finally:
            request.call.abort_handle = None
        # Raised outside of `except`: the library's error in the context shows the signed URL.
        raise failure

    async def aclose(self) -> None:
        """Close the transport, unless it was passed to the client."""
        await self._transport.aclose()

    def _translate_error(self, error: Exception, request: Request) -> HTXError:
        """Return our error for *error*, which is not chained."""
        if isinstance(error, InvalidInputError | CutBodyError):  # ours; a caller's transport may
            return error.with_traceback(None)  # raise others, with the signed URL in them
        endpoint = request.endpoint.name
        is_connect = isinstance(error, self._transport.connect_errors)
        if isinstance(error, TimeoutError) and not is_connect:
            return NoResponseError("no complete response in time", endpoint=endpoint)
        kind = ConnectError if is_connect else NoResponseError
        problem = "could not connect to" if is_connect else "lost the connection to"
        name = f"{type(error).__module__.partition('.')[0]}.{type(error).__qualname__}"
        translated = kind(f"{problem} {self._origin} ({name})", endpoint=endpoint)
        secrets = auth_values(request.query)
        translated.add_note(f"{name}: {one_line(redact(str(error), secrets))}")
        return translated


def _task_is_cancelling() -> bool:
    """Return whether this task is being cancelled, and not only something below it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
