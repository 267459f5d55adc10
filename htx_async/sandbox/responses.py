"""Answers: what goes back, and how it is put into ASGI messages."""

from __future__ import annotations

import functools
import gzip
import math
from email.utils import formatdate
from typing import Any, Literal

import attrs
import msgspec

from htx_async.sandbox.rate_windows import Verdict
from htx_async.sandbox.request import Asked, Send

ExpireUnit = Literal["milliseconds", "epoch_milliseconds", "epoch_seconds"]
Headers = tuple[tuple[bytes, bytes], ...]

_WORTH_ZIPPING = 1024
_GZIP_LEVEL = 1
_BLANKS = b" " * 2**16


@attrs.frozen
class Answer:
    """
    What a request gets. *code*: HTX's error code; `None` for a success or a bare page.

    *padded_to*: blanks follow the body until there are so many bytes.
    """

    status: int
    body: bytes
    code: str | int | None = None
    content_type: bytes = b"application/json"
    headers: Headers = ()
    padded_to: int = 0


# What stands before HTX's servers refuses it, and does not speak JSON.
CARRIES_A_BODY = Answer(
    403, b"<html><body><h1>403 Forbidden</h1></body></html>", content_type=b"text/html"
)


def json_answer(envelope: Any, code: str | int | None = None, status: int = 200) -> Answer:
    """Return an answer with *envelope* as JSON."""
    return Answer(status, msgspec.json.encode(envelope), code)


def limit_headers(verdict: Verdict | None, unit: ExpireUnit, now: float) -> Headers:
    """
    Return the headers that tell what is left of a limit.

    *now*: seconds since 1970-01-01 UTC. In which unit HTX tells the end of the window is not
    documented.
    """
    if verdict is None:
        return ()
    expire = {
        "milliseconds": verdict.expires_in * 1000,
        "epoch_milliseconds": (now + verdict.expires_in) * 1000,
        "epoch_seconds": now + verdict.expires_in,
    }[unit]
    return (
        (b"x-hb-ratelimit-requests-remain", b"%d" % verdict.remain),
        # Rounded up: who waits so long finds it over. First to a nanosecond: 2.0000000001 is 2.
        (b"x-hb-ratelimit-requests-expire", b"%d" % math.ceil(round(expire, 6))),
    )


async def send_answer(answer: Answer, asked: Asked, extra: Headers, now: float, send: Send) -> None:
    """Send *answer* with the headers *extra*, zipped where that was asked for and is worth it."""
    blanks = max(0, answer.padded_to - len(answer.body))
    body, encoding = _coded(answer.body, accepts_gzip=asked.accepts_gzip and not blanks)
    headers = [
        (b"date", formatdate(now, usegmt=True).encode()),
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % (len(body) + blanks)),
        *encoding,
        *answer.headers,
        *extra,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": blanks > 0})
    for left in range(blanks, 0, -len(_BLANKS)):
        more = {"body": _BLANKS[:left], "more_body": left > len(_BLANKS)}
        await send({"type": "http.response.body", **more})


def _coded(body: bytes, *, accepts_gzip: bool) -> tuple[bytes, Headers]:
    if not accepts_gzip or len(body) <= _WORTH_ZIPPING:
        return body, ()
    return _zipped(body), ((b"content-encoding", b"gzip"),)


@functools.lru_cache(maxsize=64)
def _zipped(body: bytes) -> bytes:
    return gzip.compress(body, _GZIP_LEVEL, mtime=0)
