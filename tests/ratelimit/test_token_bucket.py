"""Token bucket: acquire and release at chosen times, without an event loop."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.ratelimit.token_bucket import MARGIN, Permit, RateLimit, TokenBucket, UnlimitedBucket
from tests.world import most_in_a_window

LIMIT = RateLimit(2, per=1.0)


def acquire(bucket: TokenBucket, now: float, until: float = math.inf) -> Permit:
    """Acquire a token that must be available."""
    permit = bucket.try_acquire(now, until)
    assert permit is not None
    return permit


def test_token_bucket_frees_token_per_seconds_after_first_byte() -> None:
    """The window starts neither with the request nor with the release."""
    bucket = TokenBucket(LIMIT)
    first, _ = acquire(bucket, 0.0), acquire(bucket, 0.0)
    assert bucket.try_acquire(0.0) is None
    assert bucket.next_available_at() == math.inf
    bucket.release_at(first, 0.3)
    assert bucket.next_available_at() == 1.3
    assert bucket.try_acquire(1.25) is None
    assert acquire(bucket, 1.3) == Permit(free_after=0, sequence=3)


def test_token_bucket_frees_tokens_in_order_of_first_byte() -> None:
    """A token that was released later may return earlier."""
    bucket = TokenBucket(LIMIT)
    first, second = acquire(bucket, 0.0), acquire(bucket, 0.0)
    bucket.release_at(first, 0.5)
    bucket.release_at(second, 0.25)
    assert bucket.next_available_at() == 1.25


def test_token_bucket_frees_unused_token_immediately() -> None:
    bucket = TokenBucket(LIMIT)
    bucket.release_unused(acquire(bucket, 0.0))
    assert (bucket.free, bucket.in_use) == (2, 0)


def test_token_bucket_lets_a_token_return_after_the_end_of_its_attempt() -> None:
    """`MARGIN` and `per` seconds after `until`: its request may have been counted until then."""
    bucket = TokenBucket(LIMIT)
    acquire(bucket, 0.0, until=5.0)
    acquire(bucket, 0.0, until=3.0)
    later = MARGIN + LIMIT.per
    assert bucket.next_available_at() == 3.0 + later
    assert bucket.try_acquire(2.9 + later) is None
    acquire(bucket, 3.0 + later)
    assert bucket.in_use == 2
    assert bucket.try_acquire(4.9 + later) is None
    acquire(bucket, 5.0 + later)
    assert bucket.next_available_at() == math.inf


@pytest.mark.parametrize("at", [3.5 + MARGIN, 9.0])
@pytest.mark.parametrize("is_unused", [True, False])
def test_token_bucket_ignores_a_release_after_expiry(at: float, is_unused: bool) -> None:
    """Whether the token is returning or already free: it is counted once."""
    bucket = TokenBucket(LIMIT)
    permit = acquire(bucket, 0.0, until=3.0)
    bucket.refill(at)
    before = (bucket.free, bucket.next_available_at())
    if is_unused:
        bucket.release_unused(permit)
    else:
        bucket.release_at(permit, 2.0)
    assert (bucket.free, bucket.next_available_at()) == before
    assert bucket.is_full(9.0)


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 60), st.sampled_from(["at", "unused", ""])),
        max_size=60,
    )
)
def test_token_bucket_never_exceeds_the_limit_with_lost_tokens(
    steps: list[tuple[int, int, str]],
) -> None:
    """Some return their token later than at the end of their lease, or never."""
    tick, lease = 1 / 32, 20 / 32
    bucket = TokenBucket(LIMIT)
    now, held, counted = 0.0, list[tuple[float, Permit, str]](), list[float]()
    for pause, latency, how in steps:
        now += pause * tick
        for end, permit, release in [item for item in held if item[0] <= now]:
            if release == "at":
                bucket.release_at(permit, end)
            elif release:
                bucket.release_unused(permit)
        held = [item for item in held if item[0] > now]
        if acquired := bucket.try_acquire(now, now + lease):
            end, over = now + latency * tick, now + lease + MARGIN
            held.append((end, acquired, how))
            if how != "unused":  # HTX counts it as late as possible
                counted.append(min(end, over) if how == "at" else over)
        assert 0 <= bucket.free <= LIMIT.requests
    assert most_in_a_window(counted, LIMIT.per) <= LIMIT.requests
    assert bucket.is_full(now + lease + MARGIN + LIMIT.per)


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
    bucket.release_at(permit, 0.0)
    assert bucket.apply_server_remaining(permit, remaining=1, until=0.5) == 1
    assert bucket.free == 1
    assert bucket.apply_server_remaining(permit, remaining=0, until=0.5) == 2
    assert bucket.free == 0
    assert bucket.next_available_at() == 0.5


def test_token_bucket_gains_no_token_from_headers() -> None:
    """A higher number of remaining requests is ignored."""
    bucket = TokenBucket(LIMIT)
    permit = acquire(bucket, 0.0)
    bucket.release_at(permit, 0.0)
    assert bucket.apply_server_remaining(permit, remaining=100, until=0.5) == 0
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
            bucket.release_at(earlier, now)
            before = bucket.free
            assert bucket.apply_server_remaining(earlier, remaining, now + 1.0) == 0
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
    first, _ = acquire(bucket, -1.0), acquire(bucket, -1.0)
    bucket.release_at(first, -0.75)
    assert bucket.wait(0.0, ahead) == wait


def test_token_bucket_wait_assigns_free_tokens_first() -> None:
    """Two tokens are free and two are returning: the third waiter gets the first of these."""
    bucket = TokenBucket(RateLimit(4, per=1.0))
    first, second = acquire(bucket, -1.0), acquire(bucket, -1.0)
    bucket.release_at(first, -0.75)
    bucket.release_at(second, -0.5)
    assert [bucket.wait(0.0, ahead) for ahead in range(4)] == [0.0, 0.0, 0.25, 0.5]


def test_token_bucket_wait_without_others_ends_with_the_next_token() -> None:
    bucket = TokenBucket(LIMIT)
    first, second = acquire(bucket, 0.0), acquire(bucket, 0.0)
    bucket.release_at(first, 0.0)
    bucket.release_at(second, 0.5)
    assert bucket.wait(0.5) == 0.5


def test_token_bucket_refill_frees_all_returned_tokens() -> None:
    """Several tokens that return at the same time all become free."""
    bucket = TokenBucket(RateLimit(3, per=1.0))
    for permit in [acquire(bucket, 0.0) for _ in range(3)]:
        bucket.release_at(permit, 0.0)
    assert [acquire(bucket, 1.0).free_after for _ in range(3)] == [2, 1, 0]


def test_token_bucket_is_full_when_no_token_is_in_use_or_returning() -> None:
    """A full bucket can be discarded without losing a request."""
    bucket = TokenBucket(LIMIT)
    assert bucket.is_full(0.0)
    permit = acquire(bucket, 0.0)
    assert not bucket.is_full(0.0)
    assert not bucket.is_full(9.0)  # one token is in use
    bucket.release_at(permit, 0.5)
    assert not bucket.is_full(1.25)
    assert bucket.is_full(1.5)
    bucket.block_until(9.0)
    assert not bucket.is_full(2.0)


def test_unlimited_bucket_ignores_headers_and_429() -> None:
    """It always has a token and counts those in use."""
    bucket = UnlimitedBucket()
    assert bucket.limit == RateLimit(10**9, per=0.0)  # the value in `limits()`
    permits = [acquire(bucket, 0.0) for _ in range(3)]
    for permit in permits:
        assert bucket.apply_server_remaining(permit, remaining=0, until=9.0) == 0
    bucket.block_until(9.0)
    assert bucket.wait(0.0, ahead=10**6) == 0.0
    assert bucket.in_use == 3
    bucket.release_unused(permits[0])
    bucket.release_at(permits[1], 0.0)
    assert not bucket.is_full(0.0)
    bucket.release_at(permits[2], 0.0)
    assert bucket.is_full(0.0)


def test_token_bucket_repr_shows_tokens_and_limit() -> None:
    bucket = TokenBucket(RateLimit(100, per=2.0))
    acquire(bucket, 0.0)
    assert repr(bucket) == "<TokenBucket 99/100 free, 1 in use, 100 per 2 s>"
