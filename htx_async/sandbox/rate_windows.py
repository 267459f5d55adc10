"""Rules that count requests against a rate limit. Times are arguments, in seconds."""

from __future__ import annotations

import abc
import math
from collections import deque
from collections.abc import Hashable
from typing import Literal

import attrs

from htx_async.sandbox.validation import check_choice

WindowRule = Literal["fixed", "sliding", "bucket"]


@attrs.frozen
class Admission:
    """
    Decision of a window about one request.

    *remain*: number of further requests that it would admit now. *expires_in*: seconds until it
    admits another one.
    """

    admitted: bool
    remain: int
    expires_in: float


class Window(abc.ABC):
    """Limit of *limit* requests per *per* seconds. Time must not run backwards."""

    def __init__(self, limit: int, per: float) -> None:
        self._limit = limit
        self._per = per

    @abc.abstractmethod
    def admit(self, at: float) -> Admission:
        """Count the request that arrives at *at*, if the limit allows it."""


class FixedWindow(Window):
    """Window that opens with the first request and lasts *per* seconds."""

    _closes_at = -math.inf
    _used = 0

    def admit(self, at: float) -> Admission:
        """Count the request that arrives at *at*, if the limit allows it."""
        if at >= self._closes_at:
            self._closes_at = at + self._per
            self._used = 0
        admitted = self._used < self._limit
        self._used += admitted
        return Admission(admitted, self._limit - self._used, self._closes_at - at)


class SlidingWindow(Window):
    """Window over the last *per* seconds before each request."""

    def __init__(self, limit: int, per: float) -> None:
        super().__init__(limit, per)
        self._ends: deque[float] = deque()

    def admit(self, at: float) -> Admission:
        """Count the request that arrives at *at*, if the limit allows it."""
        while self._ends and at >= self._ends[0]:
            self._ends.popleft()
        admitted = len(self._ends) < self._limit
        if admitted:
            self._ends.append(at + self._per)
        return Admission(admitted, self._limit - len(self._ends), self._ends[0] - at)


class TokenBucket(Window):
    """Bucket that starts with *limit* tokens and refills evenly; each request takes one."""

    _TOLERANCE = 1e-6  # of a token: rounding errors of times

    def __init__(self, limit: int, per: float) -> None:
        super().__init__(limit, per)
        self._rate = limit / per
        self._tokens = float(limit)
        self._refilled_at = -math.inf

    def admit(self, at: float) -> Admission:
        """Count the request that arrives at *at*, if the limit allows it."""
        refill = (at - self._refilled_at) * self._rate
        self._tokens = min(float(self._limit), self._tokens + refill)
        self._refilled_at = at
        admitted = self._tokens >= 1 - self._TOLERANCE
        if admitted:
            self._tokens = max(0.0, self._tokens - 1)
        whole = math.floor(self._tokens + self._TOLERANCE)
        return Admission(admitted, whole, (whole + 1 - self._tokens) / self._rate)


_RULES: dict[WindowRule, type[Window]] = {
    "fixed": FixedWindow,
    "sliding": SlidingWindow,
    "bucket": TokenBucket,
}


class RateWindows:
    """One window per key, all of the same rule, with every limit multiplied by *factor*."""

    def __init__(self, rule: WindowRule, factor: float = 1) -> None:
        check_choice("window", rule, _RULES)
        if not 0 < factor < math.inf:
            message = f"limits must be True, False or a number above 0, got {factor}"
            raise ValueError(message)
        self._new_window = _RULES[rule]
        self._factor = factor
        self._windows: dict[Hashable, Window] = {}

    def admit(self, key: Hashable, limit: int, per: float, at: float) -> Admission:
        """Count a request at *at* against the limit of *key*: *limit* per *per* seconds."""
        window = self._windows.get(key)
        if window is None:
            scaled = max(1, math.floor(limit * self._factor))
            window = self._windows[key] = self._new_window(scaled, per)
        return window.admit(at)

    def clear(self) -> None:
        """Forget all counted requests."""
        self._windows.clear()
