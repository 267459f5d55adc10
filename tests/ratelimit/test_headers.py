"""Rate-limit headers: parsing, and the unit of the end of the window."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from htx_async.ratelimit.headers import EXPIRE_HEADER, REMAINING_HEADER, RateLimitHeaders
from tests.virtual import DAY


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({REMAINING_HEADER: "7", EXPIRE_HEADER: "1500"}, RateLimitHeaders(7, 1500)),
        ({REMAINING_HEADER: "7"}, RateLimitHeaders(7, None)),
        ({EXPIRE_HEADER: " 1500 "}, RateLimitHeaders(None, 1500)),
        ({REMAINING_HEADER: "7", EXPIRE_HEADER: "soon"}, RateLimitHeaders(7, None)),
        ({REMAINING_HEADER: "-1", EXPIRE_HEADER: ""}, None),
        ({REMAINING_HEADER: "9" * 16}, None),
        ({REMAINING_HEADER: "٣"}, None),  # a digit that is not ASCII
    ],
)
def test_headers_parse_optional_and_malformed_values(
    headers: Mapping[str, str], expected: RateLimitHeaders | None
) -> None:
    """A missing or malformed value is `None`; without a valid one there is no result."""
    assert RateLimitHeaders.parse(headers) == expected


@pytest.mark.parametrize("name", [REMAINING_HEADER, EXPIRE_HEADER])
def test_headers_keep_no_text(name: str) -> None:
    """A header may repeat a secret: only numbers are kept."""
    headers = RateLimitHeaders.parse({REMAINING_HEADER: "7", EXPIRE_HEADER: "9", name: "my-secret"})
    assert "secret" not in repr(headers)
    assert headers is not None


@pytest.mark.parametrize(
    ("expire", "seconds"),
    [
        (500, 0.5),  # milliseconds from now
        (0, 0.0),
        (60_000, 2.0),  # at most `per`
        (int(DAY * 1000) + 1250, 1.25),  # wall-clock time in milliseconds
        (int(DAY) + 1, 1.0),  # wall-clock time in seconds
        (int(DAY) - 50, 0.0),  # in the past
        (10**12, 0.0),  # the smallest number of milliseconds since 1970
        (10**9, 0.0),  # the smallest number of seconds since 1970
        (None, 2.0),
    ],
)
def test_headers_window_remaining_infers_unit(expire: int | None, seconds: float) -> None:
    """The magnitude decides the unit, and the result never exceeds `per`."""
    headers = RateLimitHeaders(None, expire)
    assert headers.window_remaining(DAY, per=2.0) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("expire", "seconds"),
    [
        (500, DAY + 0.5),
        (60_000, DAY + 60.0),  # as HTX reports it
        (int(DAY * 1000) + 1250, DAY + 1.25),
        (int(DAY) - 50, DAY - 50),
        (253_402_300_798_999, 253_402_300_798.999),  # the year 9999
        (253_402_300_800_000, None),
        (10**15 - 1, None),
        (None, None),
    ],
)
def test_headers_resets_at_is_an_aware_time(expire: int | None, seconds: float | None) -> None:
    """`None` if not known, or if no calendar has that time."""
    time = RateLimitHeaders(7, expire).resets_at(DAY)
    assert (None if time is None else time.timestamp()) == pytest.approx(seconds)
    assert time is None or time.utcoffset() == timedelta(0)
