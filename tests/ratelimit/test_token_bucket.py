"""Token bucket: acquire and release at chosen times, without an event loop."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.ratelimit.token_bucket import Permit, RateLimit, TokenBucket, UnlimitedBucket

LIMIT = RateLimit(2, per=1.0)


def acquire(bucket: TokenBucket, now: float) -> Permit:
    """Acquire a token that must be available."""
    permit = bucket.try_acquire(now)
    assert permit is not None
    return permit


def test_token_bucket_frees_token_per_seconds_after_first_byte() -> None:
    """The window starts neither with the request nor with the release."""
    bucket = TokenBucket(LIMIT)
    acquire(bucket, 0.0)
    acquire(bucket, 0.0)
    assert bucket.try_acquire(0.0) is None
    assert bucket.next_available_at() == math.inf
    bucket.release_at(0.3)
    assert bucket.next_available_at() == 1.3
    assert bucket.try_acquire(1.25) is None
    assert acquire(bucket, 1.3) == Permit(free_after=0, sequence=3)


def test_token_bucket_frees_tokens_in_order_of_first_byte() -> None:
    """A token that was released later may return earlier."""
    bucket = TokenBucket(LIMIT)
    acquire(bucket, 0.0)
    acquire(bucket, 0.0)
    bucket.release_at(0.5)
    bucket.release_at(0.25)
    assert bucket.next_available_at() == 1.25


def test_token_bucket_frees_unused_token_immediately() -> None:
    bucket = TokenBucket(LIMIT)
    acquire(bucket, 0.0)
    bucket.release_unused()
    assert (bucket.free, bucket.in_use) == (2, 0)


def test_token_bucket_blocks_until_window_ends_after_429() -> None:
    """Nothing is issued until the latest end; then all free tokens are available."""
    bucket = TokenBucket(LIMIT)
    bucket.block_until(0.75)
    bucket.block_until(0.5)
    assert bucket.try_acquire(0.7) is None
    assert bucket.next_available_at() == 0.75
    assert bucket.wait(0.5) == 0.25
    acquire(bucket, 0.75)


def test_token_bucket_withholds_tokens_used_by_others() -> None:
    """HTX reports fewer remaining requests than there are free tokens."""
    bucket = TokenBucket(RateLimit(3, per=1.0))
    permit = acquire(bucket, 0.0)
    bucket.release_at(0.0)
    bucket.apply_server_remaining(permit, remaining=1, until=0.5)
    assert bucket.free == 1
    bucket.apply_server_remaining(permit, remaining=0, until=0.5)
    assert bucket.free == 0
    assert bucket.next_available_at() == 0.5


def test_token_bucket_gains_no_token_from_headers() -> None:
    """A higher number of remaining requests is ignored."""
    bucket = TokenBucket(LIMIT)
    permit = acquire(bucket, 0.0)
    bucket.release_at(0.0)
    bucket.apply_server_remaining(permit, remaining=100, until=0.5)
    assert bucket.free == 1


def test_token_bucket_subtracts_later_permits_from_server_remaining() -> None:
    """HTX may have counted a later request of this client: others have not used that token."""
    bucket = TokenBucket(RateLimit(5, per=1.0))
    first = acquire(bucket, 0.0)
    acquire(bucket, 0.0)
    bucket.apply_server_remaining(first, remaining=3, until=0.5)
    assert bucket.free == 3


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), max_size=30))
def test_token_bucket_withholds_nothing_from_a_lone_client(steps: list[tuple[int, int]]) -> None:
    """The headers of a fixed window that counts only this client never withhold a token."""
    limit, tick = RateLimit(4, per=1.0), 1 / 32
    bucket = TokenBucket(limit)
    now, opened, counted = 0.0, -math.inf, 0
    in_flight: list[tuple[float, Permit, int]] = []
    for pause, latency in steps:
        now += pause * tick
        for _, earlier, remaining in [trip for trip in in_flight if trip[0] <= now]:
            bucket.release_at(now)
            before = bucket.free
            bucket.apply_server_remaining(earlier, remaining, now + 1.0)
            assert bucket.free == before
        in_flight = [trip for trip in in_flight if trip[0] > now]
        if permit := bucket.try_acquire(now):
            arrival = now  # counted at once, answered later: the hardest case for the rule
            if arrival >= opened + limit.per:
                opened, counted = arrival, 0
            counted += 1
            assert counted <= limit.requests
            in_flight.append((now + latency * tick, permit, limit.requests - counted))


@pytest.mark.parametrize(
    ("ahead", "wait"), [(0, 0.25), (1, 1.0), (2, 1.25), (3, 2.0), (200, 100.25)]
)
def test_token_bucket_wait_counts_waiters_ahead(ahead: int, wait: float) -> None:
    """One token returns at 0.25 and one is in use; each is available once per window."""
    bucket = TokenBucket(LIMIT)
    acquire(bucket, -1.0)
    acquire(bucket, -1.0)
    bucket.release_at(-0.75)
    assert bucket.wait(0.0, ahead) == wait


def test_token_bucket_wait_assigns_free_tokens_first() -> None:
    """Two tokens are free and two are returning: the third waiter gets the first of these."""
    bucket = TokenBucket(RateLimit(4, per=1.0))
    for _ in range(2):
        acquire(bucket, -1.0)
    bucket.release_at(-0.75)
    bucket.release_at(-0.5)
    assert [bucket.wait(0.0, ahead) for ahead in range(4)] == [0.0, 0.0, 0.25, 0.5]


def test_token_bucket_wait_without_others_ends_with_the_next_token() -> None:
    bucket = TokenBucket(LIMIT)
    acquire(bucket, 0.0)
    acquire(bucket, 0.0)
    bucket.release_at(0.0)
    bucket.release_at(0.5)
    assert bucket.wait(0.5) == 0.5


def test_token_bucket_refill_frees_all_returned_tokens() -> None:
    """Several tokens that return at the same time all become free."""
    bucket = TokenBucket(RateLimit(3, per=1.0))
    for _ in range(3):
        acquire(bucket, 0.0)
    for _ in range(3):
        bucket.release_at(0.0)
    assert [acquire(bucket, 1.0).free_after for _ in range(3)] == [2, 1, 0]


def test_token_bucket_is_full_when_no_token_is_in_use_or_returning() -> None:
    """A full bucket can be discarded without losing a request."""
    bucket = TokenBucket(LIMIT)
    assert bucket.is_full(0.0)
    acquire(bucket, 0.0)
    assert not bucket.is_full(0.0)
    assert not bucket.is_full(9.0)  # one token is in use
    bucket.release_at(0.5)
    assert not bucket.is_full(1.25)
    assert bucket.is_full(1.5)
    bucket.block_until(9.0)
    assert not bucket.is_full(2.0)


def test_token_bucket_fork_keeps_state_and_ends_open_requests() -> None:
    """Requests of the closed loop are over, and releases in the old bucket have no effect."""
    bucket = TokenBucket(RateLimit(4, per=1.0))
    for _ in range(3):
        acquire(bucket, 0.0)
    bucket.release_at(0.25)
    bucket.block_until(0.5)
    forked = bucket.fork(0.75)
    bucket.release_at(2.0)
    bucket.release_at(2.0)
    assert (forked.free, forked.in_use) == (1, 0)
    acquire(forked, 0.75)
    assert forked.next_available_at() == 1.25
    acquire(forked, 1.25)
    assert forked.next_available_at() == 1.75


def test_unlimited_bucket_ignores_headers_and_429() -> None:
    """It always has a token and counts those in use."""
    bucket = UnlimitedBucket()
    assert bucket.limit == RateLimit(10**9, per=0.0)  # the value in `limits()`
    assert bucket.try_acquire(0.0) == Permit(free_after=0, sequence=0)
    bucket.release_unused()
    for _ in range(3):
        bucket.apply_server_remaining(acquire(bucket, 0.0), remaining=0, until=9.0)
    bucket.block_until(9.0)
    assert bucket.wait(0.0, ahead=10**6) == 0.0
    assert bucket.in_use == 3
    bucket.release_unused()
    bucket.release_at(0.0)
    assert not bucket.is_full(0.0)
    bucket.release_at(0.0)
    assert bucket.is_full(0.0)
    assert bucket.fork(0.0).try_acquire(0.0) is not None


def test_token_bucket_repr_shows_tokens_and_limit() -> None:
    bucket = TokenBucket(RateLimit(100, per=2.0))
    acquire(bucket, 0.0)
    assert repr(bucket) == "<TokenBucket 99/100 free, 1 in use, 100 per 2 s>"
