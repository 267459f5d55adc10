"""What o'clock it is at HTX, told by its own answers."""

from __future__ import annotations

import math

from htx_async.clock import Clock

TOLERATED = 5.0
"""Seconds that the local clock may be off before HTX's is used instead. HTX's answers are dated
to the second, and it takes requests that are at least a minute off."""

MILLISECONDS = range(10**12, 10**14)
"""What a time of day in milliseconds may be: from 2001 on, for three thousand years."""


class ServerTime:
    """
    HTX's time of day. It runs on the monotonic clock from the last answer that told it.

    So a local clock that is wrong, or is set while the program runs, does no harm.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # HTX's time of day less monotonic seconds; `None` until an answer told it.
        self._ahead: float | None = None
        self.measured_at: float = -math.inf

    def heard(self, at: float, began: float) -> None:
        """
        Note that it was *at* (seconds since 1970) when an answer began (monotonic seconds).

        What contradicts a measurement is not HTX's clock, but that of something on the way.
        """
        known = self._ahead if self.measured_at > -math.inf else None
        if known is not None and abs(at - began - known) > TOLERATED:
            return
        self._ahead = at - began

    def measured(self, at: float, began: float) -> None:
        """Note a measurement: from now on HTX's time is used, however small the difference."""
        self._ahead = at - began
        self.measured_at = self._clock.monotonic()

    def offset(self) -> float | None:
        """Return the seconds that HTX is ahead of the local clock; `None`: not known yet."""
        if self._ahead is None:
            return None
        return self._ahead + self._clock.monotonic() - self._clock.now()

    def correction(self) -> float:
        """Return the seconds to be added to the local clock's time."""
        offset = self.offset()
        if offset is None:
            return 0.0
        return offset if self.measured_at > -math.inf or abs(offset) > TOLERATED else 0.0

    def now(self) -> float:
        """Return HTX's time of day, in seconds since 1970."""
        return self._clock.now() + self.correction()
