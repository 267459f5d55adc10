"""Whose tokens they are: one budget for all clients of a key, across loops."""

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


class Shifted(Clock):
    """Real asyncio time, but one that all loops of a test share: it starts at *start*."""

    def __init__(self, start: float) -> None:
        self.start = start

    def monotonic(self) -> float:
        return self.start + asyncio.get_running_loop().time()

    def now(self) -> float:
        return 1_700_000_000.0 + self.monotonic()


def test_clients_of_one_key_share_without_being_told() -> None:
    """Whatever the host; another key, or another clock, has its own."""
    first = HTXClient(KEYS)
    second = HTXClient(KEYS, base_url="https://api-aws.huobi.pro")
    other = HTXClient(Credentials("other-key", "secret-key"))
    timed = HTXClient(KEYS, clock=VirtualClock())
    assert first._rate_limiter is second._rate_limiter
    assert len({id(client._rate_limiter) for client in (first, other, timed)}) == 3


@pytest.mark.usefixtures("virtual_time")
async def test_a_client_per_request_keeps_the_law() -> None:
    """Six clients, one after the other, ask for points: no second holds more than two."""
    clock, shared = VirtualClock(), RateLimiter()
    sandbox = Sandbox(clock=clock)
    for _ in range(6):
        transport = httpx.ASGITransport(app=sandbox)
        async with HTXClient(KEYS, transport=transport, rate_limiter=shared, clock=clock) as htx:
            await htx.points.balance()
    assert sandbox.rate_limited == 0
    assert most_in_a_window([arrival.at for arrival in sandbox.arrivals], 1.0) == 2


def test_the_process_budget_outlives_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its tokens are back, a new client finds them spent."""
    monkeypatch.setattr(Clock, "monotonic", lambda _: 5.0)  # they never are

    async def main() -> None:
        for spent in (0, 1, 2):
            transport = httpx.ASGITransport(app=Sandbox())
            async with HTXClient(KEYS, transport=transport) as htx:
                free = htx.limits()["GET /v2/point/account"].available
                if spent < 2:
                    await htx.points.balance()
                else:
                    assert htx.limits()["GET /v2/point/account"].wait > 0
            del htx
            gc.collect()
            assert free == 2 - spent or spent == 0

    asyncio.run(main())


def test_a_second_loop_takes_over_from_a_closed_one() -> None:
    """`asyncio.run` twice: what the first has spent is spent, what it had out is over."""
    shared, asked = RateLimiter(), endpoint(2, 1.0)

    async def first() -> None:
        queue = shared.queue_for(asked, Shifted(0.0))
        grant = await queue.acquire()
        await queue.acquire()
        queue.release_at(grant, 0.0)  # the other one is still out when the loop ends

    async def second() -> float:
        clock = Shifted(0.25)
        queue = shared.queue_for(asked, clock)
        await queue.acquire()
        assert clock.monotonic() == 1.0
        await queue.acquire()
        return clock.monotonic()

    run(first())
    assert run(second()) == 1.25


def test_two_asyncio_runs_keep_the_law() -> None:
    """The same through clients: four reads of points, two in each run."""
    arrivals: list[float] = []

    async def main(start: float) -> float:
        clock = Shifted(start)
        sandbox = Sandbox(clock=clock)
        transport = httpx.ASGITransport(app=sandbox)
        async with HTXClient(KEYS, transport=transport, rate_limiter=shared, clock=clock) as htx:
            await asyncio.gather(*(htx.points.balance(sub_uid=1001 + uid) for uid in range(2)))
        arrivals.extend(arrival.at for arrival in sandbox.arrivals)
        return clock.monotonic()

    shared = RateLimiter()
    over = run(main(0.0))
    run(main(over + 0.125))
    assert len(arrivals) == 4
    assert most_in_a_window(arrivals, 1.0) == 2


def test_two_loops_that_run_at_once_count_separately() -> None:
    """As documented: neither knows what the other has out."""
    shared, asked = RateLimiter(), endpoint(1, 1.0)
    seen: list[TokenBucket] = []

    async def use() -> None:
        seen.append(shared.queue_for(asked, Clock()).bucket)
        if len(seen) == 1:
            thread = threading.Thread(target=asyncio.run, args=(use(),))
            thread.start()
            thread.join()
            assert shared.queue_for(asked, Clock()).bucket is seen[0]

    asyncio.run(use())
    assert seen[0] is not seen[1]


def test_old_budgets_are_forgotten_when_they_are_rested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many keys do not fill the memory, and one that is in use is never split in two."""
    monkeypatch.setattr(module, "_SWEEP_AT", 3)
    used = shared_rate_limiter("in use")
    for number in range(10):
        shared_rate_limiter(f"key {number}")
    assert len(module._recent) <= 3
    assert shared_rate_limiter("in use") is used


def test_a_budget_that_is_not_rested_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tokens are not back yet."""
    monkeypatch.setattr(module, "_SWEEP_AT", 1)

    async def spend() -> None:
        queue = shared_rate_limiter("spent").queue_for(endpoint(1, 1000.0), Clock())
        queue.release_at(await queue.acquire(), Clock().monotonic())

    asyncio.run(spend())
    shared_rate_limiter("other")
    gc.collect()
    assert not shared_rate_limiter("spent").is_idle_full(Clock().monotonic())


def test_its_repr_tells_the_level() -> None:
    """What a person wants to know when looking at one."""

    async def main() -> None:
        shared = RateLimiter()
        await shared.queue_for(endpoint(2, 1.0), VirtualClock()).acquire()
        assert "GET /v1/test: [<0 waiting for <TokenBucket 1/2 free" in repr(shared)

    run(main())
    assert repr(UNLIMITED) == "UNLIMITED"


def test_virtual_loops_are_independent() -> None:
    """A check of the tool: two loops start at the same time."""
    loops = [VirtualLoop(), VirtualLoop()]
    assert [loop.time() for loop in loops] == [0.0, 0.0]
    for loop in loops:
        loop.close()
