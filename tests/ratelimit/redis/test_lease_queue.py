"""Queue for leased tokens: the script on a real server, at virtual times."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest

from htx_async.errors import DeadlineExceededError, RateLimitQueueError
from htx_async.middleware.coalescing import RequestCoalescing
from htx_async.options import RequestOptions
from htx_async.ratelimit.headers import RateLimitHeaders
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.redis.lease_queue import FLUSH_DELAY, RECONNECT_DELAY, LeaseQueue
from htx_async.ratelimit.redis.protocol import (
    GRANT_TTL,
    Lease,
    LeaseReply,
    LeaseRequest,
    Unavailable,
)
from htx_async.ratelimit.token_bucket import RateLimit, TokenBucket
from htx_async.request import Request, Response
from tests.ratelimit.redis.virtual_server import (
    EPOCH,
    VirtualProcess,
    flush_all,
    queue_of,
    start_processes,
)
from tests.redis_process import RedisProcess
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.world import World, coalesced, endpoint, most_in_a_window, rate_limited

pytestmark = pytest.mark.slow
TWO = RateLimit(2, per=1.0)
TEN = RateLimit(10, per=2.0)
OUTAGE = Unavailable("Redis is unavailable")
CLOCK = VirtualClock()


@pytest.fixture
def client(redis_process: RedisProcess) -> Iterator[Any]:
    with redis_process.client() as client:
        yield client


def now() -> float:
    return asyncio.get_running_loop().time()


async def acquire(queue: LeaseQueue, attempt: float = 1.0) -> Lease:
    """Acquire a token for an attempt of *attempt* seconds."""
    lease = await queue.acquire(deadline=lambda: now() + attempt)
    assert isinstance(lease, Lease)
    return lease


async def use(queue: LeaseQueue, seconds: float = 0.0) -> float:
    """Use a token for a request whose response begins after *seconds*; return the start time."""
    lease = await acquire(queue)
    at = now()
    await asyncio.sleep(seconds)
    queue.release_at(lease, now())
    return at


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# Exchanges


@pytest.mark.usefixtures("virtual_time")
async def test_lease_queue_requests_tokens_of_concurrent_callers_in_one_exchange(
    client: Any,
) -> None:
    """The next exchange carries the updates."""
    [process] = start_processes(client, 1)
    queue = queue_of(process, TEN)
    await asyncio.gather(*(use(queue) for _ in range(9)))
    assert [request.wanted for request in process.server.requests] == [9]
    await use(queue)
    assert [len(request.updates) for request in process.server.requests] == [0, 9]


@pytest.mark.usefixtures("virtual_time")
async def test_lease_queue_flushes_updates_without_waiters(client: Any) -> None:
    """A used token is reported even if no other call follows."""
    first, second = start_processes(client, 2)
    await use(queue_of(first, RateLimit(1, 1.0)), 0.5)
    assert await use(queue_of(second, RateLimit(1, 1.0))) == pytest.approx(1.5, abs=0.01)
    assert len(first.server.requests) == 2


@pytest.mark.usefixtures("virtual_time")
async def test_lease_queue_polls_about_once_per_window(client: Any) -> None:
    """A token stays leased for a hundred windows."""
    first, second = start_processes(client, 2)
    lease = await acquire(queue_of(first, TWO), 200.0), await acquire(queue_of(first, TWO), 200.0)
    waiter = asyncio.create_task(use(queue_of(second, TWO)))
    await asyncio.sleep(100.0)
    queue_of(first, TWO).release_at(lease[0], now())
    assert await waiter == pytest.approx(101.0, abs=0.01)
    assert len(second.server.requests) <= 100 / (0.9 * TWO.per) + 3


@pytest.mark.usefixtures("virtual_time")
async def test_lease_queue_flush_leaves_no_task_or_timer(client: Any) -> None:
    processes = start_processes(client, 2)
    for process in processes:
        await use(queue_of(process, TWO))
    waiter = asyncio.create_task(use(queue_of(processes[0], TWO)))
    await asyncio.sleep(0.5)
    await cancel(waiter)
    await flush_all(processes)
    loop = asyncio.get_running_loop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert all(queue_of(process, TWO).is_idle for process in processes)
    await flush_all(processes)


# Between processes


async def saturate(processes: list[VirtualProcess], limit: RateLimit, seconds: float) -> list[int]:
    """Run twice as many callers as tokens in each process; return the grants of each process."""
    counts = [0] * len(processes)

    async def drive(number: int) -> None:
        queue = queue_of(processes[number], limit)
        while True:
            await use(queue, 0.03125)
            counts[number] += 1

    tasks = [
        asyncio.create_task(drive(number))
        for number in range(len(processes))
        for _ in range(2 * limit.requests)
    ]
    await asyncio.sleep(seconds)
    await cancel(*tasks)
    return counts


@pytest.mark.parametrize(("limit", "count"), [(TEN, 4), (TWO, 4), (TWO, 3), (RateLimit(100, 2), 4)])
def test_processes_get_equal_shares_and_use_the_full_rate(
    client: Any, limit: RateLimit, count: int
) -> None:
    """Also if there are more processes than tokens."""

    async def main() -> list[int]:
        processes = start_processes(client, count, [(0.001, 0.001), (0.002, 0.001)])
        return await saturate(processes, limit, 40.0)

    counts = run(main())
    assert sum(counts) >= 0.9 * 40.0 * limit.requests / limit.per
    assert min(counts) >= 0.8 * sum(counts) / count


@pytest.mark.usefixtures("virtual_time")
async def test_process_with_one_caller_is_not_starved_by_thousand_callers(client: Any) -> None:
    """It waits about one window, not for all of them."""
    greedy, modest = start_processes(client, 2)
    tasks = [asyncio.create_task(use(queue_of(greedy, TEN), 0.01)) for _ in range(1000)]
    for _ in range(5):
        await asyncio.sleep(1.0)
        called_at = now()
        assert await use(queue_of(modest, TEN)) - called_at <= TEN.per + 0.1
    await cancel(*tasks)


@pytest.mark.usefixtures("virtual_time")
async def test_tokens_of_dead_process_return_when_leases_end(client: Any) -> None:
    """A process that holds tokens and waits for more stops; another process takes over."""
    dead, alive = start_processes(client, 2)
    for _ in range(TEN.requests):
        await acquire(queue_of(dead, TEN), 3.0)
    died = now()
    waiter = asyncio.create_task(acquire(queue_of(dead, TEN)))
    await asyncio.sleep(0.1)
    queue_of(dead, TEN)._loop = None  # it stops: no timer or task runs any more
    dead.server.outage = OUTAGE
    taken_at = await asyncio.gather(*(use(queue_of(alive, TEN)) for _ in range(TEN.requests)))
    assert max(taken_at) <= died + 3.0 + GRANT_TTL + TEN.per + 0.1
    await cancel(waiter)


def test_process_with_high_latency_is_not_starved(client: Any) -> None:
    """Of four processes that share two tokens, the slow one has waited longest."""

    async def main() -> list[int]:
        processes = start_processes(client, 4)
        processes[3].server.trips = cycle([(0.1, 0.1)])
        return await saturate(processes, TWO, 60.0)

    counts = run(main())
    assert counts[3] >= 0.15 * sum(counts)


@pytest.mark.usefixtures("virtual_time")
async def test_demand_of_cancelled_waiter_is_withdrawn(client: Any) -> None:
    """The last waiter of a process is cancelled; the token goes to another process."""
    holder, first, second = start_processes(client, 3)
    one = RateLimit(1, per=1.0)
    lease = await acquire(queue_of(holder, one), 9.0)
    waiter = asyncio.create_task(use(queue_of(first, one)))
    await asyncio.sleep(0.1)
    later = asyncio.create_task(use(queue_of(second, one)))
    await asyncio.sleep(0.1)
    await cancel(waiter)
    queue_of(holder, one).release_at(lease, 0.0)
    assert await later == pytest.approx(1.0, abs=0.01)


@pytest.mark.usefixtures("virtual_time")
async def test_unused_token_notifies_waiting_process(client: Any) -> None:
    """The waiting process does not have to wait for its next poll."""
    first, second = start_processes(client, 2)
    hour = RateLimit(1, per=3600.0)
    lease = await acquire(queue_of(first, hour))
    waiter = asyncio.create_task(use(queue_of(second, hour)))
    await asyncio.sleep(10.0)
    queue_of(first, hour).release_unused(lease)
    assert await waiter == pytest.approx(10.0, abs=0.5)


@pytest.mark.usefixtures("virtual_time")
async def test_unused_token_is_found_by_next_poll_without_notification(client: Any) -> None:
    """The server cannot send notifications, so the process polls when the reply said."""
    first, second = start_processes(client, 2)
    lease = await acquire(queue_of(first, TWO)), await acquire(queue_of(first, TWO))
    second.server.notifies = False
    waiter = asyncio.create_task(use(queue_of(second, TWO)))
    await asyncio.sleep(0.25)
    queue_of(first, TWO).release_unused(lease[0])
    assert await waiter == pytest.approx(0.9, abs=0.01)


@pytest.mark.usefixtures("virtual_time")
async def test_429_blocks_all_processes(client: Any) -> None:
    """`status()` shows it in the process that received it."""
    first, second = start_processes(client, 2)
    await use(queue_of(second, TEN))
    queue_of(first, TEN).on_rate_limited(1.5)
    await asyncio.sleep(FLUSH_DELAY)
    assert await use(queue_of(second, TEN)) == pytest.approx(1.5, abs=0.01)
    assert queue_of(first, TEN).status().rate_limited == 1
    queue_of(second, TEN).on_rate_limited(1.0)
    assert queue_of(second, TEN).status().wait == pytest.approx(1.0, abs=0.01)


@pytest.mark.usefixtures("virtual_time")
async def test_headers_withhold_tokens_from_all_processes(client: Any) -> None:
    """Another client has used all tokens but one."""
    first, second = start_processes(client, 2)
    queue = queue_of(first, TEN)
    lease = await acquire(queue)
    queue.on_server_headers(lease, RateLimitHeaders(None, "soon"), 1.0)
    queue.on_server_headers(lease, RateLimitHeaders(9, None), 1.0)  # the expected number
    assert not queue._book.updates
    queue.on_server_headers(lease, RateLimitHeaders(1, None), 1.0)
    queue.release_at(lease, now())
    await asyncio.sleep(2 * FLUSH_DELAY)
    times = await asyncio.gather(*(use(queue_of(second, TEN)) for _ in range(3)))
    assert times[0] < 0.1
    assert times[1:] == pytest.approx([1.0, 1.0], abs=0.05)


# Servers that have lost their memory


@pytest.mark.usefixtures("virtual_time")
async def test_recently_started_server_grants_nothing_until_leases_end(client: Any) -> None:
    """Its predecessor may have granted tokens that it does not know."""
    [process] = start_processes(client, 1)
    process.server.started = EPOCH - 1_000_000
    lease = 1.0 + GRANT_TTL + TEN.per
    assert await use(queue_of(process, TEN)) == pytest.approx(lease - 1.0, abs=0.01)


@pytest.mark.usefixtures("virtual_time")
async def test_server_after_failover_grants_nothing_until_leases_end(client: Any) -> None:
    """A replica takes over with keys that may be outdated."""
    processes = start_processes(client, 2)
    for process in processes:
        await use(queue_of(process, TEN))
    for process in processes:
        process.server.id = "two"
    taken_at = await asyncio.gather(*(use(queue_of(process, TEN)) for process in processes))
    assert taken_at == pytest.approx([1.0 + GRANT_TTL + TEN.per] * 2, abs=0.02)
    assert await use(queue_of(processes[0], TEN)) < 5.0


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("is_first", [True, False])
async def test_emptied_server_grants_nothing_until_leases_end(client: Any, is_first: bool) -> None:
    """A process that exchanged recently detects it, even if a new process came first."""
    old, new = start_processes(client, 2)
    await use(queue_of(old, TEN))
    await asyncio.sleep(1.0)
    for key in client.keys(f"htx_async:{{{queue_of(old, TEN)._book._key.user}}}*"):
        client.delete(key)
    if is_first:
        await use(queue_of(new, TEN))
    emptied = now()
    assert await use(queue_of(old, TEN)) == pytest.approx(
        emptied + 1.0 + GRANT_TTL + TEN.per, abs=0.01
    )


@pytest.mark.usefixtures("virtual_time")
async def test_expired_keys_do_not_block_idle_process(client: Any) -> None:
    [process] = start_processes(client, 1)
    await use(queue_of(process, TEN))
    await asyncio.sleep(100.0)
    client.delete(*client.keys(f"*{queue_of(process, TEN)._book._key.user}*"))
    assert await use(queue_of(process, TEN)) == pytest.approx(100.0)


def test_redis_keys_have_prefix_and_expire(client: Any) -> None:
    """No key contains the name of the user."""

    async def main() -> None:
        processes = start_processes(client, 2)
        for process in processes:
            await acquire(queue_of(process, RateLimit(1, 1.0)), 1.0)
        waiter = asyncio.create_task(use(queue_of(processes[1], RateLimit(1, 1.0))))
        await asyncio.sleep(0.1)
        user = queue_of(processes[0], TWO)._book._key.user
        keys = [key.decode() for key in client.keys(f"*{user}*")]
        assert {key.rpartition(":")[2] for key in keys} == {"leased", "state", "demand"}
        assert all(key.startswith("htx_async:{") for key in keys)
        assert all(0 < client.pttl(key) <= 10_000 for key in keys)
        assert processes[0].user not in "".join(keys)
        await cancel(waiter)

    with pytest.raises(TimeoutError):  # the second process waits for the only token
        run(asyncio.wait_for(main(), 3.0))


# Expired grants


@pytest.mark.usefixtures("virtual_time")
async def test_lease_expires_grant_ttl_after_its_request(client: Any) -> None:
    """By the monotonic clock; it covers no attempt that lasts longer than its deadline."""
    [process] = start_processes(client, 1, [(0.25, 0.25)])
    queue = queue_of(process, TEN)
    lease = await acquire(queue, 5.0)
    assert lease.void_at == GRANT_TTL
    assert lease.is_valid(now(), 5.0 + GRANT_TTL)
    assert not lease.is_valid(now(), 5.0 + GRANT_TTL + 0.01)
    await asyncio.sleep(0.5)
    assert not lease.is_valid(now(), 5.0)


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("pause", [0.5, 30.0])
async def test_paused_process_renews_expired_leases_before_sending(
    client: Any, pause: float
) -> None:
    """Calls that hold a token wait for a connection while the process is paused; order is kept."""
    processes = start_processes(client, 2)
    world = World(CLOCK)
    slots = TokenQueue(TokenBucket(RateLimit(1, per=0.0)), CLOCK)
    send = rate_limited(world, processes[0], CLOCK, slots)
    target = endpoint(TEN.requests, TEN.per)
    slot = await slots.acquire()
    tasks = []
    for number in range(3):
        request = Request(target, f"/{number}", options=RequestOptions(timeout=5.0))
        request.call.deadline = 5.0
        tasks.append(asyncio.create_task(send(request)))
    await asyncio.sleep(0.25)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop._jumping.time += pause  # SIGSTOP, and later SIGCONT
    slots.release_at(slot, now())
    before = len(processes[0].server.requests)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    if pause > GRANT_TTL:
        assert all(isinstance(result, DeadlineExceededError) for result in results)
        assert not world.paths
        assert len(processes[0].server.requests) > before
    else:
        assert world.paths == ["/0", "/1", "/2"]
    await flush_all(processes)
    assert all(queue_of(process, TEN).is_idle for process in processes)


@pytest.mark.usefixtures("virtual_time")
async def test_renewed_lease_keeps_position_in_queue(client: Any) -> None:
    """An expired permit is exchanged at the caller's old position."""
    [process] = start_processes(client, 1)
    queue = queue_of(process, TWO)
    leases = [await acquire(queue), await acquire(queue)]
    order: list[str] = []

    async def wait(name: str, replaces: Lease | None = None) -> None:
        await queue.acquire(deadline=now, replaces=replaces)
        order.append(name)

    late = [asyncio.create_task(wait(f"late {number}")) for number in range(2)]
    await asyncio.sleep(0.5)
    early = [
        asyncio.create_task(wait(f"early {number}", lease))
        for number, lease in reversed(list(enumerate(leases)))
    ]
    await asyncio.sleep(0.1)
    assert order == ["early 0", "early 1"]
    await cancel(*late, *early)


@pytest.mark.usefixtures("virtual_time")
async def test_unused_token_goes_to_next_waiter_of_same_process(client: Any) -> None:
    """Without an exchange, if its lease covers the attempt of that waiter."""
    [process] = start_processes(client, 1)
    queue = queue_of(process, RateLimit(1, per=1.0))
    lease = await acquire(queue)
    waiter = asyncio.create_task(acquire(queue))
    await asyncio.sleep(0.25)
    before = len(process.server.requests)
    queue.release_unused(lease)
    assert (await waiter).token == lease.token
    assert len(process.server.requests) == before
    long = asyncio.create_task(acquire(queue, 100.0))
    await asyncio.sleep(0.25)
    queue.release_unused(lease)
    assert (await long).token != lease.token


# Cancellation


@pytest.mark.usefixtures("virtual_time")
async def test_token_of_cancelled_waiter_goes_to_next_waiter(client: Any) -> None:
    """Cancelled during the exchange or after it; without a waiter the server gets the token."""
    first, second = start_processes(client, 2, [(0.25, 0.25)])
    queue = queue_of(first, RateLimit(1, per=100.0))
    gone = asyncio.create_task(acquire(queue))
    await asyncio.sleep(0.3)
    stays = asyncio.create_task(acquire(queue))
    await cancel(gone)
    lease = await stays
    queue.release_unused(lease)
    gone = asyncio.create_task(acquire(queue))
    await asyncio.sleep(0.3)
    await cancel(gone)
    assert await use(queue_of(second, RateLimit(1, per=100.0))) < 10.0


@pytest.mark.usefixtures("virtual_time")
async def test_lease_queue_acquire_with_slot_returns_token_when_cancelled(client: Any) -> None:
    """A caller that is cancelled while it waits for a slot keeps neither token nor slot."""
    [process] = start_processes(client, 1)
    queue, slots = queue_of(process, TWO), TokenQueue(TokenBucket(RateLimit(1, per=0.0)), CLOCK)
    slot = await slots.acquire()
    waiter = asyncio.create_task(queue.acquire_with_slot(slots, lambda *_: None, lambda: 9.0))
    await asyncio.sleep(0.1)
    assert (len(queue._book.in_use), slots.status().queued) == (1, 1)
    await cancel(waiter)
    assert (len(queue._book.in_use), slots.status().queued) == (0, 0)
    slots.release_unused(slot)
    assert slots.bucket.in_use == 0


@pytest.mark.usefixtures("virtual_time")
async def test_waiter_cancelled_before_grant_is_skipped(client: Any) -> None:
    """Both happen in the same loop iteration."""
    [process] = start_processes(client, 1)
    queue = queue_of(process, RateLimit(1, per=100.0))
    lease = await acquire(queue)
    gone, stays = (asyncio.create_task(acquire(queue)) for _ in range(2))
    await asyncio.sleep(0.1)
    gone.cancel()
    queue.release_unused(lease)
    assert await stays == lease
    await asyncio.gather(gone, return_exceptions=True)


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("stays", [True, False])
async def test_waiter_cancelled_after_grant_returns_token(client: Any, stays: bool) -> None:
    """Both happen in the same loop iteration."""
    [process] = start_processes(client, 1)
    queue = queue_of(process, RateLimit(1, per=100.0))
    lease = await acquire(queue)
    waiters = [asyncio.create_task(acquire(queue)) for _ in range(1 + stays)]
    await asyncio.sleep(0.1)
    queue.release_unused(lease)  # grants it to the first
    waiters[0].cancel()
    if stays:
        await asyncio.wait([waiters[1]])
    await asyncio.gather(waiters[0], return_exceptions=True)
    await asyncio.sleep(0.1)
    assert len(queue._book.in_use) == stays
    assert waiters[0].cancelled()


def test_release_after_loop_closed_is_ignored(client: Any) -> None:
    """Tasks of a closed loop release their tokens when they are garbage-collected."""

    async def main() -> None:
        [process] = start_processes(client, 1)
        queue = queue_of(process, TEN)

        async def hold() -> None:
            lease = await acquire(queue)
            try:
                await asyncio.Event().wait()
            finally:
                queue.release_at(lease, 0.0)

        held.append(hold())
        held[0].send(None)

    held: list[Any] = []
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    held.clear()
    gc.collect()


# Queue limits and status


async def call_all(send: RequestCoalescing, count: int, **options: Any) -> list[Any]:
    """Make *count* concurrent calls; return their results and exceptions."""
    target = endpoint(TWO.requests, TWO.per)
    call_options = RequestOptions(timeout=50.0, coalesce=False, **options)
    calls = (send(Request(target, f"/{number}", options=call_options)) for number in range(count))
    return await asyncio.gather(*calls, return_exceptions=True)


def sharing(process: VirtualProcess) -> RequestCoalescing:
    """Return coalescing and rate limiting as a client combines them."""
    slots = TokenQueue(TokenBucket(RateLimit(9, per=0.0)), CLOCK)
    return coalesced(rate_limited(World(CLOCK), process, CLOCK, slots), CLOCK)


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize(
    "options", [{"queue_timeout": 0}, {"queue_timeout": 0.5}, {"max_queue": 0}]
)
async def test_queue_limits_reject_calls_after_one_round_trip(
    client: Any, options: dict[str, Any]
) -> None:
    """Two tokens are available, so two calls succeed, though that takes a round trip to know."""
    [process] = start_processes(client, 1, [(0.01, 0.01)])
    send = sharing(process)
    outcomes = await call_all(send, 4, **options)
    assert now() == pytest.approx(0.02)
    assert [type(outcome) for outcome in outcomes] == [Response] * 2 + [RateLimitQueueError] * 2
    assert 0.8 <= outcomes[3].retry_after <= 1.0


@pytest.mark.usefixtures("virtual_time")
async def test_lease_queue_status_shows_last_reply(client: Any) -> None:
    """Available tokens, queued calls, and the minimum wait."""
    [process] = start_processes(client, 1)
    queue = queue_of(process, TWO)
    assert queue.status().available == 2
    await use(queue)
    assert queue.status().available == 1
    await use(queue)
    waiter = asyncio.create_task(use(queue))
    await asyncio.sleep(0.25)
    status = queue.status()
    assert (status.available, status.queued) == (0, 1)
    assert status.wait == pytest.approx(0.75, abs=0.02)
    assert queue._wait_behind(now(), 4) == pytest.approx(2.75, abs=0.02)
    await waiter


# Outages


@pytest.mark.usefixtures("virtual_time")
async def test_outage_without_fallback_fails_waiters_until_recovery(client: Any) -> None:
    """After the outage the server gets the updates that it missed."""
    [process] = start_processes(client, 1)
    queue, server = queue_of(process, TWO), process.server
    leases = [await acquire(queue), await acquire(queue)]
    server.outage = OUTAGE
    for lease in leases:
        queue.release_at(lease, now())
    outcomes = await asyncio.gather(use(queue), use(queue), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no token: Redis is unavailable"] * 2
    assert all(isinstance(error, RateLimitQueueError) and error.retryable for error in outcomes)
    await asyncio.sleep(10 * RECONNECT_DELAY)
    assert len(server.requests) <= 14
    server.outage = None
    await asyncio.sleep(RECONNECT_DELAY)
    assert not queue._book.updates
    assert await use(queue) == pytest.approx(now())


@pytest.mark.usefixtures("virtual_time")
async def test_waiter_cancelled_during_outage_is_cancelled(client: Any) -> None:
    """Before the failure or in the same loop iteration; asyncio logs no unretrieved exception."""
    [process] = start_processes(client, 1)
    queue, loop = queue_of(process, TWO), asyncio.get_running_loop()
    tasks: list[asyncio.Task[Any]] = []

    class Failing:
        async def exchange(self, request: LeaseRequest) -> LeaseReply | Unavailable:
            await asyncio.sleep(0.2)
            tasks[0].cancel()
            loop.call_soon(tasks[1].cancel)
            return Unavailable(f"no {request.wanted} tokens")

        async def wait_notification(self, key: str) -> bool:
            raise NotImplementedError(key)

    queue._server = Failing()
    tasks += [asyncio.create_task(use(queue)) for _ in range(3)]
    with pytest.raises(RateLimitQueueError, match="no 3 tokens"):
        await tasks[2]
    await asyncio.gather(*tasks[:2], return_exceptions=True)
    assert tasks[0].cancelled()
    assert tasks[1].cancelled()
    gc.collect()


@pytest.mark.usefixtures("virtual_time")
async def test_flush_does_not_affect_open_requests_and_waiters(client: Any) -> None:
    """Another client of the loop has a request in flight and a waiting caller."""
    [process] = start_processes(client, 1)
    queue = queue_of(process, RateLimit(1, per=1.0))
    lease = await queue.acquire()
    waiter = asyncio.create_task(use(queue))
    await asyncio.sleep(0.25)
    await flush_all([process])
    queue.release_at(lease, now())
    assert await waiter == pytest.approx(1.25, abs=0.01)


def test_fallback_gives_each_process_its_fraction(client: Any) -> None:
    """No window exceeds the limit before, during or after the outages."""

    async def main() -> list[float]:
        processes = start_processes(client, 4, fraction=0.25)
        limit, sent = RateLimit(8, per=1.0), list[float]()

        async def drive(process: VirtualProcess) -> None:
            while True:
                lease = await acquire(queue_of(process, limit))
                sent.append(now())
                await asyncio.sleep(0.03125)
                queue_of(process, limit).release_at(lease, now())

        tasks = [asyncio.create_task(drive(process)) for process in processes for _ in range(8)]
        for at, outage in ((5.0, OUTAGE), (15.0, None), (25.0, OUTAGE), (30.0, None), (40.0, None)):
            await asyncio.sleep(at - now())
            for process in processes:
                process.server.outage = outage
        await cancel(*tasks)
        await flush_all(processes)
        return sent

    sent = run(main())
    assert most_in_a_window(sent, 1.0) <= 8

    def rate(since: float, until: float) -> float:
        return sum(since <= at < until for at in sent) / (until - since)

    assert rate(0.0, 5.0) >= 7.0
    assert rate(8.0, 15.0) >= 7.0  # four times a quarter
    assert rate(20.0, 25.0) >= 7.0


@pytest.mark.usefixtures("virtual_time")
async def test_fallback_of_one_process_is_limited_to_its_fraction(client: Any) -> None:
    """A quarter of two tokens is rounded up to one; the server is not contacted too often."""
    [process] = start_processes(client, 1, fraction=0.25)
    process.server.outage = OUTAGE
    queue = queue_of(process, TWO)
    status = None
    times = []
    for _ in range(8):
        waiter = asyncio.create_task(use(queue))
        await asyncio.sleep(0.01)
        status = queue.status()
        times.append(await waiter)
    assert status is not None
    assert status.wait > 0
    assert times == pytest.approx([GRANT_TTL + TWO.per + index for index in range(8)], abs=0.05)
    assert len(process.server.requests) <= times[-1] / RECONNECT_DELAY + 2
    await flush_all([process])


@pytest.mark.usefixtures("virtual_time")
async def test_fallback_applies_headers_and_429(client: Any) -> None:
    """Unused tokens return to the fallback, and the server learns of the 429 after the outage."""
    [process] = start_processes(client, 1, fraction=1.0)
    process.server.outage = OUTAGE
    queue = queue_of(process, TWO)
    waiter = asyncio.create_task(acquire(queue))
    lease = await waiter
    start = now()
    queue.release_unused(lease)
    lease = await acquire(queue)
    assert now() == start
    queue.on_server_headers(lease, RateLimitHeaders(0, None), 5.0)
    other = asyncio.create_task(acquire(queue))
    queue.release_at(lease, now())
    lease = await other
    assert now() == pytest.approx(start + 1.0)
    queue.on_rate_limited(3.0)
    waiter = asyncio.create_task(acquire(queue))
    await asyncio.sleep(0.5)
    process.server.outage = None
    queue.release_unused(lease)
    assert "TokenBucket" in repr(queue._fallback)
    await waiter
    assert now() == pytest.approx(start + 4.0, abs=0.1)
    assert repr(queue._fallback) == "<LocalFallback inactive>"


@pytest.mark.usefixtures("virtual_time")
async def test_fallback_token_in_use_counts_after_recovery(
    client: Any,
) -> None:
    """It is reported as held, and as used when its response begins."""
    [process] = start_processes(client, 1, fraction=1.0)
    one = RateLimit(1, per=1.0)
    queue = queue_of(process, one)
    process.server.outage = OUTAGE
    lease = await acquire(queue, 20.0)
    process.server.outage = None
    waiter = asyncio.create_task(use(queue))
    await asyncio.sleep(10.0)
    assert not waiter.done()
    queue.release_at(lease, now())
    began = now()
    assert await waiter == pytest.approx(began + 1.0, abs=0.05)
