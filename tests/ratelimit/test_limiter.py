"""Rate limiter: shared by the clients of one key, across event loops and threads."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

import httpx
import msgspec
import pytest

from htx_async import UNLIMITED, Credentials, HTXClient, RateLimit, RateLimiter
from htx_async.clock import Clock
from htx_async.middleware.retrying import SERVER_TIME
from htx_async.ratelimit import limiter as module
from htx_async.ratelimit.limiter import shared_rate_limiter
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import MARGIN
from htx_async.request import Endpoint, Request, Response
from htx_async.sandbox import Sandbox
from tests.virtual import VirtualClock, VirtualLoop
from tests.world import endpoint, most_in_a_window, rate_limited

T = TypeVar("T")
KEYS = Credentials("access-key", "secret-key")


class Loops:
    """Virtual loops that share one time axis. They are closed at the end of the `with` block."""

    def __init__(self) -> None:
        self.now = 0.0
        self._loops: list[VirtualLoop] = []

    def new(self) -> VirtualLoop:
        """Return a new loop."""
        self._loops.append(VirtualLoop())
        return self._loops[-1]

    def run(self, main: Coroutine[Any, Any, T], loop: VirtualLoop | None = None) -> T:
        """Run *main* on *loop*, which stays open, or on a new one, as `asyncio.run` does."""
        used = loop or self.new()
        used._jumping.time = self.now
        try:
            return used.run_until_complete(main)
        finally:
            self.now = used.time()
            if loop is None:
                used.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for loop in self._loops:
            loop.close()


class Caller:
    """Sends requests through the middleware, and records when they arrived."""

    def __init__(self, limiter: RateLimiter, target: Endpoint[int], clock: Clock) -> None:
        self.arrivals: list[float] = []
        self._target, self._clock = target, clock
        self._limiter = limiter

    async def __call__(self, count: int) -> None:
        """Make *count* calls at once, as one client of the running loop."""
        send = rate_limited(self._respond, self._limiter, self._clock, ConnectionSlots(20))
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(send(Request(self._target, "/x")))

    async def _respond(self, request: Request) -> Response:
        del request
        self.arrivals.append(self._clock.monotonic())
        await self._clock.sleep(0.001)
        return Response(200, {}, b"", self._clock.monotonic())


def unsigned(limit: int, per: float) -> Endpoint[int]:
    return msgspec.structs.replace(endpoint(limit, per), signed=False)


def named(name: str, *, signed: bool = True) -> Endpoint[int]:
    return Endpoint(f"/v1/{name}", RateLimit(1, per=1.0), int, signed=signed)


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
    """Used tokens stay used, and those of lost attempts return when these must be over."""
    clock, points, slots = VirtualClock(), endpoint(2, 1.0), ConnectionSlots(9)
    queue = RateLimiter().queue_for(points, clock)

    async def first() -> None:
        await queue.token(slots, 3.0).__aenter__()  # never released: the loop ends
        async with queue.token(slots) as token:
            token.is_unused = False

    async def second() -> list[float]:
        times = []
        for _ in range(2):
            await queue.token(ConnectionSlots(9)).__aenter__()
            times.append(clock.monotonic())
        return times

    with Loops() as loops:
        loops.run(first())
        assert loops.run(second()) == [1.0, 3.0 + MARGIN + 1.0]


def test_rate_limiter_keeps_limit_across_asyncio_runs() -> None:
    """Three runs with two calls each: at most two requests in a second."""
    clock, shared = VirtualClock(), RateLimiter()
    sandbox = Sandbox(clock=clock)

    async def main() -> None:
        transport = httpx.ASGITransport(app=sandbox)
        async with HTXClient(KEYS, transport=transport, rate_limiter=shared, clock=clock) as htx:
            await asyncio.gather(*(htx.points.balance(sub_uid=1001 + uid) for uid in range(2)))

    with Loops() as loops:
        for _ in range(3):
            loops.run(main())
    arrivals = [arrival.at for arrival in sandbox.arrivals]
    assert len(arrivals) == 6
    assert most_in_a_window(arrivals, 1.0) == 2
    assert sandbox.rate_limited == 0


def test_rate_limiter_keeps_limit_across_loops_that_stay_open() -> None:
    """Loops that are used in turn and never closed, as in notebooks, have one bucket."""
    call = Caller(RateLimiter(), endpoint(10, 2.0), VirtualClock())
    with Loops() as loops:
        opened = [loops.new() for _ in range(4)]
        for _ in range(3):
            for loop in opened:
                loops.run(call(9), loop)
    assert len(call.arrivals) == 3 * 4 * 9
    assert most_in_a_window(call.arrivals, 2.0) == 10


@pytest.mark.slow
@pytest.mark.parametrize("target", [endpoint(20, 0.25), unsigned(20, 0.25)])
def test_rate_limiter_keeps_limit_after_loops_overlapped(target: Endpoint[int]) -> None:
    """Two threads' loops overlap, then `asyncio.run` is called in both, and here, in turn."""
    call, both = Caller(RateLimiter(), target, Clock()), threading.Barrier(2)

    async def overlapping() -> None:
        both.wait()
        await call(15)

    def use() -> None:
        asyncio.run(overlapping())
        asyncio.run(call(10))

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(4):
        asyncio.run(call(18))
    assert len(call.arrivals) == 2 * (15 + 10) + 4 * 18
    assert most_in_a_window(call.arrivals, target.limit.per) <= 20


def test_rate_limiters_share_buckets_of_unsigned_endpoints() -> None:
    """HTX counts unsigned requests by IP address, whatever the key."""
    first, second, clock = RateLimiter(), RateLimiter(), Clock()
    calibration = first.queue_for(SERVER_TIME, clock)
    for number in range(10):  # the registry forgets limiters that are not used
        shared_rate_limiter(number)
    gc.collect()
    assert second.queue_for(SERVER_TIME, clock) is calibration
    assert first.queue_for(endpoint(), clock) is not second.queue_for(endpoint(), clock)
    assert UNLIMITED.queue_for(SERVER_TIME, clock) is not calibration


async def test_rate_limiters_of_a_simulation_share_buckets_of_unsigned_endpoints(
    virtual_time: VirtualClock,
) -> None:
    """Those with the same clock. The system's time does not change them."""
    calls = [Caller(RateLimiter(), unsigned(2, 1.0), virtual_time) for _ in range(3)]
    for call in calls:
        await call(2)
        for number in range(3):
            shared_rate_limiter(number)
    assert most_in_a_window([at for call in calls for at in call.arrivals], 1.0) == 2
    queues = {RateLimiter().queue_for(SERVER_TIME, VirtualClock()) for _ in range(2)}
    assert len(queues) == 2


def test_shared_rate_limiter_forgets_full_limiters() -> None:
    """Many keys use bounded memory, and a limiter that is in use is never replaced."""
    used = shared_rate_limiter("in use")
    for number in range(100):
        shared_rate_limiter(f"key {number}")
        assert len(module._recent) <= 3
    assert shared_rate_limiter("in use") is used


def test_shared_rate_limiter_looks_at_few_of_many_active_limiters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Creating a client costs the same with ten thousand users whose tokens are in use."""
    looked_at: list[RateLimiter] = []

    def is_idle_full(limiter: RateLimiter, now: float) -> bool:
        del now
        looked_at.append(limiter)
        return False

    monkeypatch.setattr(RateLimiter, "is_idle_full", is_idle_full)
    for number in range(10_000):
        shared_rate_limiter(number)
    assert len(module._recent) == 10_000
    looked_at.clear()
    HTXClient(KEYS)
    assert len(looked_at) <= 2
    assert module._recent.popitem(last=False)[0] != 0  # the next time it looks at others


def test_shared_rate_limiter_keeps_limiter_with_returning_tokens() -> None:
    async def use() -> None:
        queue = shared_rate_limiter("used").queue_for(endpoint(1, 1000.0), Clock())
        async with queue.token(ConnectionSlots(1)) as token:
            token.is_unused = False

    asyncio.run(use())
    for number in range(10):
        shared_rate_limiter(number)
    gc.collect()
    assert not shared_rate_limiter("used").is_idle_full(Clock().monotonic())


@pytest.mark.usefixtures("virtual_time")
async def test_unlimited_rate_limiter_never_waits() -> None:
    """An endpoint's own limit does not apply."""
    queue = UNLIMITED.queue_for(endpoint(1, 1.0), VirtualClock())
    async with asyncio.timeout(1.0):
        for _ in range(3):
            async with queue.token(ConnectionSlots(1)) as token:
                token.is_unused = False


@pytest.mark.usefixtures("virtual_time")
async def test_rate_limiter_repr_shows_endpoints_and_tokens() -> None:
    shared = RateLimiter()
    async with shared.queue_for(endpoint(2, 1.0), VirtualClock()).token(ConnectionSlots(1)):
        assert "GET /v1/test: <0 waiting for <TokenBucket 1/2 free" in repr(shared)
    assert repr(UNLIMITED) == "UNLIMITED"


def test_virtual_loops_have_independent_time() -> None:
    """Self-check of the test tool: each virtual loop starts at 0."""
    loops = [VirtualLoop(), VirtualLoop()]
    assert [loop.time() for loop in loops] == [0.0, 0.0]
    for loop in loops:
        loop.close()


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.usefixtures("virtual_time")
async def test_rate_limiter_forgets_endpoints_that_are_not_in_use(
    signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may request any number of paths; spent tokens are never forgotten."""
    monkeypatch.setattr(module, "MAX_QUEUES", 4)
    limiter, clock = RateLimiter(), VirtualClock()
    used = named("used", signed=signed)
    await Caller(limiter, used, clock)(1)
    for number in range(50):
        limiter.queue_for(named(f"{number}", signed=signed), clock)
    assert limiter.queue_for(used, clock).status().available == 0
    assert len(limiter._queues) <= 5
    await clock.sleep(3)
    for number in range(5):
        limiter.queue_for(named(f"other-{number}", signed=signed), clock)
    assert used.name not in limiter._queues


@pytest.mark.usefixtures("virtual_time")
async def test_rate_limiter_finds_a_forgotten_queue_that_is_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another thread may be about to acquire a token of it: there must not be two."""
    monkeypatch.setattr(module, "MAX_QUEUES", 1)
    limiter, clock = RateLimiter(), VirtualClock()
    queue = limiter.queue_for(named("used"), clock)
    limiter.queue_for(named("other"), clock)
    assert named("used").name not in limiter._queues
    assert limiter.queue_for(named("used"), clock) is queue


@pytest.mark.usefixtures("virtual_time")
async def test_rate_limiter_after_a_fork_has_all_tokens() -> None:
    """Those that the parent process is using are never released in the child."""
    limiter, clock = RateLimiter(), VirtualClock()
    await Caller(limiter, named("used"), clock)(1)
    assert limiter.queue_for(named("used"), clock).status().available == 0
    module.registry_lock.acquire()
    module._after_fork_in_child()
    assert not module.registry_lock.locked()
    assert limiter.queue_for(named("used"), clock).status().available == 1


FORK = """
import asyncio, multiprocessing, os
import httpx
from htx_async import Credentials, HTXClient, RateLimiter
from htx_async.ratelimit.limiter import registry_lock
from htx_async.sandbox import Sandbox

KEYS, SHARED = Credentials("access-key", "secret-key"), RateLimiter()

class Silent(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request):
        await asyncio.Event().wait()

async def call(rate_limiter, transport):
    options = {"rate_limiter": rate_limiter, "transport": transport, "coalesce": False}
    async with HTXClient(KEYS, timeout=3.0, **options) as htx:
        await asyncio.gather(htx.points.balance(), htx.points.balance())

def child():
    for limiter in (None, SHARED):
        asyncio.run(call(limiter, httpx.ASGITransport(app=Sandbox())))

async def parent():
    calls = [asyncio.create_task(call(limiter, Silent())) for limiter in (None, SHARED)]
    await asyncio.sleep(0.1)
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    os._exit(process.exitcode or registry_lock.locked())

asyncio.run(parent())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not have it")
def test_forked_process_can_use_the_key_of_its_parent() -> None:
    """As with `ProcessPoolExecutor`, while the parent waits for two responses at a limit of 2."""
    done = subprocess.run([sys.executable, "-c", FORK], timeout=30, check=False)
    assert done.returncode == 0
