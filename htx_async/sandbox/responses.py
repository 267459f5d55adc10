"""Responses, and how they become ASGI messages."""

from __future__ import annotations

import functools
import gzip
import math
from email.utils import formatdate
from typing import Any, Literal

import attrs
import msgspec

from htx_async.sandbox.errors import ErrorSpec
from htx_async.sandbox.rate_windows import Admission
from htx_async.sandbox.request import ParsedRequest, Send

ExpireUnit = Literal["milliseconds", "epoch_milliseconds", "epoch_seconds"]
Headers = tuple[tuple[bytes, bytes], ...]

_MIN_GZIP_SIZE = 1024
_GZIP_LEVEL = 1
_PADDING = b" " * 2**16


@attrs.frozen
class SandboxResponse:
    """
    Response to one request. *code*: HTX's error code; `None` for a success or an HTML page.

    *padded_to*: size in bytes; blanks follow a shorter body.
    """

    status: int
    body: bytes
    code: str | int | None = None
    content_type: bytes = b"application/json"
    headers: Headers = ()
    padded_to: int = 0


# A gateway in front of HTX rejects requests with a body; it does not send JSON.
BODY_FORBIDDEN = SandboxResponse(
    403, b"<html><body><h1>403 Forbidden</h1></body></html>", content_type=b"text/html"
)


def json_response(envelope: Any) -> SandboxResponse:
    """Return a response with *envelope* as JSON."""
    return SandboxResponse(200, msgspec.json.encode(envelope))


def error_response(spec: ErrorSpec, version: int) -> SandboxResponse:
    """Return the API error *spec* in the envelope of a path of *version* 1 or 2."""
    envelope: dict[str, Any] = {"code": spec.v2_code, "message": spec.v2_message}
    code = spec.v2_code
    if version == 1:
        code = spec.code
        envelope = {"status": "error", "err-code": code, "err-msg": spec.message, "data": None}
    return SandboxResponse(spec.status, msgspec.json.encode(envelope), code)


def limit_headers(admission: Admission | None, unit: ExpireUnit, now: float) -> Headers:
    """
    Return the rate-limit headers; none for an uncounted request.

    *now*: seconds since 1970-01-01 UTC. HTX does not document the unit of the window's end.
    """
    if admission is None:
        return ()
    expire = {
        "milliseconds": admission.expires_in * 1000,
        "epoch_milliseconds": (now + admission.expires_in) * 1000,
        "epoch_seconds": now + admission.expires_in,
    }[unit]
    return (
        (b"x-hb-ratelimit-requests-remain", b"%d" % admission.remain),
        # Rounded up, so that a client that waits this long is not early. First to a nanosecond,
        # against floating-point errors: 2.0000000001 is 2.
        (b"x-hb-ratelimit-requests-expire", b"%d" % math.ceil(round(expire, 6))),
    )


async def send_response(
    response: SandboxResponse, request: ParsedRequest, extra: Headers, now: float, send: Send
) -> None:
    """Send *response* with the headers *extra*; with gzip if accepted and the body is large."""
    padding = max(0, response.padded_to - len(response.body))
    body = response.body
    encoding: Headers = ()
    if request.accepts_gzip and not padding and len(body) > _MIN_GZIP_SIZE:
        body, encoding = _compressed(body), ((b"content-encoding", b"gzip"),)
    headers = [
        (b"date", formatdate(now, usegmt=True).encode()),
        (b"content-type", response.content_type),
        (b"content-length", b"%d" % (len(body) + padding)),
        *encoding,
        *response.headers,
        *extra,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": padding > 0})
    for remaining in range(padding, 0, -len(_PADDING)):
        part = {"body": _PADDING[:remaining], "more_body": remaining > len(_PADDING)}
        await send({"type": "http.response.body", **part})


@functools.lru_cache(maxsize=64)
def _compressed(body: bytes) -> bytes:
    return gzip.compress(body, _GZIP_LEVEL, mtime=0)
