"""Options of a call, and the retry policy among them."""

from __future__ import annotations

import sys
from typing import Final

import attrs
import msgspec

from htx_async import validation
from htx_async.errors import DecodeError, HTXError


def _seconds(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    validation.positive_seconds(value, attribute.name)


def _count(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    validation.int_at_least(value, 1, attribute.name, sys.maxsize)


@attrs.frozen
class RetryPolicy:
    """
    Retries retryable errors with exponential backoff and full jitter.

    Full jitter: the delay before an attempt is a random number from 0 to its longest delay.

    Args:
        attempts: Number of attempts in all, at least 1.
        initial_delay: Longest delay before the second attempt, in seconds, above 0; it doubles for
            each further attempt.
        max_delay: Upper bound of that delay, in seconds, above 0.

    Raises:
        InvalidInputError: A number is out of range.
    """

    attempts: int = attrs.field(default=5, validator=_count)
    initial_delay: float = attrs.field(default=0.25, validator=_seconds)
    max_delay: float = attrs.field(default=8.0, validator=_seconds)

    def delay(self, attempt: int, error: HTXError, left: float, jitter: float) -> float | None:
        """
        Return the seconds until the next attempt; `None` if there is none.

        Args:
            attempt: Number of the failed attempt, starting at 1.
            error: The error of that attempt.
            left: Seconds until the deadline of the last caller.
            jitter: A random number from 0 to 1.
        """
        if attempt >= self.attempts or not error.retryable or isinstance(error, DecodeError):
            return None
        # Larger powers are beyond any `max_delay`, and soon beyond the range of a float.
        longest = min(self.initial_delay * 2 ** min(attempt - 1, 64), self.max_delay)
        delay = max(longest * jitter, error.retry_after or 0.0)
        return delay if delay < left else None


NO_RETRY: Final = RetryPolicy(attempts=1)
"""
One attempt. A request is repeated only, and once, after HTX rejected it because of the clock, or
because of credentials that the provider has replaced.
"""


class RequestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """
    Options of a call.

    Attributes:
        timeout: Seconds for the whole call: queueing, connecting, reading, retrying.
        attempt_timeout: Seconds for one attempt, from acquiring a connection to the last byte.
        retry: The retry policy.
        coalesce: Whether the call may share the request of an identical queued call.
        queue_timeout: Seconds to wait for a rate-limit token; 0: fail fast; `None`: `timeout`.
        max_queue: Calls that may be queued before this one fails; `None`: any number.
        refresh_interval: Seconds after which a credentials provider is called again because HTX
            rejects what it returned.
    """

    timeout: float = 30.0
    attempt_timeout: float = 10.0
    retry: RetryPolicy = RetryPolicy()
    coalesce: bool = True
    queue_timeout: float | None = None
    max_queue: int | None = None
    refresh_interval: float = 30.0

    def __post_init__(self) -> None:
        validation.positive_seconds(self.timeout, "timeout")
        validation.positive_seconds(self.attempt_timeout, "attempt_timeout")
        validation.instance_of(self.retry, RetryPolicy, "retry", "a RetryPolicy or NO_RETRY")
        validation.boolean(self.coalesce, "coalesce")
        if self.queue_timeout is not None:
            validation.seconds(self.queue_timeout, "queue_timeout")
        if self.max_queue is not None:
            validation.int_at_least(self.max_queue, 0, "max_queue")
        validation.seconds(self.refresh_interval, "refresh_interval")
