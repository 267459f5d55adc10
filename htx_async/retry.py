"""Whether a read that failed is worth another attempt, and when."""

from __future__ import annotations

from typing import Final

import attrs

from htx_async import validation
from htx_async.errors import DecodeError, HTXError


def _seconds(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    validation.seconds(value, attribute.name)


def _count(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    validation.at_least(value, 1, attribute.name)


@attrs.frozen
class RetryPolicy:
    """
    Repeats what is transient, later and later, at random moments ("full jitter").

    Attributes:
        attempts: How often a read is tried in all.
        base: Seconds that the second attempt waits at most; each further one up to twice as long.
        cap: Seconds beyond which that does not grow.
    """

    attempts: int = attrs.field(default=5, validator=_count)
    base: float = attrs.field(default=0.25, validator=_seconds)
    cap: float = attrs.field(default=8.0, validator=_seconds)

    def delay(self, attempt: int, error: HTXError, left: float, jitter: float) -> float | None:
        """
        Return the seconds until the next attempt; `None`: there is none.

        Args:
            attempt: The how-manieth attempt has failed, from 1 on.
            error: How it failed.
            left: Seconds until nobody waits for the answer any more.
            jitter: A random number from 0 to 1.
        """
        if attempt >= self.attempts or not error.transient or isinstance(error, DecodeError):
            return None
        # A power that large would be no float any more, and is over any cap.
        most = min(self.base * 2 ** min(attempt - 1, 64), self.cap)
        delay = max(most * jitter, error.retry_after or 0.0)
        return delay if delay < left else None


NO_RETRY: Final = RetryPolicy(attempts=1)
"""One attempt. Only a read that HTX refused because of the clock is repeated, once."""
