"""Signs a copy of each attempt, after all waiting, with the corrected clock."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from htx_async.auth.credentials import Credentials
from htx_async.auth.provider import CredentialStore
from htx_async.auth.signature import canonical_query, signed_query
from htx_async.call_state import SigningContext
from htx_async.clock import Clock, ServerClock
from htx_async.request import Handler, Request, Response


def sign_request(request: Request, credentials: Credentials, host: str, at: float) -> Request:
    """Return a copy of *request*, signed for *host* at *at* (seconds since 1970)."""
    endpoint = request.endpoint
    query = signed_query(endpoint.method, host, request.path, request.params, credentials, at)
    return replace(request, query=query)


class Signing(msgspec.Struct, frozen=True):
    """Middleware that signs each attempt; a request to a public endpoint only gets its query."""

    call_next: Handler
    credentials: CredentialStore
    host: str
    clock: Clock
    server_clock: ServerClock

    async def __call__(self, request: Request) -> Response:
        """Send a signed copy of *request*."""
        if not request.endpoint.signed:
            return await self.call_next(replace(request, query=canonical_query(request.params)))
        credentials, correction = self.credentials.current, self.server_clock.correction()
        assert credentials is not None, "retrying ensures that there are credentials"
        request.call.signed_with = SigningContext(credentials, correction, self.clock.monotonic())
        at = self.clock.now() + correction
        return await self.call_next(sign_request(request, credentials, self.host, at))
