"""Makes of an answer what its callers want of it, once, however many wait for it."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from htx_async.errors import DecodeError
from htx_async.request import Handler, Request, Response


class Converting(msgspec.Struct, frozen=True):
    """The layer above all that is repeated: a `DecodeError` would only come again."""

    send: Handler

    async def __call__(self, request: Request) -> Response:
        """Return the answer with its model, and with what it took."""
        response = await self.send(request)
        try:
            value = request.endpoint.read(response.data)
        except DecodeError as error:
            error.endpoint, error.http_status = request.endpoint.name, response.status
            raise
        flight = request.call
        return replace(
            response, value=value, attempts=flight.attempts, queue_waits=tuple(flight.waits)
        )
