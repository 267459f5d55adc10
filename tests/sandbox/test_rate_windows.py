"""The three rules of counting, and the table of windows."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.sandbox.rate_windows import (
    FixedWindow,
    SlidingWindow,
    TokenBucket,
    Verdict,
    Windows,
)

RULES = [FixedWindow, SlidingWindow, TokenBucket]
GAPS = st.lists(st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 0.7, 1.0, 1.3, 5.0]), max_size=60)


def arrivals(gaps: list[float]) -> list[float]:
    """Return moments with *gaps* between them."""
    at = 1000.0
    moments: list[float] = []
    for gap in gaps:
        at += gap
        moments.append(at)
    return moments


def test_a_fixed_window_opens_with_the_first_request() -> None:
    """A window of 2 s that opens at 10.5 ends at 12.5, whatever comes in between."""
    window = FixedWindow(2, 2.0)
    assert window.admit(10.5) == Verdict(admitted=True, remain=1, expires_in=2.0)
    assert window.admit(11.5) == Verdict(admitted=True, remain=0, expires_in=1.0)
    assert window.admit(12.0) == Verdict(admitted=False, remain=0, expires_in=0.5)
    assert window.admit(12.5) == Verdict(admitted=True, remain=1, expires_in=2.0)


def test_a_fixed_window_may_admit_twice_its_limit_around_its_end() -> None:
    """Two requests at the end of a window and two at the start of the next are all admitted."""
    window = FixedWindow(3, 1.0)
    verdicts = [window.admit(at) for at in (0.0, 0.9, 0.9, 1.0, 1.0, 1.0, 1.0)]
    assert [verdict.admitted for verdict in verdicts] == [True] * 6 + [False]


def test_a_sliding_window_gives_each_request_back_after_its_time() -> None:
    """What was admitted at 0 is free again at 1, what was admitted at 0.5 at 1.5."""
    window = SlidingWindow(2, 1.0)
    assert window.admit(0.0) == Verdict(admitted=True, remain=1, expires_in=1.0)
    assert window.admit(0.5) == Verdict(admitted=True, remain=0, expires_in=0.5)
    assert window.admit(0.75) == Verdict(admitted=False, remain=0, expires_in=0.25)
    assert window.admit(1.0) == Verdict(admitted=True, remain=0, expires_in=0.5)
    assert not window.admit(1.25).admitted
    assert window.admit(1.5).admitted


def test_a_bucket_starts_full_and_refills_evenly() -> None:
    """Two at once, then one per half second; a refused one takes nothing."""
    window = TokenBucket(2, 1.0)
    assert window.admit(0.0) == Verdict(admitted=True, remain=1, expires_in=0.5)
    assert window.admit(0.0) == Verdict(admitted=True, remain=0, expires_in=0.5)
    assert window.admit(0.25) == Verdict(admitted=False, remain=0, expires_in=0.25)
    assert window.admit(0.5).admitted
    assert not window.admit(0.75).admitted
    assert window.admit(10.0).remain == 1


def test_a_bucket_forgives_rounding() -> None:
    """Waiting a third of a second three times in thirds is enough, whatever floats make of it."""
    window = TokenBucket(3, 1.0)
    at = 0.1
    for _ in range(3):
        assert window.admit(at).admitted
    for _ in range(100):
        at += 1 / 3
        assert window.admit(at).admitted


@given(GAPS, st.integers(1, 5))
def test_no_window_of_a_sliding_rule_admits_more_than_the_limit(
    gaps: list[float], limit: int
) -> None:
    """Wherever a window of 1 s is laid, at most *limit* of the admitted requests are in it."""
    window = SlidingWindow(limit, 1.0)
    admitted = [at for at in arrivals(gaps) if window.admit(at).admitted]
    for start in admitted:
        assert sum(start <= at < start + 1.0 for at in admitted) <= limit


@given(GAPS, st.integers(1, 5))
def test_fixed_windows_never_overlap(gaps: list[float], limit: int) -> None:
    """Each window admits at most *limit* and opens with a request after the end of the last."""
    window = FixedWindow(limit, 1.0)
    opened, used = -math.inf, 0
    for at in arrivals(gaps):
        if at >= opened + 1.0:
            opened, used = at, 0
        verdict = window.admit(at)
        assert verdict.admitted == (used < limit)
        used += verdict.admitted
        assert verdict.remain == limit - used
        assert verdict.expires_in == pytest.approx(opened + 1.0 - at)


@given(GAPS, st.integers(1, 5))
def test_a_bucket_admits_no_more_than_flowed_in(gaps: list[float], limit: int) -> None:
    """In any span of s seconds at most limit * (1 + s) requests are admitted."""
    window = TokenBucket(limit, 1.0)
    admitted = [at for at in arrivals(gaps) if window.admit(at).admitted]
    for first, start in enumerate(admitted):
        for last, end in enumerate(admitted[first:], first):
            assert last - first + 1 <= limit * (1 + end - start) + 1e-3


@pytest.mark.parametrize("rule", RULES)
@given(gaps=GAPS, limit=st.integers(1, 5))
def test_who_waits_until_it_expires_is_admitted(rule: Any, gaps: list[float], limit: int) -> None:
    """After a refusal, `expires_in` is a wait that is long enough, and is never negative."""
    window = rule(limit, 1.0)
    for at in arrivals(gaps):
        verdict = window.admit(at)
        assert verdict.expires_in > 0
        assert 0 <= verdict.remain <= limit
        if not verdict.admitted:
            assert window.admit(at + verdict.expires_in + 1e-9).admitted
            break


def test_things_are_counted_apart() -> None:
    """One endpoint's requests leave another's alone; `clear` forgets them all."""
    windows = Windows("fixed")
    assert windows.admit("a", 1, 1.0, 0.0).admitted
    assert windows.admit("b", 1, 1.0, 0.0).admitted
    assert not windows.admit("a", 1, 1.0, 0.0).admitted
    windows.clear()
    assert windows.admit("a", 1, 1.0, 0.0).admitted


@pytest.mark.parametrize(("factor", "remain"), [(1, 9), (0.55, 4), (0.01, 0), (3, 29)])
def test_the_factor_scales_limits_down_to_one(factor: float, remain: int) -> None:
    """10 per second times 0.55 is 5, rounded down; a limit is never less than 1."""
    assert Windows("sliding", factor).admit("a", 10, 1.0, 0.0).remain == remain


@pytest.mark.parametrize("factor", [0, -1, math.inf, math.nan])
def test_a_factor_must_be_positive(factor: float) -> None:
    """Nothing, less than nothing and everything are no factors."""
    with pytest.raises(ValueError, match="limits must be"):
        Windows("fixed", factor)


def test_an_unknown_rule_is_refused() -> None:
    """The error names the rules that there are."""
    rule: Any = "leaky"
    with pytest.raises(ValueError, match="fixed, sliding, bucket"):
        Windows(rule)
