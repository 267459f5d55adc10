"""Why an HTTP exchange failed, before it becomes an error of the package or of httpx."""

from __future__ import annotations

from typing import Literal

from htx_async.errors import ConnectError, NoResponseError, TransportError
from htx_async.validation import Origin

FailureKind = Literal[
    "PoolTimeout",
    "ConnectTimeout",
    "ConnectError",
    "ProxyError",
    "ReadTimeout",
    "ReadError",
    "RemoteProtocolError",
]

_NOT_SENT: frozenset[FailureKind] = frozenset(
    {"PoolTimeout", "ConnectTimeout", "ConnectError", "ProxyError"}
)


class ExchangeError(Exception):
    """
    An exchange without a complete response.

    Attributes:
        kind: The name of httpx's exception for it.
        retryable: Whether the same exchange may succeed a little later.
    """

    def __init__(self, text: str, kind: FailureKind, *, retryable: bool = True) -> None:
        super().__init__(text)
        self.kind: FailureKind = kind
        self.retryable = retryable

    @property
    def is_sent(self) -> bool:
        """Whether the request may have reached the server."""
        return self.kind not in _NOT_SENT

    def to_transport_error(self, origin: Origin, endpoint: str | None = None) -> TransportError:
        """Return the package's error for this failure of an exchange with *origin*."""
        if self.is_sent:
            return NoResponseError(f"{origin}: {self}", endpoint=endpoint)
        return ConnectError(str(self), endpoint=endpoint, retryable=self.retryable)


def too_late() -> ExchangeError:
    """Return the failure of an attempt whose time was over before its request was sent."""
    text = (
        "the time of the attempt was over before the request was sent. "
        "Look for functions that block the event loop, and for a process that was paused"
    )
    return ExchangeError(text, "ConnectTimeout")
