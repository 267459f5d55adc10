"""What a caller may decide, for a client or for a few calls of it."""

from __future__ import annotations

import attrs

from htx_async import inputs
from htx_async.errors import InvalidInputError
from htx_async.retry import RetryPolicy


def _timeout(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    inputs.seconds(value, attribute.name)


def _max_wait(_: object, attribute: attrs.Attribute[float | None], value: object) -> None:
    if value is not None and value != 0:
        inputs.seconds(value, attribute.name)


def _max_waiting(_: object, attribute: attrs.Attribute[int | None], value: object) -> None:
    if value is not None:
        inputs.at_least(value, 0, attribute.name)


def _policy(_: object, attribute: attrs.Attribute[RetryPolicy], value: object) -> None:
    if not isinstance(value, RetryPolicy):
        msg = f"{attribute.name} must be a RetryPolicy or NO_RETRY, not {type(value).__name__}"
        raise InvalidInputError(msg)


@attrs.frozen(kw_only=True)
class Options:
    """
    How a read is made.

    Attributes:
        timeout: Seconds for the whole call: waiting, connecting, reading, repeating.
        retry: What is repeated, how often and how soon.
        share: Whether it may share a request with equal reads that still wait.
        max_wait: Seconds that it may wait for a token; 0: not at all; `None`: up to `timeout`.
        max_waiting: Reads that may wait at a time, this one included; `None`: any number.
    """

    timeout: float = attrs.field(default=30.0, validator=_timeout)
    retry: RetryPolicy = attrs.field(default=RetryPolicy(), validator=_policy)
    share: bool = True
    max_wait: float | None = attrs.field(default=None, validator=_max_wait)
    max_waiting: int | None = attrs.field(default=None, validator=_max_waiting)
