"""
Signs a copy of each request, as late as can be.

HTX, "Authentication": https://www.htx.com/en-us/opend/newApiPages/ (Signature method).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from urllib.parse import quote

import attrs

from htx_async.clock import Clock
from htx_async.credentials import Credentials
from htx_async.keys import Keys
from htx_async.servertime import ServerTime
from htx_async.transport.flight import Signed
from htx_async.transport.request import Request, Response, Send


def canonical(params: Iterable[tuple[str, str]]) -> str:
    """
    Return the query as HTX signs it: names in ASCII order, only unreserved characters bare.

    >>> canonical([("b", "a b"), ("a", "1:2~")])
    'a=1%3A2~&b=a%20b'
    """
    return "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted(params))


def timestamp(at: float) -> str:
    """
    Return *at* (seconds since 1970) as HTX wants it: UTC, whole seconds, no zone.

    >>> timestamp(1494515970.9)
    '2017-05-11T15:19:30'
    """
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def sign(request: Request, credentials: Credentials, host: str, at: float) -> Request:
    """Return a copy of *request* that is signed for *host* at *at* (seconds since 1970)."""
    query = canonical(credentials.parameters(timestamp(at)) + request.params)
    text = f"{request.endpoint.method.upper()}\n{host.lower()}\n{request.path}\n{query}"
    signature = quote(credentials.signature(text), safe="")
    return attrs.evolve(request, query=f"{query}&Signature={signature}")


@attrs.frozen
class Signing:
    """The layer that signs: by the corrected clock, after all waiting."""

    send: Send
    keys: Keys
    host: str
    clock: Clock
    time: ServerTime

    async def __call__(self, request: Request) -> Response:
        """Send a signed copy of *request*."""
        if not request.endpoint.signed:
            query = canonical(request.params)
            return await self.send(attrs.evolve(request, query=query))
        keys, now = self.keys.credentials, self.clock.now()
        correction = self.time.correction()
        request.flight.signed = Signed(keys, correction, self.clock.monotonic())
        return await self.send(sign(request, keys, self.host, now + correction))
