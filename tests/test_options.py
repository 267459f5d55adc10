"""`RetryPolicy`: the delay before the next attempt, as a pure function."""

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
def test_retry_delay_doubles_with_full_jitter(attempt: int, jitter: float, delay: float) -> None:
    """The delay lies between 0 and the maximum for the attempt."""
    assert RetryPolicy().delay(attempt, BUSY, 30.0, jitter) == delay


def test_retry_delay_is_at_most_max_delay() -> None:
    """The bound holds for any number of attempts."""
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
def test_retry_delay_is_none_when_not_retried(error: HTXError, attempt: int) -> None:
    """After the last attempt, for errors that are not retryable, and for every `DecodeError`."""
    assert RetryPolicy().delay(attempt, error, 30.0, 0.5) is None


def test_retry_delay_honours_retry_after() -> None:
    """The delay is not shorter than Retry-After; there is no retry if that is past the deadline."""
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
def test_retry_never_starts_after_the_deadline(
    attempts: int,
    initial_delay: float,
    max_delay: float,
    attempt: int,
    remaining: float,
    jitter: float,
) -> None:
    delay = RetryPolicy(attempts, initial_delay, max_delay).delay(attempt, BUSY, remaining, jitter)
    assert delay is None or (0.0 <= delay < remaining and delay <= max_delay and attempt < attempts)


def test_no_retry_allows_one_attempt() -> None:
    """A retryable error is not retried either."""
    assert NO_RETRY.delay(1, BUSY, 30.0, 0.0) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("attempts", 0), ("attempts", 1.5), ("initial_delay", 0), ("max_delay", float("inf"))],
)
def test_retry_policy_rejects_invalid_values(name: str, value: object) -> None:
    """The error names the argument."""
    with pytest.raises(InvalidInputError, match=name):
        RetryPolicy(**{name: value})  # type: ignore[arg-type]
