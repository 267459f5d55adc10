"""Time, all of it: what o'clock it is, how long something took, and waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Clock:
    """
    The system's time. Subclass it to let time run differently, in a simulation say.

    Every moment that this package notes, and every wait that it makes, goes through here. Whatever
    runs differently, `monotonic` and the three that wait must be of one time.
    """

    def now(self) -> float:
        """Return the time of day, in seconds since 1970-01-01 UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds on a clock that is never set: only differences mean something."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let *seconds* pass."""
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        """Return a context that raises `TimeoutError` after *seconds*; `None`: never."""
        return asyncio.timeout(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call *callback* on the running loop once *seconds* have passed."""
        return asyncio.get_running_loop().call_later(seconds, callback)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs here, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
