"""The rate-limit headers of HTX's responses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

REMAINING_HEADER: Final = "x-hb-ratelimit-requests-remain"
EXPIRE_HEADER: Final = "x-hb-ratelimit-requests-expire"
"""Headers of HTX's page "Rate limiting rule", which does not state the unit of the second."""

_DIGITS = re.compile(r"[0-9]{1,15}")
_EPOCH_MILLISECONDS, _EPOCH_SECONDS = 1e12, 1e9


class RateLimitHeaders(msgspec.Struct, frozen=True):
    """
    Rate-limit headers of one response.

    Attributes:
        remaining: Requests left in HTX's current window; `None` if missing or not a number.
        expire: End of that window, as HTX wrote it; `None` if missing.
    """

    remaining: int | None
    expire: str | None

    @classmethod
    def parse(cls, headers: Mapping[str, str]) -> RateLimitHeaders | None:
        """Return the rate-limit headers of a response; `None` if it has neither of them."""
        remaining = headers.get(REMAINING_HEADER, "").strip()
        expire = headers.get(EXPIRE_HEADER, "").strip()
        if not remaining and not expire:
            return None
        return cls(int(remaining) if _DIGITS.fullmatch(remaining) else None, expire or None)

    def window_remaining(self, now: float, per: float) -> float:
        """
        Return the seconds until HTX's window ends, between 0 and *per*.

        The magnitude of `expire` decides its unit: a wall-clock time in milliseconds or in
        seconds, or milliseconds from now. Without a usable value the result is *per*.

        Args:
            now: HTX's wall-clock time, in seconds since 1970.
            per: Length of the window in seconds.
        """
        if self.expire is None or not _DIGITS.fullmatch(self.expire):
            return per
        value = float(self.expire)
        if value >= _EPOCH_MILLISECONDS:
            seconds = value / 1000 - now
        else:
            seconds = value - now if value >= _EPOCH_SECONDS else value / 1000
        return min(max(seconds, 0.0), per)
