"""
Faults to order, as values: each function says what goes wrong with one answer.

Faults of answers work wherever a sandbox does. Those on the wire (`refuse`, `hang`, `cut`,
`reset`, `trickle`, `wrong_length`, `answer_and_close`) need a connection, which is to say
`Sandbox.serve()`. A request that meets a fault is counted, as HTX counts before it fails, and is
in `Sandbox.arrivals` with what was answered; on the wire, with what should have been.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from htx_async.sandbox import connection_faults
from htx_async.sandbox.connection_faults import Where
from htx_async.sandbox.error_catalogue import CATALOGUE, refused
from htx_async.sandbox.errors import Cause
from htx_async.sandbox.fault import Fault
from htx_async.sandbox.response_faults import (
    MISSING,
    Field,
    GzipGarbage,
    Huge,
    Page,
    Refusal,
    Skewed,
    TooMany,
    steps,
)

__all__ = [
    "CATALOGUE",
    "MISSING",
    "Fault",
    "answer_and_close",
    "cut",
    "field",
    "gzip_garbage",
    "hang",
    "html",
    "huge",
    "maintenance",
    "redirect",
    "refusal",
    "refuse",
    "reset",
    "skewed",
    "too_many",
    "trickle",
    "wrong_length",
]

_FOUND = 302
_IN_MAINTENANCE = "System is in maintenance!"


def refusal(code: str | int, message: str = "", *, status: int = 200) -> Fault:
    """
    HTX refuses with this code and message, in the envelope of the endpoint.

    `CATALOGUE` has every error body that HTX is known to send, by name.
    """
    return refused(code, message, _status(status))


def maintenance() -> Fault:
    """HTX is in maintenance, and says so in JSON; before it, `html(503)` is as likely."""
    return Refusal(Cause("system-maintenance", _IN_MAINTENANCE, 500, _IN_MAINTENANCE))


def html(status: int = 502) -> Fault:
    """A gateway answers with a page where JSON should be."""
    return Page(_status(status))


def too_many(*, headers: bool = True, retry_after: float | None = None) -> Fault:
    """
    HTX refuses with status 429, though there was room.

    *headers*: whether those of the limit are there, and say that nothing is left.
    *retry_after*: seconds, for a header of that name. It does not count in
    `Sandbox.rate_limited`, which tells who really came too often.
    """
    if retry_after is not None:
        _not_negative("retry_after", retry_after)
    return TooMany(headers, retry_after)


def skewed(seconds: float) -> Fault:
    """HTX's clock is so far ahead (or behind: less than 0), in all that it checks and tells."""
    if not math.isfinite(seconds):
        message = f"seconds must be finite: got {seconds}"
        raise ValueError(message)
    return Skewed(seconds)


def field(path: str, value: Any) -> Fault:
    """
    The field at *path*, `data.list[0].balance` say, has this *value*; `MISSING`: it is not there.

    An answer in which there is no such place stays as it is.
    """
    steps(path)
    return Field(path, None if value is MISSING else msgspec.json.encode(value))


def huge(size: int = 200 * 2**20) -> Fault:
    """The answer is followed by blanks (which JSON allows) until it has *size* bytes."""
    return Huge(size)


def redirect(location: str = "https://example.com/") -> Fault:
    """Something before HTX sends the request to another host."""
    return Page(_FOUND, location)


def gzip_garbage() -> Fault:
    """The body says that it is gzip, and is not. Works without a connection, too."""
    return GzipGarbage()


def refuse(seconds: float = 0.1) -> Fault:
    """
    The port is closed for so long: who connects is refused, as by a machine without a server.

    A request has a connection already: that one is reset without an answer. Other connections
    that are open stay open.
    """
    return connection_faults.Refuse(_not_negative("seconds", seconds))


def hang(where: Where = "head") -> Fault:
    """Nothing is answered, or ("body") the head and half of the body, until somebody gives up."""
    if where not in ("head", "body"):
        message = f'where must be "head" or "body": got {where!r}'
        raise ValueError(message)
    return connection_faults.Hang(where)


def cut(after: int | None = None) -> Fault:
    """The connection is closed after so many bytes of the body; `None`: half of it."""
    if after is not None:
        _not_negative("after", after)
    return connection_faults.Cut(after)


def reset() -> Fault:
    """The connection is reset before anything is answered."""
    return connection_faults.Reset()


def trickle(seconds: float = 0.01) -> Fault:
    """The answer comes byte by byte, with so many seconds after each."""
    return connection_faults.Trickle(_not_negative("seconds", seconds))


def wrong_length(by: int = 1) -> Fault:
    """
    The head tells a length that is *by* bytes too large, or (less than 0) too small.

    If too large, the connection is closed after the body; if too small, it stays open with bytes
    that nobody expects.
    """
    if not by:
        message = "by must not be 0: that is the right length"
        raise ValueError(message)
    return connection_faults.WrongLength(by)


def answer_and_close() -> Fault:
    """The answer is whole, but then the connection is closed, which its head did not say."""
    return connection_faults.AnswerAndClose()


def _status(status: int) -> int:
    if not 200 <= status <= 599:  # noqa: PLR2004 - as HTTP has them
        message = f"a status is a number from 200 to 599: got {status}"
        raise ValueError(message)
    return status


def _not_negative(what: str, number: float) -> float:
    if not 0 <= number < math.inf:
        message = f"{what} must not be negative or infinite: got {number}"
        raise ValueError(message)
    return number
