"""Wall clock, monotonic clock, sleeping and timers behind one interface; and HTX's clock."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable

MAX_UNCORRECTED_SKEW = 5.0
"""Seconds that the local clock may be off before HTX's time is used instead. HTX's `Date` header
has whole seconds, and HTX accepts requests that are at least a minute off."""

PLAUSIBLE_EPOCH_MS = range(10**12, 10**14)
"""Milliseconds since 1970 that can be a time of day: from 2001 on, for three thousand years."""

_log = logging.getLogger("htx_async")


class Clock:
    """
    The system's clock. Subclass it to control time, for example in a simulation.

    The package takes every timestamp from here, and every wait goes through here. In a subclass,
    `monotonic`, `sleep`, `timeout` and `call_later` must follow the same time.
    """

    def now(self) -> float:
        """Return the wall-clock time, in seconds since 1970-01-01 UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds on a clock that is never set; only differences are meaningful."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for *seconds*."""
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        """Return a context manager that raises `TimeoutError` after *seconds*; `None`: never."""
        return asyncio.timeout(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call *callback* on the running loop after *seconds*."""
        return asyncio.get_running_loop().call_later(seconds, callback)


class ServerClock:
    """
    HTX's wall clock, estimated from its responses.

    The estimate advances with the monotonic clock, so a local wall clock that is wrong, or is
    set while the program runs, does not affect it.

    Attributes:
        calibrated_at: When HTX's time was requested, in monotonic seconds; `-inf`: never, or a
            later response contradicted it.
        observed_at: When a response last had a time, in monotonic seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # HTX's wall clock minus monotonic seconds; `None` before the first response.
        self._monotonic_offset: float | None = None
        self._date_error: float = 0.0
        self._last_date: tuple[float, float] | None = None
        self.calibrated_at: float = -math.inf
        self._logged_correction: float = 0.0
        self.observed_at: float = -math.inf

    def observe(self, server_time: float, first_byte_at: float) -> None:
        """
        Record the time in a response.

        It replaces the estimate. If it contradicts a calibration, that is dropped: the monotonic
        clock of some systems stops while they sleep.

        Args:
            server_time: HTX's time in the response, in seconds since 1970.
            first_byte_at: When the response began to arrive, in monotonic seconds.
        """
        self._last_date = server_time, first_byte_at
        offset = server_time - first_byte_at - self._date_error
        estimate = offset if self._monotonic_offset is None else self._monotonic_offset
        if abs(offset - estimate) > MAX_UNCORRECTED_SKEW:
            self.calibrated_at = -math.inf
        self._monotonic_offset, self.observed_at = offset, first_byte_at

    def calibrate(self, server_time: float, first_byte_at: float) -> None:
        """
        Record a measurement; from now on requests are signed with HTX's time.

        If the `Date` of the same response differs, dates are those of a proxy with another clock:
        later ones are corrected by the difference.
        """
        date, date_at = self._last_date or (server_time, first_byte_at)
        error = date - server_time if date_at == first_byte_at else 0.0
        self._date_error = error if abs(error) > MAX_UNCORRECTED_SKEW else 0.0
        self._monotonic_offset = server_time - first_byte_at
        self.calibrated_at = self.observed_at = self._clock.monotonic()
        if not self._logged_correction:  # else `correction` logs a change
            self._log_correction(self.offset() or 0.0)

    def offset(self) -> float | None:
        """Return the seconds that HTX's clock is ahead of the local one; `None`: not known yet."""
        if self._monotonic_offset is None:
            return None
        return self._monotonic_offset + self._clock.monotonic() - self._clock.now()

    def correction(self) -> float:
        """Return the seconds to add to the local wall clock."""
        offset = self.offset()
        if offset is None:
            return 0.0
        is_needed = self.calibrated_at > -math.inf or abs(offset) > MAX_UNCORRECTED_SKEW
        correction = offset if is_needed else 0.0
        if abs(correction - self._logged_correction) > MAX_UNCORRECTED_SKEW:
            self._log_correction(correction)
        return correction

    def _log_correction(self, correction: float) -> None:
        self._logged_correction = correction
        time = "HTX's time" if correction else "the local time"
        direction = "ahead of" if correction >= 0 else "behind"
        _log.info(
            "HTX's clock is %.3f s %s this machine's: requests are signed with %s",
            abs(self.offset() or 0.0),
            direction,
            time,
        )

    def advice(self) -> str:
        """Return what is known about the offset, and the fix, for an error about the clock."""
        offset = self.offset()
        if offset is None:
            return "HTX's time could not be measured: set this machine's clock by NTP."
        direction = "ahead of" if offset >= 0 else "behind"
        measured = f"HTX's clock is {abs(offset):.3f} s {direction} this machine's"
        if abs(offset) > MAX_UNCORRECTED_SKEW:
            return f"{measured}, which the client corrects: set this machine's clock by NTP."
        return f"{measured}, which is not the cause: something delays requests, such as a proxy."

    def now(self) -> float:
        """Return HTX's wall-clock time, in seconds since 1970."""
        return self._clock.now() + self.correction()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the running event loop, or `None` outside of one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
