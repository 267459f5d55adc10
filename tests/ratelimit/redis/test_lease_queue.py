"""The queue before tokens that are lent: on the rule in a real server, on virtual time."""

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
from tests.lending import EPOCH, Lent, processes, queue_of, settle_down
from tests.redis_process import RedisProcess
from tests.virtual import VirtualClock, VirtualLoop, run
from tests.world import World, coalesced, endpoint, most_in_a_window, rate_limited

pytestmark = pytest.mark.slow
TWO = RateLimit(2, per=1.0)
TEN = RateLimit(10, per=2.0)
AWAY = Unavailable("Redis is away")
CLOCK = VirtualClock()


@pytest.fixture
def client(redis_process: RedisProcess) -> Iterator[Any]:
    with redis_process.client() as client:
        yield client


def now() -> float:
    return asyncio.get_running_loop().time()


async def taken(queue: LeaseQueue, attempt: float = 1.0) -> Lease:
    """Take a token for an attempt of some seconds."""
    lease = await queue.acquire(deadline=lambda: now() + attempt)
    assert isinstance(lease, Lease)
    return lease


async def use(queue: LeaseQueue, seconds: float = 0.0) -> float:
    """Take a token, have an answer begin after some seconds, and return when it was taken."""
    lease = await taken(queue)
    at = now()
    await asyncio.sleep(seconds)
    queue.release_at(lease, now())
    return at


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# Trades


@pytest.mark.usefixtures("virtual_time")
async def test_callers_of_one_moment_are_one_trade(client: Any) -> None:
    """And what is to be told rides along with the next one."""
    [budget] = processes(client, 1)
    queue = queue_of(budget, TEN)
    await asyncio.gather(*(use(queue) for _ in range(9)))
    assert [ask.wanted for ask in budget.lender.asks] == [9]
    await use(queue)
    assert [len(ask.updates) for ask in budget.lender.asks] == [0, 9]


@pytest.mark.usefixtures("virtual_time")
async def test_what_nobody_asks_after_is_told_soon(client: Any) -> None:
    """A token does not stay out until its lease ends because nothing else happens here."""
    first, second = processes(client, 2)
    await use(queue_of(first, RateLimit(1, 1.0)), 0.5)
    assert await use(queue_of(second, RateLimit(1, 1.0))) == pytest.approx(1.5, abs=0.01)
    assert len(first.lender.asks) == 2


@pytest.mark.usefixtures("virtual_time")
async def test_waiting_does_not_poll(client: Any) -> None:
    """A token is out for a hundred periods: about one question for each of them."""
    first, second = processes(client, 2)
    lease = await taken(queue_of(first, TWO), 200.0), await taken(queue_of(first, TWO), 200.0)
    waiter = asyncio.create_task(use(queue_of(second, TWO)))
    await asyncio.sleep(100.0)
    queue_of(first, TWO).release_at(lease[0], now())
    assert await waiter == pytest.approx(101.0, abs=0.01)
    assert len(second.lender.asks) <= 100 / (0.9 * TWO.per) + 3


@pytest.mark.usefixtures("virtual_time")
async def test_nothing_runs_while_nobody_waits(client: Any) -> None:
    """After `settled` no task and no timer is left."""
    budgets = processes(client, 2)
    for budget in budgets:
        await use(queue_of(budget, TWO))
    waiter = asyncio.create_task(use(queue_of(budgets[0], TWO)))
    await asyncio.sleep(0.5)
    await cancelled(waiter)
    await settle_down(budgets)
    loop = asyncio.get_running_loop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not [each for each in loop._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
    assert all(queue_of(budget, TWO).is_idle for budget in budgets)
    await settle_down(budgets)


# Between processes


async def saturate(budgets: list[Lent], limit: RateLimit, seconds: float) -> list[int]:
    """Let each process have twice as many callers as there are tokens, and count its grants."""
    counts = [0] * len(budgets)

    async def drive(number: int) -> None:
        queue = queue_of(budgets[number], limit)
        while True:
            await use(queue, 0.03125)
            counts[number] += 1

    tasks = [
        asyncio.create_task(drive(number))
        for number in range(len(budgets))
        for _ in range(2 * limit.requests)
    ]
    await asyncio.sleep(seconds)
    await cancelled(*tasks)
    return counts


@pytest.mark.parametrize(("limit", "count"), [(TEN, 4), (TWO, 4), (TWO, 3), (RateLimit(100, 2), 4)])
def test_processes_get_equal_shares(client: Any, limit: RateLimit, count: int) -> None:
    """Also where there are more of them than tokens; and all of the rate is used."""

    async def main() -> list[int]:
        budgets = processes(client, count, [(0.001, 0.001), (0.002, 0.001)])
        return await saturate(budgets, limit, 40.0)

    counts = run(main())
    assert sum(counts) >= 0.9 * 40.0 * limit.requests / limit.per
    assert min(counts) >= 0.8 * sum(counts) / count


@pytest.mark.usefixtures("virtual_time")
async def test_a_greedy_process_does_not_starve_a_modest_one(client: Any) -> None:
    """A thousand callers here, one there: it waits for a period or so, not for all of them."""
    greedy, modest = processes(client, 2)
    tasks = [asyncio.create_task(use(queue_of(greedy, TEN), 0.01)) for _ in range(1000)]
    for _ in range(5):
        await asyncio.sleep(1.0)
        asked = now()
        assert await use(queue_of(modest, TEN)) - asked <= TEN.per + 0.1
    await cancelled(*tasks)


@pytest.mark.usefixtures("virtual_time")
async def test_what_a_dead_process_had_comes_back_with_its_lease(client: Any) -> None:
    """It waits, and holds tokens, and is heard of no more: the others take over."""
    dead, alive = processes(client, 2)
    for _ in range(TEN.requests):
        await taken(queue_of(dead, TEN), 3.0)
    died = now()
    waiter = asyncio.create_task(taken(queue_of(dead, TEN)))
    await asyncio.sleep(0.1)
    queue_of(dead, TEN)._loop = None  # nothing of it moves any more
    dead.lender.away = AWAY
    taken_at = await asyncio.gather(*(use(queue_of(alive, TEN)) for _ in range(TEN.requests)))
    assert max(taken_at) <= died + 3.0 + GRANT_TTL + TEN.per + 0.1
    await cancelled(waiter)


def test_who_is_far_from_the_server_is_served_as_well(client: Any) -> None:
    """Fewer tokens than processes, and one of them always comes last: it has waited longest."""

    async def main() -> list[int]:
        budgets = processes(client, 4)
        budgets[3].lender.trips = cycle([(0.1, 0.1)])
        return await saturate(budgets, TWO, 60.0)

    counts = run(main())
    assert counts[3] >= 0.15 * sum(counts)


@pytest.mark.usefixtures("virtual_time")
async def test_who_leaves_keeps_nothing_from_others(client: Any) -> None:
    """The last one of a process that waits is cancelled: its place is withdrawn."""
    holder, first, second = processes(client, 3)
    one = RateLimit(1, per=1.0)
    lease = await taken(queue_of(holder, one), 9.0)
    waiter = asyncio.create_task(use(queue_of(first, one)))
    await asyncio.sleep(0.1)
    later = asyncio.create_task(use(queue_of(second, one)))
    await asyncio.sleep(0.1)
    await cancelled(waiter)
    queue_of(holder, one).release_at(lease, 0.0)
    assert await later == pytest.approx(1.0, abs=0.01)


@pytest.mark.usefixtures("virtual_time")
async def test_a_token_that_comes_back_unused_rings(client: Any) -> None:
    """Nobody who waits elsewhere has to wait until it was told to ask again."""
    first, second = processes(client, 2)
    hour = RateLimit(1, per=3600.0)
    lease = await taken(queue_of(first, hour))
    waiter = asyncio.create_task(use(queue_of(second, hour)))
    await asyncio.sleep(10.0)
    queue_of(first, hour).release_unused(lease)
    assert await waiter == pytest.approx(10.0, abs=0.5)


@pytest.mark.usefixtures("virtual_time")
async def test_without_a_bell_it_takes_until_the_next_question(client: Any) -> None:
    """A server that cannot ring, on its second connection, is asked again as it said."""
    first, second = processes(client, 2)
    lease = await taken(queue_of(first, TWO)), await taken(queue_of(first, TWO))
    second.lender.rings = False
    waiter = asyncio.create_task(use(queue_of(second, TWO)))
    await asyncio.sleep(0.25)
    queue_of(first, TWO).release_unused(lease[0])
    assert await waiter == pytest.approx(0.9, abs=0.01)


@pytest.mark.usefixtures("virtual_time")
async def test_a_refusal_closes_the_gate_for_all(client: Any) -> None:
    """Whoever heard of it; and `limits()` tells."""
    first, second = processes(client, 2)
    await use(queue_of(second, TEN))
    queue_of(first, TEN).on_rate_limited(1.5)
    await asyncio.sleep(FLUSH_DELAY)
    assert await use(queue_of(second, TEN)) == pytest.approx(1.5, abs=0.01)
    assert queue_of(first, TEN).status().rate_limited == 1
    queue_of(second, TEN).on_rate_limited(1.0)
    assert queue_of(second, TEN).status().wait == pytest.approx(1.0, abs=0.01)


@pytest.mark.usefixtures("virtual_time")
async def test_headers_drain_the_bucket_for_all(client: Any) -> None:
    """Somebody else has spent all but one."""
    first, second = processes(client, 2)
    queue = queue_of(first, TEN)
    lease = await taken(queue)
    queue.on_server_headers(lease, RateLimitHeaders(None, "soon"), 1.0)
    queue.on_server_headers(lease, RateLimitHeaders(9, None), 1.0)  # that is as it should be
    assert not queue._book.updates
    queue.on_server_headers(lease, RateLimitHeaders(1, None), 1.0)
    queue.release_at(lease, now())
    await asyncio.sleep(2 * FLUSH_DELAY)
    times = await asyncio.gather(*(use(queue_of(second, TEN)) for _ in range(3)))
    assert times[0] < 0.1
    assert times[1:] == pytest.approx([1.0, 1.0], abs=0.05)


# A server that has forgotten


@pytest.mark.usefixtures("virtual_time")
async def test_a_young_server_that_knows_nothing_is_drained(client: Any) -> None:
    """It was started a second ago: what was granted before may be under way yet."""
    [budget] = processes(client, 1)
    budget.lender.started = EPOCH - 1_000_000
    lease = 1.0 + GRANT_TTL + TEN.per
    assert await use(queue_of(budget, TEN)) == pytest.approx(lease - 1.0, abs=0.01)


@pytest.mark.usefixtures("virtual_time")
async def test_another_server_is_drained(client: Any) -> None:
    """A replica has taken over, with keys that may be old."""
    budgets = processes(client, 2)
    for budget in budgets:
        await use(queue_of(budget, TEN))
    for budget in budgets:
        budget.lender.id = "two"
    taken_at = await asyncio.gather(*(use(queue_of(budget, TEN)) for budget in budgets))
    assert taken_at == pytest.approx([1.0 + GRANT_TTL + TEN.per] * 2, abs=0.02)
    assert await use(queue_of(budgets[0], TEN)) < 5.0


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_server_that_was_emptied_is_drained(client: Any, is_first: bool) -> None:
    """Who has traded a moment ago notices; even if a new process came before."""
    old, new = processes(client, 2)
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
async def test_who_was_idle_for_long_finds_all_tokens(client: Any) -> None:
    """Keys that have expired are no reason to wait."""
    [budget] = processes(client, 1)
    await use(queue_of(budget, TEN))
    await asyncio.sleep(100.0)
    client.delete(*client.keys(f"*{queue_of(budget, TEN)._book._key.user}*"))
    assert await use(queue_of(budget, TEN)) == pytest.approx(100.0)


def test_every_key_has_the_prefix_and_expires(client: Any) -> None:
    """And none holds the name of the user."""

    async def main() -> None:
        budgets = processes(client, 2)
        for budget in budgets:
            await taken(queue_of(budget, RateLimit(1, 1.0)), 1.0)
        waiter = asyncio.create_task(use(queue_of(budgets[1], RateLimit(1, 1.0))))
        await asyncio.sleep(0.1)
        user = queue_of(budgets[0], TWO)._book._key.user
        keys = [key.decode() for key in client.keys(f"*{user}*")]
        assert {key.rpartition(":")[2] for key in keys} == {"leased", "state", "demand"}
        assert all(key.startswith("htx_async:{") for key in keys)
        assert all(0 < client.pttl(key) <= 10_000 for key in keys)
        assert budgets[0].user not in "".join(keys)
        await cancelled(waiter)

    with pytest.raises(TimeoutError):  # the second process waits for the only token
        run(asyncio.wait_for(main(), 3.0))


# Grants that are good no more


@pytest.mark.usefixtures("virtual_time")
async def test_a_grant_is_void_a_second_after_it_was_asked_for(client: Any) -> None:
    """By the monotonic clock; and it covers no attempt that lasts longer than was said."""
    [budget] = processes(client, 1, [(0.25, 0.25)])
    queue = queue_of(budget, TEN)
    lease = await taken(queue, 5.0)
    assert lease.void_at == GRANT_TTL
    assert lease.is_valid(now(), 5.0 + GRANT_TTL)
    assert not lease.is_valid(now(), 5.0 + GRANT_TTL + 0.01)
    await asyncio.sleep(0.5)
    assert not lease.is_valid(now(), 5.0)


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("pause", [0.5, 30.0])
async def test_a_paused_process_asks_anew_before_it_sends(client: Any, pause: float) -> None:
    """It had tokens, and no connection free; others have used them meanwhile. Order is kept."""
    budgets = processes(client, 2)
    world = World(CLOCK)
    slots = TokenQueue(TokenBucket(RateLimit(1, per=0.0)), CLOCK)
    limiting = rate_limited(world, budgets[0], CLOCK, slots)
    asked = endpoint(TEN.requests, TEN.per)
    slot = await slots.acquire()
    tasks = []
    for number in range(3):
        request = Request(asked, f"/{number}", options=RequestOptions(timeout=5.0))
        request.call.deadline = 5.0
        tasks.append(asyncio.create_task(limiting(request)))
    await asyncio.sleep(0.25)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop._jumping.time += pause  # SIGSTOP, and later SIGCONT
    slots.release_at(slot, now())
    asks = len(budgets[0].lender.asks)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    if pause > GRANT_TTL:
        assert all(isinstance(each, DeadlineExceededError) for each in results)
        assert not world.paths
        assert len(budgets[0].lender.asks) > asks
    else:
        assert world.paths == ["/0", "/1", "/2"]
    await settle_down(budgets)
    assert all(queue_of(budget, TEN).is_idle for budget in budgets)


@pytest.mark.usefixtures("virtual_time")
async def test_who_comes_back_goes_before_those_who_came_later(client: Any) -> None:
    """A grant that grew old is exchanged at its old place in the queue."""
    [budget] = processes(client, 1)
    queue = queue_of(budget, TWO)
    leases = [await taken(queue), await taken(queue)]
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
    await cancelled(*late, *early)


@pytest.mark.usefixtures("virtual_time")
async def test_a_token_that_is_given_back_goes_to_the_next_here(client: Any) -> None:
    """Without a trade, as long as it is good for the attempt of who gets it."""
    [budget] = processes(client, 1)
    queue = queue_of(budget, RateLimit(1, per=1.0))
    lease = await taken(queue)
    waiter = asyncio.create_task(taken(queue))
    await asyncio.sleep(0.25)
    asks = len(budget.lender.asks)
    queue.release_unused(lease)
    assert (await waiter).token == lease.token
    assert len(budget.lender.asks) == asks
    long = asyncio.create_task(taken(queue, 100.0))
    await asyncio.sleep(0.25)
    queue.release_unused(lease)
    assert (await long).token != lease.token


# Leaving


@pytest.mark.usefixtures("virtual_time")
async def test_a_grant_to_one_who_was_cancelled_goes_to_the_next(client: Any) -> None:
    """While the trade is under way, and after it; with nobody else it goes back at once."""
    first, second = processes(client, 2, [(0.25, 0.25)])
    queue = queue_of(first, RateLimit(1, per=100.0))
    gone = asyncio.create_task(taken(queue))
    await asyncio.sleep(0.3)
    stays = asyncio.create_task(taken(queue))
    await cancelled(gone)
    lease = await stays
    queue.release_unused(lease)
    gone = asyncio.create_task(taken(queue))
    await asyncio.sleep(0.3)
    await cancelled(gone)
    assert await use(queue_of(second, RateLimit(1, per=100.0))) < 10.0


@pytest.mark.usefixtures("virtual_time")
async def test_cancelled_and_granted_in_the_same_breath(client: Any) -> None:
    """The other order: who was cancelled, and has not run since, is passed over."""
    [budget] = processes(client, 1)
    queue = queue_of(budget, RateLimit(1, per=100.0))
    lease = await taken(queue)
    gone, stays = (asyncio.create_task(taken(queue)) for _ in range(2))
    await asyncio.sleep(0.1)
    gone.cancel()
    queue.release_unused(lease)
    assert await stays == lease
    await asyncio.gather(gone, return_exceptions=True)


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("stays", [True, False])
async def test_granted_and_cancelled_in_the_same_breath(client: Any, stays: bool) -> None:
    """The token is not lost."""
    [budget] = processes(client, 1)
    queue = queue_of(budget, RateLimit(1, per=100.0))
    lease = await taken(queue)
    waiters = [asyncio.create_task(taken(queue)) for _ in range(1 + stays)]
    await asyncio.sleep(0.1)
    queue.release_unused(lease)  # grants it to the first
    waiters[0].cancel()
    if stays:
        await asyncio.wait([waiters[1]])
    await asyncio.gather(waiters[0], return_exceptions=True)
    await asyncio.sleep(0.1)
    assert len(queue._book.in_use) == stays
    assert waiters[0].cancelled()


def test_a_loop_that_is_collected_late_does_no_harm(client: Any) -> None:
    """Its tasks settle their tokens when nothing can be sent any more."""

    async def main() -> None:
        [budget] = processes(client, 1)
        queue = queue_of(budget, TEN)

        async def hold() -> None:
            lease = await taken(queue)
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


# What callers are told


async def ask_all(send: RequestCoalescing, count: int, **options: Any) -> list[Any]:
    """LeaseRequest *count* times at once."""
    asked = endpoint(TWO.requests, TWO.per)
    given = RequestOptions(timeout=50.0, coalesce=False, **options)
    calls = (send(Request(asked, f"/{number}", options=given)) for number in range(count))
    return await asyncio.gather(*calls, return_exceptions=True)


def sharing(budget: Lent) -> RequestCoalescing:
    """Return the upper layers of a client."""
    slots = TokenQueue(TokenBucket(RateLimit(9, per=0.0)), CLOCK)
    return coalesced(rate_limited(World(CLOCK), budget, CLOCK, slots), CLOCK)


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize(
    "options", [{"queue_timeout": 0}, {"queue_timeout": 0.5}, {"max_queue": 0}]
)
async def test_who_will_not_wait_is_told_at_once(client: Any, options: dict[str, Any]) -> None:
    """Two tokens are there, so two go, though it takes a round trip to know."""
    [budget] = processes(client, 1, [(0.01, 0.01)])
    send = sharing(budget)
    outcomes = await ask_all(send, 4, **options)
    assert now() == pytest.approx(0.02)
    assert [type(each) for each in outcomes] == [Response] * 2 + [RateLimitQueueError] * 2
    assert 0.8 <= outcomes[3].retry_after <= 1.0


@pytest.mark.usefixtures("virtual_time")
async def test_limits_tell_what_the_server_said_last(client: Any) -> None:
    """Tokens that are free, who waits, how long it will take at least."""
    [budget] = processes(client, 1)
    queue = queue_of(budget, TWO)
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
async def test_without_a_share_calls_fail_and_recover(client: Any) -> None:
    """All who wait are told; what the server missed it learns when it is back."""
    [budget] = processes(client, 1)
    queue, lender = queue_of(budget, TWO), budget.lender
    leases = [await taken(queue), await taken(queue)]
    lender.away = AWAY
    for lease in leases:
        queue.release_at(lease, now())
    outcomes = await asyncio.gather(use(queue), use(queue), return_exceptions=True)
    assert [str(each) for each in outcomes] == ["no token: Redis is away"] * 2
    assert all(isinstance(each, RateLimitQueueError) and each.retryable for each in outcomes)
    await asyncio.sleep(10 * RECONNECT_DELAY)
    assert len(lender.asks) <= 14
    lender.away = None
    await asyncio.sleep(RECONNECT_DELAY)
    assert not queue._book.updates
    assert await use(queue) == pytest.approx(now())


@pytest.mark.usefixtures("virtual_time")
async def test_who_leaves_as_the_server_fails_is_not_told(client: Any) -> None:
    """Neither who left before, nor who leaves in the same breath: and nobody complains."""
    [budget] = processes(client, 1)
    queue, loop = queue_of(budget, TWO), asyncio.get_running_loop()
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
async def test_settling_down_leaves_those_alone_who_go_on(client: Any) -> None:
    """Another client of the loop has a request out, and a caller that waits."""
    [budget] = processes(client, 1)
    queue = queue_of(budget, RateLimit(1, per=1.0))
    lease = await queue.acquire()
    waiter = asyncio.create_task(use(queue))
    await asyncio.sleep(0.25)
    await settle_down([budget])
    queue.release_at(lease, now())
    assert await waiter == pytest.approx(1.25, abs=0.01)


def test_with_a_share_each_process_goes_on_with_its_part(client: Any) -> None:
    """No window of the whole story holds more than the limit, on both sides of the outage."""

    async def main() -> list[float]:
        budgets = processes(client, 4, share=0.25)
        limit, sent = RateLimit(8, per=1.0), list[float]()

        async def drive(budget: Lent) -> None:
            while True:
                lease = await taken(queue_of(budget, limit))
                sent.append(now())
                await asyncio.sleep(0.03125)
                queue_of(budget, limit).release_at(lease, now())

        tasks = [asyncio.create_task(drive(budget)) for budget in budgets for _ in range(8)]
        for at, away in ((5.0, AWAY), (15.0, None), (25.0, AWAY), (30.0, None), (40.0, None)):
            await asyncio.sleep(at - now())
            for budget in budgets:
                budget.lender.away = away
        await cancelled(*tasks)
        await settle_down(budgets)
        return sent

    sent = run(main())
    assert most_in_a_window(sent, 1.0) <= 8

    def rate(since: float, until: float) -> float:
        return sum(since <= at < until for at in sent) / (until - since)

    assert rate(0.0, 5.0) >= 7.0
    assert rate(8.0, 15.0) >= 7.0  # four shares of a quarter
    assert rate(20.0, 25.0) >= 7.0


@pytest.mark.usefixtures("virtual_time")
async def test_one_process_alone_goes_on_with_its_share_only(client: Any) -> None:
    """A quarter of two is a half: at least one request goes. Nothing is tried too often."""
    [budget] = processes(client, 1, share=0.25)
    budget.lender.away = AWAY
    queue = queue_of(budget, TWO)
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
    assert len(budget.lender.asks) <= times[-1] / RECONNECT_DELAY + 2
    await settle_down([budget])


@pytest.mark.usefixtures("virtual_time")
async def test_a_share_hears_headers_and_refusals_too(client: Any) -> None:
    """And takes back what was not sent; the server learns of it when it is back."""
    [budget] = processes(client, 1, share=1.0)
    budget.lender.away = AWAY
    queue = queue_of(budget, TWO)
    waiter = asyncio.create_task(taken(queue))
    lease = await waiter
    start = now()
    queue.release_unused(lease)
    lease = await taken(queue)
    assert now() == start
    queue.on_server_headers(lease, RateLimitHeaders(0, None), 5.0)
    other = asyncio.create_task(taken(queue))
    queue.release_at(lease, now())
    lease = await other
    assert now() == pytest.approx(start + 1.0)
    queue.on_rate_limited(3.0)
    waiter = asyncio.create_task(taken(queue))
    await asyncio.sleep(0.5)
    budget.lender.away = None
    queue.release_unused(lease)
    assert "TokenBucket" in repr(queue._fallback)
    await waiter
    assert now() == pytest.approx(start + 4.0, abs=0.1)
    assert repr(queue._fallback) == "<LocalFallback inactive>"


@pytest.mark.usefixtures("virtual_time")
async def test_a_token_of_the_share_that_is_out_as_the_server_comes_back_counts(
    client: Any,
) -> None:
    """It is told as out, and as used when its answer begins."""
    [budget] = processes(client, 1, share=1.0)
    one = RateLimit(1, per=1.0)
    queue = queue_of(budget, one)
    budget.lender.away = AWAY
    lease = await taken(queue, 20.0)
    budget.lender.away = None
    waiter = asyncio.create_task(use(queue))
    await asyncio.sleep(10.0)
    assert not waiter.done()
    queue.release_at(lease, now())
    began = now()
    assert await waiter == pytest.approx(began + 1.0, abs=0.05)
