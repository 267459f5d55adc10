"""
Every exception that the package raises, grouped by what a caller can do about it.

HTXError                                  base class
├── InvalidInputError (ValueError)        an argument is wrong; nothing was sent
├── ClientClosedError (RuntimeError)      the client is closed
├── EventLoopError (RuntimeError)         the client belongs to another event loop
├── RateLimitQueueError                   exceeds queue_timeout, max_queue or timeout
├── DeadlineExceededError (TimeoutError)  timeout has passed
├── CredentialsError                      the credentials provider failed
├── TransportError                        no response was received
│   ├── ConnectError                      no connection; the request did not reach HTX
│   └── NoResponseError                   no complete response; it may have reached HTX
├── APIError                              HTX returned an error
│   ├── AuthenticationError               HTX rejected the credentials
│   │   ├── AccessKeyError                HTX does not know the access key
│   │   ├── IPAddressError                the key is bound to other addresses
│   │   ├── KeyExpiredError               the key has expired
│   │   ├── PermissionDeniedError         the key or its user lacks a permission
│   │   ├── SignatureError                the secret does not belong to the access key
│   │   └── ClockError                    the request's time is too far from HTX's
│   ├── AccountNotFoundError              the user has no such account
│   ├── RateLimitedError                  429, or one of HTX's codes for it
│   └── ServiceUnavailableError           maintenance, gateway, 5xx, HTML instead of JSON
└── DecodeError                           the response cannot be decoded

All of them can be pickled and copied. None is chained to an exception of a library: those
carry the signed URL. The library's message is part of the text, with secrets redacted.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, TypedDict, TypeVar, Unpack

E = TypeVar("E", bound="HTXError")

Delivery = Literal["not_sent", "unknown", "answered"]
"""Whether the request reached HTX: it was not sent, it may have arrived, or HTX responded."""


class ErrorDetails(TypedDict, total=False):
    """Attributes of an error besides its text."""

    endpoint: str | None
    retryable: bool
    delivery: Delivery
    code: str | int | None
    message: str | None
    http_status: int | None
    retry_after: float | None
    headers: Mapping[str, str]
    attempts: tuple[HTXError, ...]


class HTXError(Exception):
    """
    Base class of all errors of this package.

    Attributes:
        endpoint: Method and path as HTX documents them; `None` if no endpoint is involved.
        retryable: Whether the same call may succeed a little later.
        delivery: Whether the request (the last attempt, if there were several) reached HTX:
            `"not_sent"`, `"unknown"` (it may have) or `"answered"`.
        code: HTX's error code: `err-code` of a v1 response (text), `code` of a v2 response (int).
        message: HTX's error message: `err-msg` or `message`.
        http_status: HTTP status of the response.
        retry_after: Seconds after which the call may be repeated; `None`: not known.
        headers: Headers of the response by which HTX, or its CDN, identifies the request, names in
            lower case: quote them to HTX's support.
        attempts: The error of each failed attempt of the call, in order. If the last attempt
            failed with this error, the last one is a copy of it. Empty: there was no attempt.
    """

    endpoint: str | None = None
    retryable: bool = False
    delivery: Delivery = "not_sent"
    code: str | int | None = None
    message: str | None = None
    http_status: int | None = None
    retry_after: float | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    attempts: tuple[HTXError, ...] = ()

    def __init__(self, text: str, **details: Unpack[ErrorDetails]) -> None:
        super().__init__(text)
        self.__dict__.update(details)

    def __str__(self) -> str:
        text = str(self.args[0]) if self.args else ""
        return f"{self.endpoint}: {text}" if self.endpoint else text


def copy_error(error: E) -> E:
    """Return a copy of *error* without its traceback; notes of one are not on the other."""
    copied = copy.copy(error)
    if notes := getattr(error, "__notes__", None):
        copied.__notes__ = list(notes)
    return copied


def with_attempts(error: E, earlier: Sequence[HTXError], *, is_attempt: bool = True) -> E:
    """
    Return a copy of *error* with the failed attempts of its call, each also as a note.

    Args:
        error: The error that the caller gets.
        earlier: The errors of the attempts before it.
        is_attempt: Whether *error* ended an attempt, too.
    """
    copied = copy_error(error)
    copied.attempts = (*earlier, error) if is_attempt else tuple(earlier)
    for number, failure in enumerate(earlier, 1):
        copied.add_note(f"attempt {number}: {type(failure).__name__}: {failure}")
    if earlier and is_attempt:
        copied.add_note(f"attempt {len(earlier) + 1}: this error")
    return copied


class InvalidInputError(HTXError, ValueError):
    """An argument or setting is wrong. Nothing was sent."""


class ClientClosedError(HTXError, RuntimeError):
    """The client is closed."""


class EventLoopError(HTXError, RuntimeError):
    """The client belongs to another event loop. Nothing was sent."""


class RateLimitQueueError(HTXError):
    """
    The call was queued too long: see `queue_timeout`, `max_queue` and `timeout`. Nothing was sent.

    With a `RedisRateLimiter` also: Redis is unavailable; if its configuration is wrong, the error
    is not `retryable`. `retry_after` is the expected delay in seconds until a token is available;
    `None`: not known.
    """

    retryable = True


class DeadlineExceededError(HTXError, TimeoutError):
    """The call's `timeout` has passed. Its `delivery` is that of the last attempt."""

    retryable = True


class CredentialsError(HTXError):
    """
    The credentials provider failed. Nothing was sent.

    A note contains what the provider raised, with secrets redacted.
    """

    retryable = True


class TransportError(HTXError):
    """No response was received."""

    retryable = True


class ConnectError(TransportError):
    """No connection could be made. The request did not reach HTX."""


class NoResponseError(TransportError):
    """No complete response was received. The request may have reached HTX."""

    delivery: Delivery = "unknown"


class APIError(HTXError):
    """HTX returned an error: see `code` and `message`."""

    delivery: Delivery = "answered"


class AuthenticationError(APIError):
    """HTX rejected the credentials."""


class AccessKeyError(AuthenticationError):
    """HTX does not know this access key, or it was missing."""


class IPAddressError(AuthenticationError):
    """The key is bound to IP addresses, and the request came from another one."""


class KeyExpiredError(AuthenticationError):
    """The key has expired. A key that is not bound to an IP address is valid for 90 days."""


class PermissionDeniedError(AuthenticationError):
    """The key is valid, but the key or its user lacks the permission for this request."""


class SignatureError(AuthenticationError):
    """The signature does not match: most likely the secret key belongs to another access key."""


class ClockError(AuthenticationError):
    """The time in the request is too far from HTX's time."""


class AccountNotFoundError(APIError):
    """The account does not exist, or it belongs to another user."""


class RateLimitedError(APIError):
    """HTX counted too many requests of this user at this endpoint (429)."""

    retryable = True


class ServiceUnavailableError(APIError):
    """HTX cannot respond now: maintenance, a gateway error, or HTML instead of JSON."""


class DecodeError(HTXError):
    """
    The response cannot be decoded: a field that matters is missing or malformed. Never retried.

    Attributes:
        path: Where, for example `data.list[3].balance`.
    """

    delivery: Delivery = "answered"
    path: str = ""

    def __init__(self, text: str, *, path: str = "", **details: Unpack[ErrorDetails]) -> None:
        super().__init__(text, **details)
        self.path = path
