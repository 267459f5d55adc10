"""The three counting rules, and the windows of several keys."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.sandbox.rate_windows import (
    Admission,
    FixedWindow,
    RateWindows,
    SlidingWindow,
    TokenBucket,
)

RULES = [FixedWindow, SlidingWindow, TokenBucket]
GAPS = st.lists(st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 0.7, 1.0, 1.3, 5.0]), max_size=60)


def arrivals(gaps: list[float]) -> list[float]:
    """Return times with *gaps* between them."""
    at = 1000.0
    times: list[float] = []
    for gap in gaps:
        at += gap
        times.append(at)
    return times


def test_fixed_window_opens_with_the_first_request() -> None:
    """A window of 2 s that opens at 10.5 ends at 12.5."""
    window = FixedWindow(2, 2.0)
    assert window.admit(10.5) == Admission(admitted=True, remain=1, expires_in=2.0)
    assert window.admit(11.5) == Admission(admitted=True, remain=0, expires_in=1.0)
    assert window.admit(12.0) == Admission(admitted=False, remain=0, expires_in=0.5)
    assert window.admit(12.5) == Admission(admitted=True, remain=1, expires_in=2.0)


def test_fixed_window_may_admit_twice_its_limit_around_its_end() -> None:
    """Requests at the end of one window and at the start of the next are all admitted."""
    window = FixedWindow(3, 1.0)
    admissions = [window.admit(at) for at in (0.0, 0.9, 0.9, 1.0, 1.0, 1.0, 1.0)]
    assert [admission.admitted for admission in admissions] == [True] * 6 + [False]


def test_sliding_window_counts_each_request_for_its_period() -> None:
    """A request at 0 is not counted any more at 1, one at 0.5 not at 1.5."""
    window = SlidingWindow(2, 1.0)
    assert window.admit(0.0) == Admission(admitted=True, remain=1, expires_in=1.0)
    assert window.admit(0.5) == Admission(admitted=True, remain=0, expires_in=0.5)
    assert window.admit(0.75) == Admission(admitted=False, remain=0, expires_in=0.25)
    assert window.admit(1.0) == Admission(admitted=True, remain=0, expires_in=0.5)
    assert not window.admit(1.25).admitted
    assert window.admit(1.5).admitted


def test_token_bucket_starts_full_and_refills_evenly() -> None:
    """Two at once, then one per half second; a rejected request takes no token."""
    window = TokenBucket(2, 1.0)
    assert window.admit(0.0) == Admission(admitted=True, remain=1, expires_in=0.5)
    assert window.admit(0.0) == Admission(admitted=True, remain=0, expires_in=0.5)
    assert window.admit(0.25) == Admission(admitted=False, remain=0, expires_in=0.25)
    assert window.admit(0.5).admitted
    assert not window.admit(0.75).admitted
    assert window.admit(10.0).remain == 1


def test_token_bucket_tolerates_rounding_errors() -> None:
    """A third of a second, waited three times, is a second."""
    window = TokenBucket(3, 1.0)
    at = 0.1
    for _ in range(3):
        assert window.admit(at).admitted
    for _ in range(100):
        at += 1 / 3
        assert window.admit(at).admitted


@given(GAPS, st.integers(1, 5))
def test_sliding_window_never_admits_more_than_the_limit(gaps: list[float], limit: int) -> None:
    """In any period of 1 s."""
    window = SlidingWindow(limit, 1.0)
    admitted = [at for at in arrivals(gaps) if window.admit(at).admitted]
    for start in admitted:
        assert sum(start <= at < start + 1.0 for at in admitted) <= limit


@given(GAPS, st.integers(1, 5))
def test_fixed_windows_never_overlap(gaps: list[float], limit: int) -> None:
    """Each one admits at most *limit* and opens with a request after the end of the last one."""
    window = FixedWindow(limit, 1.0)
    opened, used = -math.inf, 0
    for at in arrivals(gaps):
        if at >= opened + 1.0:
            opened, used = at, 0
        admission = window.admit(at)
        assert admission.admitted == (used < limit)
        used += admission.admitted
        assert admission.remain == limit - used
        assert admission.expires_in == pytest.approx(opened + 1.0 - at)


@given(GAPS, st.integers(1, 5))
def test_token_bucket_never_admits_more_than_its_refill(gaps: list[float], limit: int) -> None:
    """In any span of s seconds at most limit * (1 + s) requests are admitted."""
    window = TokenBucket(limit, 1.0)
    admitted = [at for at in arrivals(gaps) if window.admit(at).admitted]
    for first, start in enumerate(admitted):
        for last, end in enumerate(admitted[first:], first):
            assert last - first + 1 <= limit * (1 + end - start) + 1e-3


@pytest.mark.parametrize("rule", RULES)
@given(gaps=GAPS, limit=st.integers(1, 5))
def test_window_admits_after_expires_in(rule: Any, gaps: list[float], limit: int) -> None:
    """It is positive, and long enough after a rejected request."""
    window = rule(limit, 1.0)
    for at in arrivals(gaps):
        admission = window.admit(at)
        assert admission.expires_in > 0
        assert 0 <= admission.remain <= limit
        if not admission.admitted:
            assert window.admit(at + admission.expires_in + 1e-9).admitted
            break


def test_rate_windows_count_each_key_separately() -> None:
    """`clear` forgets them all."""
    windows = RateWindows("fixed")
    assert windows.admit("a", 1, 1.0, 0.0).admitted
    assert windows.admit("b", 1, 1.0, 0.0).admitted
    assert not windows.admit("a", 1, 1.0, 0.0).admitted
    windows.clear()
    assert windows.admit("a", 1, 1.0, 0.0).admitted


@pytest.mark.parametrize(("factor", "remain"), [(1, 9), (0.55, 4), (0.01, 0), (3, 29)])
def test_rate_windows_factor_scales_limits(factor: float, remain: int) -> None:
    """10 per second times 0.55 is 5, rounded down; a limit is never less than 1."""
    assert RateWindows("sliding", factor).admit("a", 10, 1.0, 0.0).remain == remain


@pytest.mark.parametrize("factor", [0, -1, math.inf, math.nan])
def test_rate_windows_reject_an_invalid_factor(factor: float) -> None:
    with pytest.raises(ValueError, match="limits must be"):
        RateWindows("fixed", factor)


def test_rate_windows_reject_an_unknown_rule() -> None:
    """The error lists the rules."""
    rule: Any = "leaky"
    with pytest.raises(ValueError, match="fixed, sliding, bucket"):
        RateWindows(rule)
