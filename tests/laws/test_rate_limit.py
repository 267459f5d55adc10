"""Law 2 (one token per attempt) and law 3 (first in, first out) as property tests."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from htx_async.errors import HTXError
from htx_async.options import RequestOptions
from htx_async.ratelimit.headers import EXPIRE_HEADER, REMAINING_HEADER
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import Permit, RateLimit, TokenBucket
from htx_async.request import Request
from htx_async.sandbox.rate_windows import RateWindows, WindowRule
from tests.ratelimit.redis.virtual_server import ScriptServer, VirtualProcess
from tests.redis_process import RedisProcess
from tests.virtual import VirtualClock, run
from tests.world import Trip, World, coalesced, endpoint, most_in_a_window, rate_limited

TICK = 1 / 64
"""All times are multiples of a binary fraction, so that sums are exact."""


def ticks(most: int) -> st.SearchStrategy[float]:
    """Draw a number of seconds, in whole ticks."""
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
    """A call made *after* seconds; cancelled *cancel_after* seconds later unless that is `None`."""

    after: float
    cancel_after: float | None


calls = st.builds(Call, after=ticks(40), cancel_after=st.none() | ticks(96))
settings_ = st.tuples(st.integers(1, 5), st.integers(1, 128).map(lambda count: count * TICK))


class RefillingBucket(TokenBucket):
    """The usual token bucket: full at first, then `requests / per` tokens a second."""

    __slots__ = ("_level", "_since")

    def __init__(self, limit: RateLimit) -> None:
        super().__init__(limit)
        self._level, self._since = float(limit.requests), 0.0

    def try_acquire(self, now: float, until: float = math.inf) -> Permit | None:
        del until
        self._level += (now - self._since) * self.limit.requests / self.limit.per
        self._level, self._since = min(self._level, float(self.limit.requests)), now
        if self._level < 1:
            return None
        self._level -= 1
        return Permit(0, 0)

    def next_available_at(self) -> float:
        return self._since + (1 - self._level) * self.limit.per / self.limit.requests + 1e-9

    def release_at(self, permit: Permit, first_byte_at: float) -> None:
        pass


class SendTimeBucket(TokenBucket):
    """Frees a token `per` seconds after its request was sent."""

    __slots__ = ()

    def try_acquire(self, now: float, until: float = math.inf) -> Permit | None:
        permit = super().try_acquire(now, until)
        if permit:
            super().release_at(permit, now)
        return permit

    def release_at(self, permit: Permit, first_byte_at: float) -> None:
        pass


async def simulate(
    limit: RateLimit,
    arriving: list[Call],
    network: list[Trip],
    kind: type[TokenBucket] = TokenBucket,
) -> World:
    """Make the *arriving* calls over a *network*; return what the server received."""
    clock = VirtualClock()
    limiter, target = RateLimiter(), endpoint(limit.requests, limit.per)
    limiter.queue_for(target, clock).bucket = kind(limit)
    world = await make_calls([limiter], limit, arriving, network)
    assert not limiter.queue_for(target, clock).bucket.in_use
    return world


async def make_calls(
    limiters: Sequence[RateLimiter],
    limit: RateLimit,
    arriving: list[Call],
    network: list[Trip],
    on_arrival: Callable[[], Mapping[str, str]] = dict,
) -> World:
    """Make the *arriving* calls through the processes with these *limiters*, in turn."""
    clock = VirtualClock()
    world = World(clock, cycle(network), on_arrival)
    target = endpoint(limit.requests, limit.per)
    sends = [
        coalesced(rate_limited(world, limiter, clock, ConnectionSlots(4)), clock)
        for limiter in limiters
    ]

    async def make(number: int, call: Call) -> None:
        options = RequestOptions(timeout=1000.0, coalesce=False)
        try:
            async with asyncio.timeout(call.cancel_after):
                await sends[number % len(sends)](Request(target, f"/{number}", options=options))
        except (HTXError, TimeoutError):
            pass

    async with asyncio.TaskGroup() as group:
        for number, call in enumerate(arriving):
            await clock.sleep(call.after)
            group.create_task(make(number, call))
    await clock.sleep(10.0)
    assert not world.in_flight
    return world


@given(settings_, st.lists(calls, max_size=40), st.lists(trips, min_size=1, max_size=20))
def test_rate_limit_holds_in_every_window(
    setting: tuple[int, float], arriving: list[Call], network: list[Trip]
) -> None:
    """No window exceeds the limit, whatever the jitter, the faults and the cancellations."""
    limit = RateLimit(*setting)
    world = run(simulate(limit, arriving, network))
    assert most_in_a_window(world.arrivals, limit.per) <= limit.requests


def foreign_use(
    limit: RateLimit, arriving: list[Call], network: list[Trip], rule: WindowRule, programs: int
) -> list[int]:
    """Return the foreign requests that *programs* programs of one user see in HTX's headers."""
    clock, windows = VirtualClock(), RateWindows(rule)

    def count() -> Mapping[str, str]:
        admission = windows.admit("user", limit.requests, limit.per, clock.monotonic())
        assert admission.admitted or programs > 1
        expires = round(admission.expires_in * 1000)
        return {REMAINING_HEADER: str(admission.remain), EXPIRE_HEADER: str(expires)}

    async def main() -> list[int]:
        limiters = [RateLimiter() for _ in range(programs)]
        await make_calls(limiters, limit, arriving, network, count)
        target = endpoint(limit.requests, limit.per)
        queues = [limiter.queue_for(target, clock) for limiter in limiters]
        return [queue.status().used_elsewhere for queue in queues]

    return run(main())


RULES: list[WindowRule] = ["fixed", "sliding", "bucket"]


@given(
    settings_,
    st.lists(calls, max_size=40),
    st.lists(trips, min_size=1, max_size=20),
    st.sampled_from(RULES),
)
@example((5, 1.0), [Call(0.0, None)] * 2, [Trip(up=0.25), Trip()], "fixed")
def test_rate_limit_sees_no_foreign_use_of_a_lone_program(
    setting: tuple[int, float], arriving: list[Call], network: list[Trip], rule: WindowRule
) -> None:
    """However HTX counts, and in whatever order the responses arrive."""
    assert foreign_use(RateLimit(*setting), arriving, network, rule, programs=1) == [0]


@pytest.mark.parametrize("rule", RULES)
def test_rate_limit_sees_foreign_use_of_two_programs(rule: WindowRule) -> None:
    network = [Trip(up=0.2), Trip(), Trip(down=0.1)]
    arriving = [Call(TICK, None)] * 12
    assert min(foreign_use(RateLimit(10, per=1.0), arriving, network, rule, programs=2)) > 0


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    settings_,
    st.lists(calls, max_size=40),
    st.lists(trips, min_size=1, max_size=20),
    st.lists(st.tuples(ticks(8), ticks(8)), min_size=1, max_size=5),
    st.integers(1, 3),
)
def test_rate_limit_holds_in_every_window_across_processes(
    redis_process: RedisProcess,
    setting: tuple[int, float],
    arriving: list[Call],
    network: list[Trip],
    to_redis: list[tuple[float, float]],
    count: int,
) -> None:
    """The same with Redis, whatever the latency to it; and every token becomes free again."""
    limit = RateLimit(*setting)

    async def main(client: Any) -> World:
        server, user = ScriptServer(client, cycle(to_redis)), secrets.token_hex(8)
        processes = [VirtualProcess(server, user, str(number)) for number in range(count)]
        world = await make_calls(processes, limit, arriving, network)
        queues = [process.queue_for(endpoint(*setting)) for process in processes]
        await asyncio.gather(*(queue.flush() for queue in queues))
        await VirtualClock().sleep(limit.per)
        async with queues[0].token(ConnectionSlots(1), 1.0) as token:
            assert token.permit.free_after == limit.requests - 1
        return world

    with redis_process.client() as client:
        world = run(main(client))
    assert most_in_a_window(world.arrivals, limit.per) <= limit.requests


@pytest.mark.parametrize("kind", [RefillingBucket, SendTimeBucket])
def test_rate_limit_property_detects_wrong_buckets(kind: type[TokenBucket]) -> None:
    """The usual algorithms exceed the limit in the same simulation."""
    limit = RateLimit(4, per=1.0)
    arriving = [Call(TICK, None)] * 40
    network = [Trip(up=0.4), Trip(), Trip(up=0.2), Trip(up=0.1), Trip()]
    world = run(simulate(limit, arriving, network, kind))
    assert most_in_a_window(world.arrivals, limit.per) > limit.requests

    world = run(simulate(limit, arriving, network))
    assert most_in_a_window(world.arrivals, limit.per) == limit.requests


@given(st.lists(calls, min_size=1, max_size=30), st.integers(1, 4))
def test_queue_serves_waiters_in_order_of_arrival(arriving: list[Call], limit: int) -> None:
    """Cancelled calls delay nobody, and no call overtakes another."""
    network = [Trip(down=TICK)]
    world = run(simulate(RateLimit(limit, per=1.0), arriving, network))
    served = [int(path[1:]) for path in world.paths]
    assert served == sorted(served)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_queue_cancelled_waiter_consumes_no_token(stays: list[bool]) -> None:
    """Of the calls that wait for a token, only those that are not cancelled consume one."""
    limit = RateLimit(1, per=1.0)
    first = [Call(0.0, None)]
    arriving = first + [Call(0.0, None if stay else TICK) for stay in stays]
    world = run(simulate(limit, arriving, [Trip(down=2 * TICK)]))
    assert len(world.arrivals) == 1 + sum(stays)
    # One request per window after the previous response: cancelled calls cost no time.
    step = 1.0 + 2 * TICK
    assert world.arrivals == [index * step for index in range(1 + sum(stays))]


@given(st.integers(1, 6), st.lists(trips, min_size=1, max_size=10))
def test_attempts_never_exceed_connection_slots(slots: int, network: list[Trip]) -> None:
    """A request waits for its slot before it is signed, not inside the connection pool."""

    async def main() -> World:
        clock = VirtualClock()
        world = World(clock, cycle(network))
        send = rate_limited(world, RateLimiter(), clock, ConnectionSlots(slots))
        target = endpoint(100, 1.0)
        await asyncio.gather(
            *(send(Request(target, "/x")) for _ in range(30)), return_exceptions=True
        )
        return world

    assert run(main()).max_in_flight == min(slots, 30)
