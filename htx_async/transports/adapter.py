"""The bottom of the stack: one attempt goes out over a wire, and its whole answer comes in."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import attrs

from htx_async.clock import Clock
from htx_async.errors import ConnectError, HTXError, InvalidInputError, NoResponseError
from htx_async.redaction import auth_values, one_line, redact
from htx_async.request import Request, Response
from htx_async.validation import Origin

if TYPE_CHECKING:
    import httpx

    from htx_async.transports.base import Wire


@attrs.frozen
class AiohttpTransport:
    """
    Sends the requests by aiohttp instead of httpx, for less work per request.

    Pass one as `transport`. Each client opens a session of its own for it, and closes it. An
    instrumentation of aiohttp that is told URLs is told signed ones.

    Raises:
        InvalidInputError: The extra `aiohttp` is not installed.
    """

    def __attrs_post_init__(self) -> None:
        from importlib.util import find_spec  # noqa: PLC0415 - only here

        if find_spec("aiohttp") is None:
            msg = 'AiohttpTransport needs the package aiohttp: pip install "htx-async[aiohttp]"'
            raise InvalidInputError(msg)


class HTTP:
    """
    The layer that lets an attempt be stopped, and tells in our words what has become of it.

    *transport* is what the client was given, or `None`: our own, by httpx.
    """

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
        self._wire: Wire
        # Imported here: each takes as long as all the rest, and one is enough.
        if isinstance(transport, AiohttpTransport):
            from htx_async.transports.aiohttp import AiohttpWire  # noqa: PLC0415

            self._wire = AiohttpWire(
                origin, clock, max_connections=max_connections, max_body=max_body
            )
        else:
            from htx_async.transports.httpx import HttpxWire  # noqa: PLC0415

            self._wire = HttpxWire(transport, origin, clock, max_body=max_body)

    async def __call__(self, request: Request) -> Response:
        """Send *request* and return the answer, or raise why there is none."""
        outcome: Response | HTXError
        left = request.call.until - self._clock.monotonic()
        seconds = left if left < math.inf else None
        try:
            async with self._wire.stoppable() as request.call.stop:
                outcome = await self._wire.carry(request, seconds)
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            outcome = self._told(RuntimeError("the transport was cancelled"), request)
        except Exception as error:  # noqa: BLE001 - whatever a transport raises is told
            outcome = self._told(error, request)
        finally:
            request.call.stop = None
        # Raised out here: an error of a library in the context would hand out the signed URL.
        if isinstance(outcome, HTXError):
            raise outcome
        return outcome

    def _told(self, error: Exception, request: Request) -> HTXError:
        """Return what *error*, of a library or a foreign transport, means. It is not chained."""
        endpoint = request.endpoint.name
        if isinstance(error, InvalidInputError):
            return error.with_traceback(None)
        kind = ConnectError if isinstance(error, self._wire.not_sent) else NoResponseError
        if isinstance(error, TimeoutError) and kind is NoResponseError:
            return NoResponseError("no whole answer in time", endpoint=endpoint)
        what = "no connection to" if kind is ConnectError else "the connection broke off to"
        name = f"{type(error).__module__.partition('.')[0]}.{type(error).__qualname__}"
        told = kind(f"{what} {self._origin} ({name})", endpoint=endpoint)
        told.add_note(f"{name}: {one_line(redact(str(error), auth_values(request.query)))}")
        return told

    async def aclose(self) -> None:
        """Close what is ours."""
        await self._wire.aclose()


def _is_cancelled() -> bool:
    """Tell whether it is this task that somebody has cancelled, and not something below."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
