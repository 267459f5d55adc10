"""Many deadlines, and one timer for all of them: nearly everybody is gone before it rings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncio

    from htx_async.clock import Clock

Alarm: TypeAlias = Callable[[], object]


class Alarms:
    """
    Calls whoever is still there when a time is over.

    To set and to unset one costs next to nothing. The timer stays as it is when the one that it
    was set for goes, and is set anew when it has rung.
    """

    __slots__ = ("_at", "_clock", "_timer", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # By how many seconds they take: of those that take as long, the first is due first.
        self._waiting: dict[float, dict[Alarm, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf

    def set(self, seconds: float, alarm: Alarm, now: float) -> None:
        """Call *alarm* in *seconds* from *now* (monotonic seconds), unless it is unset before."""
        due = now + seconds
        waiting = self._waiting.get(seconds)
        if waiting is None:
            waiting = self._waiting[seconds] = {}
        waiting[alarm] = due
        if due < self._at:
            self._wake_at(due)

    def unset(self, seconds: float, alarm: Alarm) -> None:
        """Let *alarm* be, whether it was called or not."""
        waiting = self._waiting.get(seconds)
        if waiting is not None and waiting.pop(alarm, None) is not None and not waiting:
            del self._waiting[seconds]

    def stop(self) -> None:
        """Stop the timer: nobody waits any more."""
        self._wake_at(math.inf)

    def _wake_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._at = None, math.inf
        if due < math.inf:
            delay = max(due - self._clock.monotonic(), 0.0)
            self._timer, self._at = self._clock.call_later(delay, self._ring), due

    def _ring(self) -> None:
        # A timer may go off a little before its moment, by rounding: it is believed.
        now = max(self._clock.monotonic(), self._at)
        self._timer, self._at = None, math.inf
        try:
            for seconds, alarm in self._due(now):
                self.unset(seconds, alarm)
                alarm()
        finally:  # one that fails hurts no other
            firsts = (next(iter(waiting.values())) for waiting in self._waiting.values())
            self._wake_at(min(firsts, default=math.inf))

    def _due(self, now: float) -> list[tuple[float, Alarm]]:
        found: list[tuple[float, Alarm]] = []
        for seconds, waiting in self._waiting.items():
            for alarm, due in waiting.items():
                if due > now:
                    break
                found.append((seconds, alarm))
        return found
