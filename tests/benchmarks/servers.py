"""Three servers that count requests, each in its own way. Nobody outside knows how HTX does."""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from htx_async.ratelimit.token_bucket import RateLimit


class Server(Protocol):
    """Decides about requests in the order in which they arrive."""

    def admits(self, now: float) -> bool:
        """Tell whether the request that arrives *now* (seconds) is answered, not refused."""
        ...


class FixedWindow:
    """A window opens with the first request after the last one ended, and holds *limit*."""

    def __init__(self, rule: RateLimit) -> None:
        self._rule = rule
        self._ends = 0.0
        self._count = 0

    def admits(self, now: float) -> bool:
        """Count the request in the window that is open."""
        if now >= self._ends:
            self._ends, self._count = now + self._rule.per, 0
        if self._count >= self._rule.requests:
            return False
        self._count += 1
        return True


class SlidingLog:
    """At most *limit* requests in the last *per* seconds."""

    def __init__(self, rule: RateLimit) -> None:
        self._rule = rule
        self._log: deque[float] = deque()

    def admits(self, now: float) -> bool:
        """Count what the log still holds."""
        log = self._log
        while log and log[0] <= now - self._rule.per:
            log.popleft()
        if len(log) >= self._rule.requests:
            return False
        log.append(now)
        return True


class TokenBucket:
    """A bucket of *limit*, full at first, that gets *limit* / *per* a second."""

    ROUNDING: Final = 1e-9

    def __init__(self, rule: RateLimit) -> None:
        self._rule = rule
        self._level = float(rule.requests)
        self._since = 0.0

    def admits(self, now: float) -> bool:
        """Take one, if the bucket holds one."""
        refill = (now - self._since) * self._rule.requests / self._rule.per
        self._level = min(self._level + refill, float(self._rule.requests))
        self._since = now
        if self._level < 1 - self.ROUNDING:
            return False
        self._level -= 1
        return True


SERVERS: Final[dict[str, type[FixedWindow | SlidingLog | TokenBucket]]] = {
    "fixed": FixedWindow,
    "log": SlidingLog,
    "bucket": TokenBucket,
}
