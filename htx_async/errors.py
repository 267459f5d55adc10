"""
Everything that can go wrong, by what a caller would do about it.

HTXError
├── InvalidInputError (ValueError)        nothing was sent: mend the call
├── ClientClosedError (RuntimeError)      the client is closed, or serves another event loop
├── BudgetError                           no token within `max_wait` or `max_waiting`
├── DeadlineExceededError (TimeoutError)  `timeout` is over
├── NotSentError                          it surely did not reach HTX
├── NoAnswerError                         it may have reached HTX
├── RefusedError                          HTX said no
│   ├── AuthenticationError
│   │   ├── AccessKeyError                HTX does not know the access key
│   │   ├── IPAddressError                the key is bound to other addresses
│   │   ├── KeyExpiredError
│   │   ├── PermissionDeniedError         the key, or the user, may not do this
│   │   ├── SignatureError                the secret does not fit the access key
│   │   └── ClockError                    the time of the request is too far from HTX's
│   ├── AccountNotFoundError
│   ├── RateLimitedError
│   └── UnavailableError                  maintenance, gateway, 5xx, a page instead of JSON
└── DecodeError                           an answer that cannot be trusted

All of them can be pickled and copied. None is chained to an error of a lower layer: those
carry the signed URL. What a lower layer said is kept as a note, cleaned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict, TypeVar, Unpack

E = TypeVar("E", bound="HTXError")

Fate = Literal["not_sent", "unknown", "answered"]
"""What became of the request: it never left, it may have arrived, or HTX answered it."""


class Facts(TypedDict, total=False):
    """What is known of a failure besides its text."""

    endpoint: str | None
    transient: bool
    fate: Fate
    code: str | int | None
    message: str | None
    http_status: int | None
    retry_after: float | None


class HTXError(Exception):
    """
    The base of all errors of this package.

    Attributes:
        endpoint: Method and path, as HTX's pages write it; `None` where no endpoint is meant.
        transient: Whether the same call may well succeed a little later.
        fate: What became of the request (of its last attempt, where there were several).
        code: HTX's own: `err-code` of a v1 answer (text), `code` of a v2 answer (a number).
        message: HTX's own words: `err-msg` or `message`.
        http_status: The status of the HTTP answer.
        retry_after: Seconds after which HTX will take requests again, where it said so.
    """

    endpoint: str | None = None
    transient: bool = False
    fate: Fate = "not_sent"
    code: str | int | None = None
    message: str | None = None
    http_status: int | None = None
    retry_after: float | None = None

    def __init__(self, text: str, **facts: Unpack[Facts]) -> None:
        super().__init__(text)
        self.__dict__.update(facts)

    def __str__(self) -> str:
        text = str(self.args[0]) if self.args else ""
        return f"{self.endpoint}: {text}" if self.endpoint else text


def told(error: E, earlier: Sequence[HTXError]) -> E:
    """Return *error* with the attempts before it in its notes."""
    for number, failure in enumerate(earlier, 1):
        error.add_note(f"attempt {number}: {type(failure).__name__}: {failure}")
    if earlier:
        error.add_note(f"attempt {len(earlier) + 1}: this error")
    return error


class InvalidInputError(HTXError, ValueError):
    """The call cannot be right as it stands. Nothing was sent."""


class ClientClosedError(HTXError, RuntimeError):
    """The client is closed, or it serves another event loop. Nothing was sent."""


class BudgetError(HTXError):
    """
    There is no token within `max_wait`, or `max_waiting` are waiting already. Nothing was sent.

    Attributes:
        wait: Seconds that a token would have taken, as far as that can be told now.
    """

    transient = True
    wait: float = 0.0

    def __init__(self, text: str, *, wait: float = 0.0, **facts: Unpack[Facts]) -> None:
        super().__init__(text, **facts)
        self.wait = wait


class DeadlineExceededError(HTXError, TimeoutError):
    """The call's `timeout` is over. Its `fate` is that of the last attempt."""

    transient = True


class NotSentError(HTXError):
    """The request surely did not reach HTX: no connection could be made."""

    transient = True


class NoAnswerError(HTXError):
    """No whole answer came. HTX may have had the request, or not."""

    transient = True
    fate: Fate = "unknown"


class RefusedError(HTXError):
    """HTX answered, and said no: see `code` and `message`."""

    fate: Fate = "answered"


class AuthenticationError(RefusedError):
    """HTX does not accept who asks."""


class AccessKeyError(AuthenticationError):
    """HTX does not know this access key, or it was missing."""


class IPAddressError(AuthenticationError):
    """The key is bound to IP addresses, and the request came from another one."""


class KeyExpiredError(AuthenticationError):
    """The key has expired. One that is not bound to an IP address lives for 90 days."""


class PermissionDeniedError(AuthenticationError):
    """The key is good, but it, or its user, may not do this."""


class SignatureError(AuthenticationError):
    """The signature does not fit: most likely the secret key belongs to another access key."""


class ClockError(AuthenticationError):
    """The time in the request is too far from HTX's own."""


class AccountNotFoundError(RefusedError):
    """There is no such account, or it belongs to somebody else."""


class RateLimitedError(RefusedError):
    """HTX counted too many requests of this user at this endpoint."""

    transient = True


class UnavailableError(RefusedError):
    """HTX cannot answer now: maintenance, a gateway's error, or a page where JSON should be."""


class DecodeError(HTXError):
    """
    The answer is not what HTX's pages promise, in a place that matters. Never retried.

    Attributes:
        path: Where, for example `data.list[3].balance`.
    """

    fate: Fate = "answered"
    path: str = ""

    def __init__(self, text: str, *, path: str = "", **facts: Unpack[Facts]) -> None:
        super().__init__(text, **facts)
        self.path = path
