"""The rate-limit headers of HTX's responses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

REMAINING_HEADER: Final = "x-hb-ratelimit-requests-remain"
EXPIRE_HEADER: Final = "x-hb-ratelimit-requests-expire"
"""Headers of HTX's page "Rate limiting rule", which does not state the unit of the second."""

_DIGITS = re.compile(r"[0-9]{1,15}")
_EPOCH_MILLISECONDS, _EPOCH_SECONDS = 1e12, 1e9
_MAX_SECONDS = 253_402_300_799.0
"""The last second that a `datetime` can hold."""


class RateLimitHeaders(msgspec.Struct, frozen=True):
    """
    Rate-limit headers of one response.

    Attributes:
        remaining: Requests left in HTX's current window; `None` if missing or not a number.
        expire: End of that window, in a unit that depends on its size; `None` if missing or not a
            number.
    """

    remaining: int | None
    expire: int | None

    @classmethod
    def parse(cls, headers: Mapping[str, str]) -> RateLimitHeaders | None:
        """Return the rate-limit headers of a response; `None` if it has neither of them."""
        remaining = _parse(headers.get(REMAINING_HEADER))
        expire = _parse(headers.get(EXPIRE_HEADER))
        return None if remaining is None and expire is None else cls(remaining, expire)

    def window_remaining(self, now: float, per: float) -> float:
        """
        Return the seconds until HTX's window ends, between 0 and *per*; *per* if not known.

        Args:
            now: HTX's wall-clock time, in seconds since 1970.
            per: Length of the window in seconds.
        """
        end = self._window_end(now)
        return per if end is None else min(max(end - now, 0.0), per)

    def resets_at(self, now: float) -> datetime | None:
        """Return the end of HTX's window; *now* is HTX's time, in seconds since 1970."""
        end = self._window_end(now)
        return datetime.fromtimestamp(end, UTC) if end is not None and end < _MAX_SECONDS else None

    def _window_end(self, now: float) -> float | None:
        """
        Return the end of the window, in seconds since 1970.

        The magnitude of `expire` decides its unit: a wall-clock time in milliseconds or in
        seconds, or milliseconds from now.
        """
        if self.expire is None:
            return None
        if self.expire >= _EPOCH_MILLISECONDS:
            return self.expire / 1000
        return float(self.expire) if self.expire >= _EPOCH_SECONDS else now + self.expire / 1000


def _parse(text: str | None) -> int | None:
    """Return a number; `None` for anything else, which may be a secret that HTX repeats."""
    text = "" if text is None else text.strip()
    return int(text) if _DIGITS.fullmatch(text) else None
