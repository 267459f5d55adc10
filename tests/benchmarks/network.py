"""Networks: endless seconds up and down, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final, TypeAlias

Trips: TypeAlias = Iterator[tuple[float, float]]
"""Seconds on the way up and on the way down, one pair for each request."""

FAST, SLOW = 0.005, 0.080
_BURST_EVERY: Final = 1000
_BURST: Final = 50
_BURST_DELAY: Final = 0.5
_SPEED_UP: Final = 0.1


def even(seed: int = 1) -> Trips:
    """Yield trips of 5 to 80 ms each way."""
    draw = random.Random(seed).uniform  # noqa: S311 - no secret
    while True:
        yield draw(FAST, SLOW), draw(FAST, SLOW)


def rough(requests: int, seed: int = 1) -> Trips:
    """
    Yield trips as `even`, but of every 1,000 some are slow, and later all are faster.

    The slow ones follow each other, and take half a second more on the way up; from half of
    *requests* on everything takes a tenth of the time.
    """
    for number, (up, down) in enumerate(even(seed)):
        slow = _BURST_DELAY if number % _BURST_EVERY < _BURST else 0.0
        factor = 1.0 if number < requests / 2 else _SPEED_UP
        yield (up + slow) * factor, down * factor
