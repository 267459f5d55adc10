"""The pure rule: tokens by hand, at times that we choose."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.ratelimit.token_bucket import Permit, RateLimit, TokenBucket, UnlimitedBucket

LIMIT = RateLimit(2, per=1.0)


def taken(bucket: TokenBucket, now: float) -> Permit:
    """Take a token that must be there."""
    grant = bucket.try_acquire(now)
    assert grant is not None
    return grant


def test_a_token_comes_back_a_period_after_its_answer_began() -> None:
    """Not after the sending, and not with the answer."""
    bucket = TokenBucket(LIMIT)
    taken(bucket, 0.0)
    taken(bucket, 0.0)
    assert bucket.try_acquire(0.0) is None
    assert bucket.next_available_at() == math.inf
    bucket.release_at(0.3)
    assert bucket.next_available_at() == 1.3
    assert bucket.try_acquire(1.25) is None
    assert taken(bucket, 1.3) == Permit(free_after=0, sequence=3)


def test_answers_that_come_out_of_order_lose_no_time() -> None:
    """A token is back when it is its turn, not when the one before it is."""
    bucket = TokenBucket(LIMIT)
    taken(bucket, 0.0)
    taken(bucket, 0.0)
    bucket.release_at(0.5)
    bucket.release_at(0.25)
    assert bucket.next_available_at() == 1.25


def test_a_token_that_was_not_used_is_free_at_once() -> None:
    """Giving back costs nothing."""
    bucket = TokenBucket(LIMIT)
    taken(bucket, 0.0)
    bucket.release_unused()
    assert (bucket.free, bucket.in_use) == (2, 0)


def test_a_refusal_closes_it_and_opens_it_again() -> None:
    """Nothing is granted until HTX's window ends, and then all that is free."""
    bucket = TokenBucket(LIMIT)
    bucket.block_until(0.75)
    bucket.block_until(0.5)
    assert bucket.try_acquire(0.7) is None
    assert bucket.next_available_at() == 0.75
    assert bucket.wait(0.5) == 0.25
    taken(bucket, 0.75)


def test_tokens_that_others_spent_are_gone_until_the_window_ends() -> None:
    """HTX says that nothing is left, though one of ours is free."""
    bucket = TokenBucket(RateLimit(3, per=1.0))
    grant = taken(bucket, 0.0)
    bucket.release_at(0.0)
    bucket.apply_server_remaining(grant, remaining=1, until=0.5)
    assert bucket.free == 1
    bucket.apply_server_remaining(grant, remaining=0, until=0.5)
    assert bucket.free == 0
    assert bucket.next_available_at() == 0.5


def test_a_header_never_gives_a_token() -> None:
    """That HTX says more is left than we think changes nothing."""
    bucket = TokenBucket(LIMIT)
    grant = taken(bucket, 0.0)
    bucket.release_at(0.0)
    bucket.apply_server_remaining(grant, remaining=100, until=0.5)
    assert bucket.free == 1


def test_what_was_granted_since_is_taken_off() -> None:
    """HTX had counted a later request of ours already: that is nobody else's."""
    bucket = TokenBucket(RateLimit(5, per=1.0))
    first = taken(bucket, 0.0)
    taken(bucket, 0.0)
    bucket.apply_server_remaining(first, remaining=3, until=0.5)
    assert bucket.free == 3


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), max_size=30))
def test_a_lone_client_is_never_slowed_by_honest_headers(steps: list[tuple[int, int]]) -> None:
    """A fixed window that counts only us never says less than we know."""
    limit, tick = RateLimit(4, per=1.0), 1 / 32
    bucket = TokenBucket(limit)
    now, opened, counted = 0.0, -math.inf, 0
    under_way: list[tuple[float, Permit, int]] = []
    for pause, up in steps:
        now += pause * tick
        for _, earlier, remain in [trip for trip in under_way if trip[0] <= now]:
            bucket.release_at(now)
            before = bucket.free
            bucket.apply_server_remaining(earlier, remain, now + 1.0)
            assert bucket.free == before
        under_way = [trip for trip in under_way if trip[0] > now]
        if grant := bucket.try_acquire(now):
            arrival = now  # counted at once, answered later: the hardest case for the rule
            if arrival >= opened + limit.per:
                opened, counted = arrival, 0
            counted += 1
            assert counted <= limit.requests
            under_way.append((now + up * tick, grant, limit.requests - counted))


@pytest.mark.parametrize(
    ("ahead", "wait"), [(0, 0.25), (1, 1.0), (2, 1.25), (3, 2.0), (200, 100.25)]
)
def test_the_wait_of_those_behind(ahead: int, wait: float) -> None:
    """One token is back at 0.25, one is out: each comes round once a period."""
    bucket = TokenBucket(LIMIT)
    taken(bucket, -1.0)
    taken(bucket, -1.0)
    bucket.release_at(-0.75)
    assert bucket.wait(0.0, ahead) == wait


def test_the_wait_behind_those_who_get_the_free_ones() -> None:
    """Two are free and two on their way: the third waits for the first of these."""
    bucket = TokenBucket(RateLimit(4, per=1.0))
    for _ in range(2):
        taken(bucket, -1.0)
    bucket.release_at(-0.75)
    bucket.release_at(-0.5)
    assert [bucket.wait(0.0, ahead) for ahead in range(4)] == [0.0, 0.0, 0.25, 0.5]


def test_the_wait_of_one_who_is_alone() -> None:
    """Without others it is the next token that counts, not the one after it."""
    bucket = TokenBucket(LIMIT)
    taken(bucket, 0.0)
    taken(bucket, 0.0)
    bucket.release_at(0.0)
    bucket.release_at(0.5)
    assert bucket.wait(0.5) == 0.5


def test_all_that_are_back_are_free() -> None:
    """Each counts, not only the last."""
    bucket = TokenBucket(RateLimit(3, per=1.0))
    for _ in range(3):
        taken(bucket, 0.0)
    for _ in range(3):
        bucket.release_at(0.0)
    assert [taken(bucket, 1.0).free_after for _ in range(3)] == [2, 1, 0]


def test_a_bucket_is_full_once_all_is_back() -> None:
    """Until then forgetting it would forget requests."""
    bucket = TokenBucket(LIMIT)
    assert bucket.is_full(0.0)
    taken(bucket, 0.0)
    assert not bucket.is_full(0.0)
    assert not bucket.is_full(9.0)  # one is out
    bucket.release_at(0.5)
    assert not bucket.is_full(1.25)
    assert bucket.is_full(1.5)
    bucket.block_until(9.0)
    assert not bucket.is_full(2.0)


def test_a_successor_goes_on_where_its_loop_was_closed() -> None:
    """What was out is over; and what its owner says of it later does not count twice."""
    bucket = TokenBucket(RateLimit(4, per=1.0))
    for _ in range(3):
        taken(bucket, 0.0)
    bucket.release_at(0.25)
    bucket.block_until(0.5)
    successor = bucket.fork(0.75)
    bucket.release_at(2.0)
    bucket.release_at(2.0)
    assert (successor.free, successor.in_use) == (1, 0)
    taken(successor, 0.75)
    assert successor.next_available_at() == 1.25
    taken(successor, 1.25)
    assert successor.next_available_at() == 1.75


def test_a_bucket_without_a_bottom_does_not_listen() -> None:
    """Whatever a server that does not count may say."""
    bucket = UnlimitedBucket()
    assert bucket.limit == RateLimit(10**9, per=0.0)  # what `limits()` shows
    assert bucket.try_acquire(0.0) == Permit(free_after=0, sequence=0)
    bucket.release_unused()
    for _ in range(3):
        bucket.apply_server_remaining(taken(bucket, 0.0), remaining=0, until=9.0)
    bucket.block_until(9.0)
    assert bucket.wait(0.0, ahead=10**6) == 0.0
    assert bucket.in_use == 3
    bucket.release_unused()
    bucket.release_at(0.0)
    assert not bucket.is_full(0.0)
    bucket.release_at(0.0)
    assert bucket.is_full(0.0)
    assert bucket.fork(0.0).try_acquire(0.0) is not None


def test_its_repr_tells_the_level() -> None:
    """What a person wants to know when looking at one."""
    bucket = TokenBucket(RateLimit(100, per=2.0))
    taken(bucket, 0.0)
    assert repr(bucket) == "<TokenBucket 99/100 free, 1 in use, 100 per 2 s>"
