"""Rate-limit headers: parsing, and the unit of the end of the window."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from htx_async.ratelimit.headers import EXPIRE_HEADER, REMAINING_HEADER, RateLimitHeaders
from tests.virtual import DAY


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({REMAINING_HEADER: "7", EXPIRE_HEADER: "1500"}, RateLimitHeaders(7, "1500")),
        ({REMAINING_HEADER: "7"}, RateLimitHeaders(7, None)),
        ({EXPIRE_HEADER: "1500"}, RateLimitHeaders(None, "1500")),
        ({REMAINING_HEADER: "-1", EXPIRE_HEADER: "soon"}, RateLimitHeaders(None, "soon")),
        ({REMAINING_HEADER: "9" * 99}, RateLimitHeaders(None, None)),
    ],
)
def test_headers_parse_optional_and_malformed_values(
    headers: Mapping[str, str], expected: RateLimitHeaders | None
) -> None:
    """A missing or malformed value is `None`; without both headers there is no result."""
    assert RateLimitHeaders.parse(headers) == expected


@pytest.mark.parametrize(
    ("expire", "seconds"),
    [
        ("500", 0.5),  # milliseconds from now
        ("0", 0.0),
        ("60000", 2.0),  # at most `per`
        (str(int(DAY * 1000) + 1250), 1.25),  # wall-clock time in milliseconds
        (str(int(DAY) + 1), 1.0),  # wall-clock time in seconds
        (str(int(DAY) - 50), 0.0),  # in the past
        ("1000000000000", 0.0),  # the smallest number of milliseconds since 1970
        ("1000000000", 0.0),  # the smallest number of seconds since 1970
        ("soon", 2.0),
        ("", 2.0),
        (None, 2.0),
    ],
)
def test_headers_window_remaining_infers_unit(expire: str | None, seconds: float) -> None:
    """The magnitude decides the unit, and the result never exceeds `per`."""
    headers = RateLimitHeaders(None, expire)
    assert headers.window_remaining(DAY, per=2.0) == pytest.approx(seconds)
