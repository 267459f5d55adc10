"""
Faults to schedule. Each function returns a `Fault`: the failure of one response.

Response faults work with every sandbox. Connection faults (`refuse`, `hang`, `cut`, `reset`,
`trickle`, `wrong_length`, `answer_and_close`) need a connection: use `Sandbox.serve()`. A request
with a fault is counted, because HTX counts before it fails, and `Sandbox.arrivals` contains it with
the response that was sent; with a connection fault, that should have been sent.

The messages of a stream can have the same faults. In place of a message, `refusal` is a message
with this code, `html` a text that is not JSON, and `gzip_garbage` a binary one; `hang` is a
connection that is silent from then on, although it is open, and `answer_and_close` one that ends
without a close frame. Only a message can be `lost`, `duplicated` and so on. Name the message: see
`FaultSchedule`.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import msgspec

from htx_async.sandbox import connection_faults, message_faults, response_faults
from htx_async.sandbox.connection_faults import Where
from htx_async.sandbox.error_catalogue import CATALOGUE, STREAM_CATALOGUE
from htx_async.sandbox.errors import ErrorSpec
from htx_async.sandbox.fault import Fault
from htx_async.sandbox.response_faults import MISSING, ErrorResponse, Page, parse_path
from htx_async.sandbox.stream.messages import Close
from htx_async.sandbox.validation import check_choice, check_range

__all__ = [
    "CATALOGUE",
    "MISSING",
    "STREAM_CATALOGUE",
    "Fault",
    "answer_and_close",
    "binary",
    "close",
    "cut",
    "delayed",
    "duplicated",
    "field",
    "fragmented",
    "gzip_garbage",
    "hang",
    "html",
    "huge",
    "invalid_utf8",
    "lost",
    "maintenance",
    "redirect",
    "refusal",
    "refuse",
    "reset",
    "skewed",
    "stale",
    "too_many",
    "trickle",
    "unsubscribed",
    "wrong_accept",
    "wrong_length",
]

_REDIRECT_STATUS = 302
# RFC 6455, and the registry of IANA. 1006 and 1015 are for the receiver only.
_CLOSE_CODES = {1000, 1001, 1002, 1003, 1005, *range(1007, 1015), *range(3000, 5000)}
_IN_MAINTENANCE = "System is in maintenance!"


def refusal(code: str | int, message: str = "", *, status: int = 200) -> Fault:
    """
    Respond with an API error with this code and message, in the envelope of the endpoint.

    `CATALOGUE` has every error body that HTX is known to send, by name, and `STREAM_CATALOGUE`
    every error of a stream. On a stream, a request that is refused has no effect; in place of a
    snapshot or push, the error ends the subscription.
    """
    check_range("status", status, 200, 599)
    return ErrorResponse(ErrorSpec.same(code, message, status))


def maintenance() -> Fault:
    """Respond with the API error of maintenance; `html(503)` is what a gateway may send."""
    return ErrorResponse(ErrorSpec("system-maintenance", _IN_MAINTENANCE, 500, _IN_MAINTENANCE))


def stale(seconds: float, *, currencies: Collection[str] | None = None) -> Fault:
    """
    Respond from a replica of HTX's data that is *seconds* behind.

    The sandbox remembers the data before each of the latest 1000 changes.

    Args:
        seconds: Age of the data.
        currencies: Only their balances are old, so that the response mixes two times; `None`: all.
    """
    check_range("seconds", seconds, 0)
    chosen = None if currencies is None else frozenset(currencies)
    return response_faults.Stale(seconds, chosen)


def html(status: int = 502) -> Fault:
    """Respond with an HTML page of a gateway instead of JSON."""
    check_range("status", status, 200, 599)
    return Page(status)


def too_many(*, headers: bool = True, retry_after: float | None = None) -> Fault:
    """
    Respond with a 429, although the rate limit is not exceeded.

    `Sandbox.rate_limited` does not count it: that is the number of requests that did exceed the
    limit.

    Args:
        headers: Whether the response has rate-limit headers, with 0 remaining requests.
        retry_after: Seconds in the header `Retry-After`; `None`: no header.
    """
    if retry_after is not None:
        check_range("retry_after", retry_after, 0)
    return response_faults.RateLimited(headers, retry_after)


def skewed(seconds: float) -> Fault:
    """Set HTX's clock ahead by *seconds* (behind if negative) for this request."""
    if not math.isfinite(seconds):
        message = f"seconds must be finite, got {seconds}"
        raise ValueError(message)
    return response_faults.ClockSkew(seconds)


def field(path: str, value: Any) -> Fault:
    """
    Respond with a wrong *value* of the field at *path*, e.g. `data.list[0].balance`.

    `MISSING` removes the field. A response without that field is sent unchanged.
    """
    parse_path(path)
    json = None if value is MISSING else msgspec.json.encode(value)
    return response_faults.FieldFault(path, json)


def huge(size: int = 200 * 2**20) -> Fault:
    """Respond with a body that is padded to *size* bytes with blanks, which JSON allows."""
    return response_faults.HugeBody(size)


def redirect(location: str = "https://example.com/") -> Fault:
    """Respond with a redirect to another host."""
    return Page(_REDIRECT_STATUS, location)


def gzip_garbage() -> Fault:
    """Respond with a body that is declared as gzip, and is not gzip."""
    return response_faults.InvalidGzip()


def refuse(seconds: float = 0.1) -> Fault:
    """
    Close the port: refuse new connections for *seconds*.

    The connection of the request itself is reset without a response. Other open connections stay
    open.
    """
    check_range("seconds", seconds, 0)
    return connection_faults.Refuse(seconds)


def hang(where: Where = "head") -> Fault:
    """Stop the response before the head, or in the middle of the body, without closing."""
    check_choice("where", where, ("head", "body"))
    return connection_faults.Hang(where)


def cut(after: int | None = None) -> Fault:
    """
    Close the connection after this number of bytes of the body; `None`: half of it.

    Of a message, these are bytes of its frames.
    """
    if after is not None:
        check_range("after", after, 0)
    return connection_faults.Cut(after)


def reset() -> Fault:
    """Reset the connection before the response."""
    return connection_faults.Reset()


def trickle(seconds: float = 0.01) -> Fault:
    """Send the response byte by byte, with *seconds* after each byte."""
    check_range("seconds", seconds, 0)
    return connection_faults.Trickle(seconds)


def wrong_length(by: int = 1) -> Fault:
    """
    Send a `Content-Length` that is *by* bytes too large, or (if negative) too small.

    If it is too large, the connection is closed after the body. If it is too small, the connection
    stays open, with bytes after the end of the response.
    """
    if not by:
        message = "by must not be 0, the right length"
        raise ValueError(message)
    return connection_faults.WrongLength(by)


def answer_and_close() -> Fault:
    """Send a complete response, then close the connection without announcement."""
    return connection_faults.AnswerAndClose()


def wrong_accept() -> Fault:
    """Respond to the handshake of a stream with a wrong `Sec-WebSocket-Accept`."""
    return connection_faults.WrongAccept()


def lost() -> Fault:
    """Do not send the message, although what it reports has happened."""
    return message_faults.Copies(0)


def duplicated(times: int = 2) -> Fault:
    """Send the message *times* times in a row."""
    check_range("times", times, 1)
    return message_faults.Copies(times)


def delayed(seconds: float) -> Fault:
    """Send the message *seconds* later, when newer ones may have been sent."""
    check_range("seconds", seconds, 0)
    return message_faults.Delayed(seconds)


def unsubscribed() -> Fault:
    """
    Let the subscription die: HTX's heartbeat goes on, pushes do not.

    A request that gets this is acknowledged, and has no effect.
    """
    return message_faults.Unsubscribed()


def close(code: int = 1001, reason: str = "") -> Fault:
    """
    Send a close frame instead of the message; 1005: without a code.

    `answer_and_close` closes without a close frame, which clients report as 1006.
    """
    if code not in _CLOSE_CODES:
        message = f"no close frame has the code {code}. For 1006, use answer_and_close()."
        raise ValueError(message)
    return message_faults.Closed(Close(code, reason))


def fragmented(frames: int = 3) -> Fault:
    """Send the message in this number of frames."""
    check_range("frames", frames, 2)
    return message_faults.Fragmented(frames)


def binary() -> Fault:
    """Send the message as binary data."""
    return message_faults.Binary()


def invalid_utf8() -> Fault:
    """Send a text message that is not UTF-8."""
    return message_faults.InvalidUTF8()
