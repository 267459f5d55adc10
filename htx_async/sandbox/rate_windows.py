"""How requests are counted: three rules, with time as an argument. Times are in seconds."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from typing import Literal, Protocol

import attrs

WindowRule = Literal["fixed", "sliding", "bucket"]


@attrs.frozen
class Verdict:
    """
    What a window says to a request.

    *remain*: how many more it would admit now. *expires_in*: seconds until it gives something
    back.
    """

    admitted: bool
    remain: int
    expires_in: float


class Window(Protocol):
    """A count of requests. Time must not run backwards."""

    def admit(self, at: float) -> Verdict:
        """Count a request that arrives at *at*, unless it is one too many."""
        ...


class FixedWindow:
    """Opens with the first request, lasts *per* seconds and admits *limit* requests."""

    def __init__(self, limit: int, per: float) -> None:
        self._limit = limit
        self._per = per
        self._closes = -math.inf
        self._used = 0

    def admit(self, at: float) -> Verdict:
        """Count a request that arrives at *at*, unless it is one too many."""
        if at >= self._closes:
            self._closes = at + self._per
            self._used = 0
        admitted = self._used < self._limit
        self._used += admitted
        return Verdict(admitted, self._limit - self._used, self._closes - at)


class SlidingWindow:
    """Admits a request if fewer than *limit* were admitted in the *per* seconds before it."""

    def __init__(self, limit: int, per: float) -> None:
        self._limit = limit
        self._per = per
        self._ends: deque[float] = deque()

    def admit(self, at: float) -> Verdict:
        """Count a request that arrives at *at*, unless it is one too many."""
        while self._ends and at >= self._ends[0]:
            self._ends.popleft()
        admitted = len(self._ends) < self._limit
        if admitted:
            self._ends.append(at + self._per)
        return Verdict(admitted, self._limit - len(self._ends), self._ends[0] - at)


class TokenBucket:
    """Holds at most *limit* tokens, gets *limit* of them per *per* seconds; a request takes one."""

    # So much of a token may be missing: what rounding of times makes of 1.
    _TOLERANCE = 1e-6

    def __init__(self, limit: int, per: float) -> None:
        self._limit = limit
        self._rate = limit / per
        self._tokens = float(limit)
        self._at = -math.inf

    def admit(self, at: float) -> Verdict:
        """Count a request that arrives at *at*, unless it is one too many."""
        self._tokens = min(float(self._limit), self._tokens + (at - self._at) * self._rate)
        self._at = at
        admitted = self._tokens >= 1 - self._TOLERANCE
        if admitted:
            self._tokens = max(0.0, self._tokens - 1)
        whole = math.floor(self._tokens + self._TOLERANCE)
        return Verdict(admitted, whole, (whole + 1 - self._tokens) / self._rate)


_RULES: dict[WindowRule, type[FixedWindow | SlidingWindow | TokenBucket]] = {
    "fixed": FixedWindow,
    "sliding": SlidingWindow,
    "bucket": TokenBucket,
}


class Windows:
    """A window for each thing that is counted, all of one rule, with limits times *factor*."""

    def __init__(self, rule: WindowRule, factor: float = 1) -> None:
        if rule not in _RULES:
            message = f"window must be one of {', '.join(_RULES)}"
            raise ValueError(message)
        if not 0 < factor < math.inf:
            message = "limits must be True, False or a number above 0"
            raise ValueError(message)
        self._make = _RULES[rule]
        self._factor = factor
        self._windows: dict[Hashable, Window] = {}

    def admit(self, counted: Hashable, limit: int, per: float, at: float) -> Verdict:
        """Count a request at *at*, one of *limit* (times the factor) per *per* seconds."""
        window = self._windows.get(counted)
        if window is None:
            scaled = max(1, math.floor(limit * self._factor))
            window = self._windows[counted] = self._make(scaled, per)
        return window.admit(at)

    def clear(self) -> None:
        """Forget all that was counted."""
        self._windows.clear()
