"""Rate limiter: shared by the clients of one key, across event loops and threads."""

from __future__ import annotations

import asyncio
import gc
import threading

import httpx
import pytest

from htx_async import UNLIMITED, Credentials, HTXClient, RateLimiter
from htx_async.clock import Clock
from htx_async.ratelimit import limiter as module
from htx_async.ratelimit.limiter import shared_rate_limiter
from htx_async.ratelimit.token_bucket import TokenBucket
from htx_async.sandbox import Sandbox
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.world import endpoint, most_in_a_window

KEYS = Credentials("access-key", "secret-key")


class ShiftedClock(Clock):
    """Virtual time that starts at *start*, so that all loops of a test share one time axis."""

    def __init__(self, start: float) -> None:
        self.start = start

    def monotonic(self) -> float:
        return self.start + asyncio.get_running_loop().time()

    def now(self) -> float:
        return 1_700_000_000.0 + self.monotonic()


def test_rate_limiter_is_shared_by_clients_of_one_key() -> None:
    """On any host; another key and another clock have limiters of their own."""
    first = HTXClient(KEYS)
    second = HTXClient(KEYS, base_url="https://api-aws.huobi.pro")
    other = HTXClient(Credentials("other-key", "secret-key"))
    timed = HTXClient(KEYS, clock=VirtualClock())
    assert first._rate_limiter is second._rate_limiter
    assert len({id(client._rate_limiter) for client in (first, other, timed)}) == 3


@pytest.mark.usefixtures("virtual_time")
async def test_rate_limiter_limits_successive_clients_together() -> None:
    """Six clients, one after the other, send two requests a second at most."""
    clock, shared = VirtualClock(), RateLimiter()
    sandbox = Sandbox(clock=clock)
    for _ in range(6):
        transport = httpx.ASGITransport(app=sandbox)
        async with HTXClient(KEYS, transport=transport, rate_limiter=shared, clock=clock) as htx:
            await htx.points.balance()
    assert sandbox.rate_limited == 0
    assert most_in_a_window([arrival.at for arrival in sandbox.arrivals], 1.0) == 2


def test_shared_rate_limiter_outlives_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new client of the same key does not get the tokens that are still returning."""
    monkeypatch.setattr(Clock, "monotonic", lambda _: 5.0)  # no token ever returns

    async def main() -> None:
        for used in (0, 1, 2):
            transport = httpx.ASGITransport(app=Sandbox())
            async with HTXClient(KEYS, transport=transport) as htx:
                available = htx.limits()["GET /v2/point/account"].available
                if used < 2:
                    await htx.points.balance()
                else:
                    assert htx.limits()["GET /v2/point/account"].wait > 0
            del htx
            gc.collect()
            assert available == 2 - used or used == 0

    asyncio.run(main())


def test_rate_limiter_second_loop_takes_over_from_closed_loop() -> None:
    """After a second `asyncio.run`, used tokens stay used and open requests are over."""
    shared, points = RateLimiter(), endpoint(2, 1.0)

    async def first() -> None:
        queue = shared.queue_for(points, ShiftedClock(0.0))
        permit = await queue.acquire()
        await queue.acquire()
        queue.release_at(permit, 0.0)  # the other token is still in use when the loop ends

    async def second() -> float:
        clock = ShiftedClock(0.25)
        queue = shared.queue_for(points, clock)
        await queue.acquire()
        assert clock.monotonic() == 1.0
        await queue.acquire()
        return clock.monotonic()

    run(first())
    assert run(second()) == 1.25


def test_rate_limiter_keeps_limit_across_two_asyncio_runs() -> None:
    """Two runs with two calls each: at most two requests in a second."""
    arrivals: list[float] = []

    async def main(start: float) -> float:
        clock = ShiftedClock(start)
        sandbox = Sandbox(clock=clock)
        transport = httpx.ASGITransport(app=sandbox)
        async with HTXClient(KEYS, transport=transport, rate_limiter=shared, clock=clock) as htx:
            await asyncio.gather(*(htx.points.balance(sub_uid=1001 + uid) for uid in range(2)))
        arrivals.extend(arrival.at for arrival in sandbox.arrivals)
        return clock.monotonic()

    shared = RateLimiter()
    end = run(main(0.0))
    run(main(end + 0.125))
    assert len(arrivals) == 4
    assert most_in_a_window(arrivals, 1.0) == 2


def test_rate_limiter_counts_concurrent_loops_separately() -> None:
    """Two loops that run at the same time have a bucket each."""
    shared, points = RateLimiter(), endpoint(1, 1.0)
    buckets: list[TokenBucket] = []

    async def use() -> None:
        buckets.append(shared.queue_for(points, Clock()).bucket)
        if len(buckets) == 1:
            thread = threading.Thread(target=asyncio.run, args=(use(),))
            thread.start()
            thread.join()
            assert shared.queue_for(points, Clock()).bucket is buckets[0]

    asyncio.run(use())
    assert buckets[0] is not buckets[1]


def test_shared_rate_limiter_forgets_full_limiters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many keys use bounded memory, and a limiter that is in use is never replaced."""
    monkeypatch.setattr(module, "_SWEEP_AT", 3)
    used = shared_rate_limiter("in use")
    for number in range(10):
        shared_rate_limiter(f"key {number}")
    assert len(module._recent) <= 3
    assert shared_rate_limiter("in use") is used


def test_shared_rate_limiter_keeps_limiter_with_returning_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SWEEP_AT", 1)

    async def use() -> None:
        queue = shared_rate_limiter("used").queue_for(endpoint(1, 1000.0), Clock())
        queue.release_at(await queue.acquire(), Clock().monotonic())

    asyncio.run(use())
    shared_rate_limiter("other")
    gc.collect()
    assert not shared_rate_limiter("used").is_idle_full(Clock().monotonic())


@pytest.mark.usefixtures("virtual_time")
async def test_unlimited_rate_limiter_never_waits() -> None:
    """An endpoint's own limit does not apply."""
    queue = UNLIMITED.queue_for(endpoint(1, 1.0), VirtualClock())
    async with asyncio.timeout(1.0):
        for _ in range(3):
            await queue.acquire()


def test_rate_limiter_repr_shows_endpoints_and_tokens() -> None:
    async def main() -> None:
        shared = RateLimiter()
        await shared.queue_for(endpoint(2, 1.0), VirtualClock()).acquire()
        assert "GET /v1/test: [<0 waiting for <TokenBucket 1/2 free" in repr(shared)

    run(main())
    assert repr(UNLIMITED) == "UNLIMITED"


def test_virtual_loops_have_independent_time() -> None:
    """Self-check of the test tool: each virtual loop starts at 0."""
    loops = [VirtualLoop(), VirtualLoop()]
    assert [loop.time() for loop in loops] == [0.0, 0.0]
    for loop in loops:
        loop.close()
