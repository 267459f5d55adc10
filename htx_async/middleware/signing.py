"""
Signs a copy of each request, as late as can be.

HTX, "Authentication": https://www.htx.com/en-us/opend/newApiPages/ (Signature method).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from htx_async.auth.credentials import Credentials
from htx_async.auth.provider import Keys
from htx_async.call_state import Signed
from htx_async.clock import Clock
from htx_async.request import Request, Response, Send
from htx_async.servertime import ServerTime


def canonical(params: Iterable[tuple[str, str]]) -> str:
    """
    Return the query as HTX signs it: names in ASCII order, only unreserved characters bare.

    >>> canonical([("b", "a b"), ("a", "1:2~")])
    'a=1%3A2~&b=a%20b'
    """
    from urllib.parse import quote  # noqa: PLC0415 - once for each query, then it is remembered

    return "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted(params))


def timestamp(at: float) -> str:
    """
    Return *at* (seconds since 1970) as HTX wants it: UTC, whole seconds, no zone.

    >>> timestamp(1494515970.9)
    '2017-05-11T15:19:30'
    """
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


@functools.lru_cache(maxsize=4)
def _second(at: int) -> str:
    return timestamp(at).replace(":", "%3A")


@functools.lru_cache(maxsize=256)
def _around(params: tuple[tuple[str, str], ...]) -> tuple[str, str] | None:
    """Return what comes before the authentication and after it; `None`: they mingle."""
    if all(name < _FIRST for name, _ in params):
        return f"{canonical(params)}&" if params else "", ""
    return ("", f"&{canonical(params)}") if all(name > _LAST for name, _ in params) else None


_FIRST, _LAST = "AccessKeyId", "Timestamp"


def signed_query(params: tuple[tuple[str, str], ...], credentials: Credentials, at: float) -> str:
    """
    Return the query that tells who asks and when, as HTX signs it: see `canonical`.

    Nearly all of it is the same each time, and is made once.
    """
    around = _around(params)
    if around is None:
        return canonical((*credentials.parameters(), (_LAST, timestamp(at)), *params))
    return f"{around[0]}{credentials.query()}&{_LAST}={_second(int(at))}{around[1]}"


def sign(request: Request, credentials: Credentials, host: str, at: float) -> Request:
    """Return a copy of *request* that is signed for *host* at *at* (seconds since 1970)."""
    query = signed_query(request.params, credentials, at)
    text = f"{request.endpoint.method.upper()}\n{host.lower()}\n{request.path}\n{query}"
    signature = credentials.signature(text).replace("+", "%2B").replace("/", "%2F")
    signed = f"{query}&Signature={signature.replace('=', '%3D')}"  # no other is in base64
    return replace(request, query=signed)


class Signing(msgspec.Struct, frozen=True):
    """The layer that signs: by the corrected clock, after all waiting."""

    send: Send
    keys: Keys
    host: str
    clock: Clock
    time: ServerTime

    async def __call__(self, request: Request) -> Response:
        """Send a signed copy of *request*."""
        if not request.endpoint.signed:
            return await self.send(replace(request, query=canonical(request.params)))
        keys, now = self.keys.credentials, self.clock.now()
        correction = self.time.correction()
        request.flight.signed = Signed(keys, correction, self.clock.monotonic())
        return await self.send(sign(request, keys, self.host, now + correction))
