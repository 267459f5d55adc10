"""Law 2, a token per attempt, and law 3, first come, first served: as properties."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from htx_async.errors import HTXError
from htx_async.options import RequestOptions
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import Permit, RateLimit, TokenBucket
from htx_async.request import Request
from tests.lending import processes, queue_of, settle_down
from tests.redis_process import RedisProcess
from tests.virtual import VirtualClock, run
from tests.world import Trip, World, coalesced, endpoint, most_in_a_window, rate_limited

TICK = 1 / 64
"""All times are whole ticks: a binary fraction, so that sums are exact."""


def ticks(most: int) -> st.SearchStrategy[float]:
    """Draw some seconds, in whole ticks."""
    return st.integers(0, most).map(lambda count: count * TICK)


trips = st.builds(
    Trip,
    up=ticks(32),
    down=ticks(32),
    read=ticks(16),
    fault=st.sampled_from(["", "", "", "", "not sent", "cut"]),
)


@attrs.frozen
class Call:
    """A caller comes *after* seconds and, if *leaves* is not `None`, leaves that much later."""

    after: float
    leaves: float | None


calls = st.builds(Call, after=ticks(40), leaves=st.none() | ticks(96))
settings_ = st.tuples(st.integers(1, 5), st.integers(1, 128).map(lambda count: count * TICK))


class Refilling(TokenBucket):
    """The plain token bucket: full at first, then *limit* / *per* a second."""

    __slots__ = ("_level", "_since")

    def __init__(self, limit: RateLimit) -> None:
        super().__init__(limit)
        self._level, self._since = float(limit.requests), 0.0

    def try_acquire(self, now: float) -> Permit | None:
        self._level += (now - self._since) * self.limit.requests / self.limit.per
        self._level, self._since = min(self._level, float(self.limit.requests)), now
        if self._level < 1:
            return None
        self._level -= 1
        return Permit(0, 0)

    def next_available_at(self) -> float:
        return self._since + (1 - self._level) * self.limit.per / self.limit.requests + 1e-9

    def release_at(self, first_byte_at: float) -> None:
        pass


class FromSending(TokenBucket):
    """Counts the time from when a request left."""

    __slots__ = ()

    def try_acquire(self, now: float) -> Permit | None:
        grant = super().try_acquire(now)
        if grant:
            super().release_at(now)
        return grant

    def release_at(self, first_byte_at: float) -> None:
        pass


async def simulate(
    limit: RateLimit,
    arriving: list[Call],
    network: list[Trip],
    kind: type[TokenBucket] = TokenBucket,
) -> World:
    """Let callers come and go over a network, and return what the server saw."""
    clock = VirtualClock()
    budget, asked = RateLimiter(), endpoint(limit.requests, limit.per)
    budget.queue_for(asked, clock).bucket = kind(limit)
    world = await come_and_go([budget], limit, arriving, network)
    assert not budget.queue_for(asked, clock).bucket.in_use
    return world


async def come_and_go(
    budgets: Sequence[RateLimiter], limit: RateLimit, arriving: list[Call], network: list[Trip]
) -> World:
    """Let callers of some processes, in turn, come and go."""
    clock = VirtualClock()
    world = World(clock, cycle(network))
    asked = endpoint(limit.requests, limit.per)
    sends = [
        coalesced(rate_limited(world, budget, clock, slots(clock)), clock) for budget in budgets
    ]

    async def call(number: int, who: Call) -> None:
        options = RequestOptions(timeout=1000.0, coalesce=False)
        try:
            async with asyncio.timeout(who.leaves):
                await sends[number % len(sends)](Request(asked, f"/{number}", options=options))
        except (HTXError, TimeoutError):
            pass

    async with asyncio.TaskGroup() as group:
        for number, who in enumerate(arriving):
            await clock.sleep(who.after)
            group.create_task(call(number, who))
    await clock.sleep(10.0)
    assert not world.flying
    return world


def slots(clock: VirtualClock) -> TokenQueue:
    """Return four connections."""
    return TokenQueue(TokenBucket(RateLimit(4, per=0.0)), clock)


@given(settings_, st.lists(calls, max_size=40), st.lists(trips, min_size=1, max_size=20))
def test_no_window_holds_more_than_the_limit(
    setting: tuple[int, float], arriving: list[Call], network: list[Trip]
) -> None:
    """Whatever the jitter, the faults and the cancellations: no window is over the limit."""
    limit = RateLimit(*setting)
    world = run(simulate(limit, arriving, network))
    assert most_in_a_window(world.arrivals, limit.per) <= limit.requests


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    settings_,
    st.lists(calls, max_size=40),
    st.lists(trips, min_size=1, max_size=20),
    st.lists(st.tuples(ticks(8), ticks(8)), min_size=1, max_size=5),
    st.integers(1, 3),
)
def test_no_window_holds_more_than_the_limit_of_processes_that_share(
    redis_process: RedisProcess,
    setting: tuple[int, float],
    arriving: list[Call],
    network: list[Trip],
    to_redis: list[tuple[float, float]],
    count: int,
) -> None:
    """The same of the rule on a Redis, whatever its network does: and every token comes back."""
    limit = RateLimit(*setting)

    async def main(client: Any) -> World:
        budgets = processes(client, count, to_redis)
        world = await come_and_go(budgets, limit, arriving, network)
        await settle_down(budgets)
        await VirtualClock().sleep(limit.per)
        lender = budgets[0].lender
        reply = lender.run(
            queue_of(budgets[0], limit)._book.request(lender.clock.monotonic(), 0, 0)
        )
        assert reply.free == limit.requests
        return world

    with redis_process.client() as client:
        world = run(main(client))
    assert most_in_a_window(world.arrivals, limit.per) <= limit.requests


@pytest.mark.parametrize("kind", [Refilling, FromSending])
def test_the_property_catches_buckets_that_are_wrong(kind: type[TokenBucket]) -> None:
    """The plain rules, under the same test, let too much through."""
    limit = RateLimit(4, per=1.0)
    arriving = [Call(TICK, None)] * 40
    network = [Trip(up=0.4), Trip(), Trip(up=0.2), Trip(up=0.1), Trip()]
    world = run(simulate(limit, arriving, network, kind))
    assert most_in_a_window(world.arrivals, limit.per) > limit.requests

    world = run(simulate(limit, arriving, network))
    assert most_in_a_window(world.arrivals, limit.per) == limit.requests


@given(st.lists(calls, min_size=1, max_size=30), st.integers(1, 4))
def test_those_who_stay_are_served_in_the_order_in_which_they_came(
    arriving: list[Call], limit: int
) -> None:
    """Leaving delays nobody, and nobody is overtaken."""
    network = [Trip(down=TICK)]
    world = run(simulate(RateLimit(limit, per=1.0), arriving, network))
    served = [int(path[1:]) for path in world.paths]
    assert served == sorted(served)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_who_leaves_before_the_token_takes_none(stays: list[bool]) -> None:
    """Of callers that wait behind a taken token, only those who stay cost one."""
    limit = RateLimit(1, per=1.0)
    first = [Call(0.0, None)]
    arriving = first + [Call(0.0, None if stay else TICK) for stay in stays]
    world = run(simulate(limit, arriving, [Trip(down=2 * TICK)]))
    assert len(world.arrivals) == 1 + sum(stays)
    # One after the other, a period after the answer: nobody who left costs any time.
    step = 1.0 + 2 * TICK
    assert world.arrivals == [index * step for index in range(1 + sum(stays))]


@given(st.integers(1, 6), st.lists(trips, min_size=1, max_size=10))
def test_there_are_never_more_attempts_than_connections(slots: int, network: list[Trip]) -> None:
    """Requests wait for a connection before they are signed, not inside the pool."""

    async def main() -> World:
        clock = VirtualClock()
        world = World(clock, cycle(network))
        queue = TokenQueue(TokenBucket(RateLimit(slots, per=0.0)), clock)
        limiting = rate_limited(world, RateLimiter(), clock, queue)
        asked = endpoint(100, 1.0)
        await asyncio.gather(
            *(limiting(Request(asked, "/x")) for _ in range(30)), return_exceptions=True
        )
        return world

    assert run(main()).most_flying == min(slots, 30)
