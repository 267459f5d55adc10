"""The decision to try again: a pure function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import NO_RETRY, InvalidInputError, NoResponseError, RateLimitedError, RetryPolicy
from htx_async.errors import APIError, DecodeError, HTXError

BUSY = NoResponseError("no answer")


@pytest.mark.parametrize(
    ("attempt", "jitter", "delay"),
    [(1, 1.0, 0.25), (1, 0.0, 0.0), (2, 1.0, 0.5), (3, 0.5, 0.5), (4, 1.0, 2.0)],
)
def test_the_delay_doubles_at_most(attempt: int, jitter: float, delay: float) -> None:
    """Full jitter: anything from nothing to the most that the attempt allows."""
    assert RetryPolicy().delay(attempt, BUSY, 30.0, jitter) == delay


def test_the_delay_stops_growing_at_the_cap() -> None:
    """However many attempts there were."""
    policy = RetryPolicy(attempts=10_000)
    assert policy.delay(9, BUSY, 30.0, 1.0) == 8.0
    assert policy.delay(9_999, BUSY, 30.0, 1.0) == 8.0


@pytest.mark.parametrize(
    ("error", "attempt"),
    [
        (BUSY, 5),
        (APIError("no"), 1),
        (DecodeError("broken"), 1),
        (DecodeError("broken", retryable=True), 1),
    ],
)
def test_what_is_not_repeated(error: HTXError, attempt: int) -> None:
    """The last attempt, what is not retryable, and never an answer that cannot be read."""
    assert RetryPolicy().delay(attempt, error, 30.0, 0.5) is None


def test_retry_after_is_honoured() -> None:
    """HTX says when: not sooner, whatever the jitter, and not at all if that is too late."""
    error = RateLimitedError("too many", retry_after=2.0)
    assert RetryPolicy().delay(1, error, 30.0, 0.0) == 2.0
    assert RetryPolicy().delay(1, error, 1.5, 0.0) is None


@given(
    st.integers(1, 10),
    st.floats(0.001, 100),
    st.floats(0.001, 100),
    st.integers(1, 12),
    st.floats(-10, 100),
    st.floats(0, 1),
)
def test_a_repeat_never_begins_after_the_deadline(
    attempts: int, base: float, cap: float, attempt: int, left: float, jitter: float
) -> None:
    """Whatever the policy says: past the deadline nobody waits any more."""
    delay = RetryPolicy(attempts, base, cap).delay(attempt, BUSY, left, jitter)
    assert delay is None or (0.0 <= delay < left and delay <= cap and attempt < attempts)


def test_no_retry_is_one_attempt() -> None:
    """Nothing is repeated because it is retryable."""
    assert NO_RETRY.delay(1, BUSY, 30.0, 0.0) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("attempts", 0), ("attempts", 1.5), ("initial_delay", 0), ("max_delay", float("inf"))],
)
def test_a_policy_that_makes_no_sense_is_told(name: str, value: object) -> None:
    """With the name of what is wrong."""
    with pytest.raises(InvalidInputError, match=name):
        RetryPolicy(**{name: value})  # type: ignore[arg-type]
