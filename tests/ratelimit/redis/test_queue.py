"""Queue and bucket of one worker, on virtual time, with a simulated server."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from htx_async.errors import RateLimitQueueError
from htx_async.ratelimit.headers import RateLimitHeaders
from htx_async.ratelimit.redis.bucket import REPORT_DELAY, RedisBucket
from htx_async.ratelimit.redis.exchange import MARGIN, BucketKeys, Unavailable
from htx_async.ratelimit.redis.queue import CLOSE_TIMEOUT, RedisQueue
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import RateLimit
from tests.ratelimit.redis.virtual_server import FakeServer
from tests.virtual import VirtualClock, run

pytestmark = pytest.mark.usefixtures("virtual_time")
TEN = RateLimit(10, per=2.0)
ONE = RateLimit(1, per=1.0)
OUTAGE = Unavailable("Redis at here could not be reached")


def queue_of(
    server: FakeServer, limit: RateLimit = TEN, fallback: float | None = None, worker: str = "one"
) -> RedisQueue:
    bucket = RedisBucket(limit, worker, fallback)
    return RedisQueue(bucket, BucketKeys("", ""), server, VirtualClock(), "GET /x")


def now() -> float:
    return asyncio.get_running_loop().time()


async def use(
    queue: RedisQueue, seconds: float = 0.0, slots: ConnectionSlots | None = None
) -> float:
    """Use a token for a request whose response begins after *seconds*; return the start time."""
    async with queue.token(slots or ConnectionSlots(99), 10.0) as token:
        at = now()
        token.is_unused = False
        await asyncio.sleep(seconds)
        token.first_byte_at = now()
    return at


async def failure(queue: RedisQueue) -> RateLimitQueueError:
    with pytest.raises(RateLimitQueueError) as caught:
        await use(queue)
    return caught.value


def assert_nothing_is_left(queue: RedisQueue) -> None:
    loop = asyncio.get_running_loop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert (queue.bucket.in_use, queue.queued, queue.is_idle) == (0, 0, True)


# Exchanges


async def test_one_exchange_serves_all_callers_and_carries_all_reports() -> None:
    server = FakeServer()
    queue = queue_of(server)
    await asyncio.gather(*(use(queue) for _ in range(9)))
    assert [len(request.want) for request in server.requests] == [9]
    await use(queue)
    assert [len(request.used) for request in server.requests] == [0, 9]
    await asyncio.sleep(2 * REPORT_DELAY)
    assert [len(request.used) for request in server.requests] == [0, 9, 1]
    assert_nothing_is_left(queue)
    assert not server.leased


async def test_callers_are_served_in_order_of_arrival() -> None:
    """Those of different clients too; a caller without a connection slot keeps its place."""
    queue, slots, order = queue_of(FakeServer(), ONE), ConnectionSlots(1), list[int]()

    async def call(number: int) -> None:
        async with queue.token(slots if number % 2 else ConnectionSlots(1), 10.0) as token:
            order.append(number)
            token.is_unused = False
            await asyncio.sleep(0.25)

    await asyncio.gather(*(call(number) for number in range(8)))
    assert order == list(range(8))
    assert slots.free == 1


@pytest.mark.parametrize("delay", [0.0, 0.125])
def test_cancellation_leaves_nothing(delay: float) -> None:
    """At any step: the token is free for the next caller, and Redis knows it."""

    async def main(steps: int) -> None:
        server = FakeServer(delay)
        queue = queue_of(server, ONE)
        callers = [asyncio.create_task(use(queue, 0.25)) for _ in range(2)]
        for _ in range(steps):
            await asyncio.sleep(0 if delay == 0 else 0.03125)
        callers[0].cancel()
        await asyncio.wait([callers[0]])
        assert await callers[1] < 2.0
        await queue.flush()
        assert_nothing_is_left(queue)
        assert not server.leased

    for steps in range(12):
        run(main(steps))


async def test_surplus_grants_go_back_at_once() -> None:
    """The callers left while the exchange was under way."""
    server = FakeServer(0.25)
    queue = queue_of(server)
    callers = [asyncio.create_task(use(queue)) for _ in range(3)]
    await asyncio.sleep(0.125)
    for caller in callers:
        caller.cancel()
    await asyncio.sleep(0.5)
    assert not server.leased
    assert [len(request.unused) for request in server.requests] == [0, 3]
    assert_nothing_is_left(queue)


async def test_used_token_returns_per_seconds_after_the_first_byte() -> None:
    server = FakeServer(0.125)
    queue = queue_of(server, ONE)
    assert await use(queue, 0.5) == 0.125
    assert await use(queue) == pytest.approx(0.625 + 1.0 + 0.125, abs=0.13)


async def test_grant_whose_reply_was_lost_is_granted_again() -> None:
    """By its name. The number of exchanges does not matter."""
    server = FakeServer(outage=OUTAGE, loses_replies=True)
    queue = queue_of(server, ONE)
    await failure(queue)
    assert len(server.leased) == 1
    server.outage = None
    await asyncio.sleep(1.125)
    await use(queue)
    assert server.requests[0].want == [1]
    assert server.requests[1].unused == [1]


async def test_grant_that_arrives_late_is_not_used() -> None:
    """An attempt would outlast the lease."""
    server = FakeServer(MARGIN + 0.25)
    queue = queue_of(server)
    caller = asyncio.create_task(use(queue))
    await asyncio.sleep(MARGIN)
    server.delay = 0.125
    assert await caller == MARGIN + 0.25 + 0.125
    assert [request.unused for request in server.requests[:2]] == [[], [1]]


async def test_server_that_is_too_far_away_is_unavailable() -> None:
    """Callers would wait in vain: it never leases a token in time."""
    queue = queue_of(FakeServer(MARGIN + 0.25))
    assert str(await failure(queue)) == "no token: Redis takes more than 1 s to respond"
    assert now() == 2 * (MARGIN + 0.25)


async def test_token_is_named_again_while_its_reply_may_be_lost() -> None:
    """For `MARGIN`; later it counts as unused."""
    bucket = RedisBucket(TEN, "one")
    assert bucket.next_request(0.0, 2).want == [1, 2]
    assert bucket.next_request(0.5, 3).want == [1, 2, 3]
    request = bucket.next_request(1.25, 1)
    assert (request.want, sorted(request.unused)) == ([3], [1, 2])


async def test_clock_that_was_set_forward_is_reported() -> None:
    """The next request says so if the exchange was fast; no token is issued before."""
    server = FakeServer(changes={"is_verified": False})
    queue = queue_of(server)
    caller = asyncio.create_task(use(queue))
    await asyncio.sleep(0)
    while len(server.requests) < 2:  # noqa: ASYNC110 - nothing signals it
        await asyncio.sleep(0)
    assert [request.resync for request in server.requests] == [False, True]
    server.changes = {}
    await caller


async def test_old_reply_does_not_count() -> None:
    """Redis may have deleted a bucket that nobody used for hours."""
    server = FakeServer()
    queue = queue_of(server)
    await use(queue)
    await asyncio.sleep(13 * 3600.0)
    await use(queue)
    assert [request.generation for request in server.requests] == ["", "one", ""]
    assert queue.bucket.is_full(now() + 20.0) is False
    await queue.flush()
    assert queue.bucket.is_full(now() + 20.0)


async def test_loss_of_state_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "htx_async")
    server = FakeServer(changes={"blocked": 11_000_000, "leased": [], "poll": 11_000_000})
    queue = queue_of(server)
    caller = asyncio.create_task(use(queue))
    await asyncio.sleep(1.0)
    [record] = caplog.records
    assert record.levelname == "INFO"
    assert record.getMessage().startswith("GET /x: Redis may have lost leases")
    assert queue.status().wait == 10.0
    server.changes = {}
    assert await caller == 11.0


# Limits that HTX reports


async def test_429_blocks_all_workers() -> None:
    server = FakeServer()
    first, second = queue_of(server), queue_of(server, worker="two")
    await use(second)
    first.on_rate_limited(1.5)
    assert first.status().wait == 1.5
    await asyncio.sleep(0)
    assert await use(second) == 1.5
    assert await use(first) == 1.5
    assert server.requests[-1].block == 0


async def test_grants_are_not_issued_after_a_429() -> None:
    """It arrived while the exchange was under way."""
    server = FakeServer(0.25)
    queue = queue_of(server)
    caller = asyncio.create_task(use(queue))
    await asyncio.sleep(0.125)
    queue.on_rate_limited(3.0)
    assert await caller >= 3.125


async def test_headers_report_what_htx_has_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Redis decides which requests other programs have sent; that is logged once."""
    server = FakeServer()
    queue = queue_of(server)
    async with queue.token(ConnectionSlots(1), 10.0) as token:
        headers = RateLimitHeaders(remaining=9, expire=None)
        queue.on_server_headers(token.permit, headers, 0.0)  # as expected
        queue.on_server_headers(token.permit, RateLimitHeaders(4, None), 0.0)
        server.changes = {"elsewhere": 5}
    await queue.flush()
    request = server.requests[-1]
    assert (request.counted, request.counted_for) == (6, 2_000_000)
    await use(queue)
    assert server.requests[-1].counted == -1
    assert queue.status().used_elsewhere == 10
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_headers_count_for_the_bucket_of_their_token_only() -> None:
    """Not after a loss of state. A count that arrives during an exchange is sent by the next."""
    server = FakeServer(0.25)
    queue = queue_of(server)
    async with queue.token(ConnectionSlots(1), 10.0) as token:
        report = asyncio.create_task(use(queue))
        await asyncio.sleep(0.125)
        queue.on_server_headers(token.permit, RateLimitHeaders(4, None), 0.0)
        await report
        assert queue.leases.has_reports
        server.changes = {"generation": "two"}
        await use(queue)
        assert server.requests[-1].counted == 6
        queue.on_server_headers(token.permit, RateLimitHeaders(1, None), 0.0)
    await queue.flush()
    assert server.requests[-1].counted == -1


# Outages


@pytest.mark.parametrize("retryable", [True, False])
async def test_outage_fails_callers_at_once(retryable: bool) -> None:
    """It probes every second, but only while callers need a token, or leases may be lost."""
    server = FakeServer(outage=Unavailable("Redis at here hangs", retryable))
    queue = queue_of(server)
    error = await failure(queue)
    assert str(error).startswith("no token: Redis at here hangs")
    assert (error.retryable, error.retry_after) == (retryable, 1.0)
    await asyncio.sleep(0.25)
    assert (await failure(queue)).retry_after == 0.75
    assert len(server.requests) == 1
    await asyncio.sleep(1.0)
    assert len(server.requests) == 2
    await asyncio.sleep(60.0)
    assert len(server.requests) <= 3 + queue.leases.lease
    assert_nothing_is_left(queue)


async def test_callers_do_not_wait_for_a_server_that_hangs() -> None:
    """Once that is known; the probe goes on."""
    server = FakeServer(2.0, OUTAGE)
    queue = queue_of(server)
    await failure(queue)
    assert now() == 2.0
    for _ in range(200):  # longer than a lease
        await failure(queue)
        await asyncio.sleep(0.125)
    assert now() == 2.0 + 200 * 0.125
    assert 8 <= len(server.requests) <= 10


async def test_first_call_long_after_an_outage_is_served() -> None:
    """What was known is out of date."""
    server = FakeServer(outage=OUTAGE)
    queue = queue_of(server)
    await failure(queue)
    await asyncio.sleep(20.0)
    server.outage = None
    await asyncio.sleep(60.0)
    assert await use(queue) == 80.0


async def test_reports_are_sent_after_a_short_outage_only() -> None:
    """When the lease is over, there is nothing left to report."""
    for seconds, used in ((1.0, [1]), (20.0, [])):
        server = FakeServer()
        queue = queue_of(server)
        since = now()
        async with queue.token(ConnectionSlots(1), 10.0) as token:
            token.is_unused = False
            server.outage = OUTAGE
        await asyncio.sleep(seconds - 0.5)
        server.outage = None
        await asyncio.sleep(since + seconds + 1.5 - now())
        if not used:
            queue.leases.is_missed = True
            queue.dispatch()
            await asyncio.sleep(2.0)
        assert [name for name, _ in server.requests[-1].used] == used


# Fallback


async def test_fallback_uses_its_fraction_after_a_period() -> None:
    """Requests with tokens of other workers may be under way when the outage begins."""
    server = FakeServer(outage=OUTAGE)
    queue = queue_of(server, fallback=0.25)
    times = [await use(queue) for _ in range(4)]
    assert times == [MARGIN + 2.0] * 2 + [MARGIN + 4.0] * 2
    assert queue.status().available == 0
    assert queue.status().wait == 2.0
    assert repr(queue) == "<0 waiting for <RedisBucket 0/10 free, 0 in use, 10 per 2 s>>"
    assert RedisBucket(ONE, "one", 0.25).fallback.limit.requests == 1  # type: ignore[union-attr]


async def test_fallback_ends_with_a_pause_and_reports_its_tokens() -> None:
    """Redis counts those that are in use, and is told when their responses begin."""
    server = FakeServer(outage=OUTAGE)
    queue = queue_of(server, fallback=0.5)
    assert await use(queue) == 3.0
    slow, unused = asyncio.create_task(use(queue, 2.0)), queue.token(ConnectionSlots(1), 10.0)
    await asyncio.sleep(0)
    async with unused:
        assert queue.bucket.in_use == 2
        server.outage = None
        await asyncio.sleep(1.5)
        assert queue.leases.is_available
        assert len(server.leased) == 2
        after = asyncio.create_task(use(queue))
        await asyncio.sleep(0.125)
        [held, _] = next(request.held for request in server.requests if request.held)
        assert 10_000_000 < held[1] <= 13_000_000
    await slow
    assert await after >= 4.0 + MARGIN + 2.0
    await queue.flush()
    assert not server.leased
    assert_nothing_is_left(queue)


async def test_fallback_obeys_429_and_headers() -> None:
    server = FakeServer(outage=OUTAGE)
    queue = queue_of(server, fallback=0.5)
    async with queue.token(ConnectionSlots(1), 10.0) as token:
        queue.on_server_headers(token.permit, RateLimitHeaders(1, None), 0.0)
        assert queue.used_elsewhere == 3
        queue.on_rate_limited(5.0)
    assert await use(queue) == 3.0 + 5.0


async def test_tokens_of_redis_are_reported_during_fallback() -> None:
    """And the bucket ignores a late permit of a fallback that it does not have."""
    server = FakeServer()
    queue = queue_of(server, fallback=1.0)
    async with queue.token(ConnectionSlots(1), 10.0) as token:
        server.outage = OUTAGE
        other = asyncio.create_task(use(queue))
        await asyncio.sleep(0)
        token.is_unused = False
    assert await other >= 3.0
    server.outage = None
    await asyncio.sleep(2.0)
    await queue.flush()
    assert not server.leased


# Closing


async def test_flush_waits_for_the_exchange_under_way_and_sends_the_rest() -> None:
    server = FakeServer(0.25)
    queue = queue_of(server)
    async with queue.token(ConnectionSlots(1), 10.0) as token:
        token.is_unused = False
    await asyncio.sleep(0.125)
    await use(queue)
    await queue.flush()
    assert not server.leased
    assert_nothing_is_left(queue)
    await queue.flush()


@pytest.mark.parametrize("fault", ["hang", "outage"])
async def test_flush_of_a_server_that_hangs_ends_in_time(fault: str) -> None:
    server = FakeServer()
    queue = queue_of(server)
    async with queue.token(ConnectionSlots(1), 10.0) as token:
        token.is_unused = False
        if fault == "hang":
            server.delay = 60.0
        else:
            server.outage = OUTAGE
    since = now()
    await queue.flush()
    await queue.flush()
    assert now() - since <= (2 * CLOSE_TIMEOUT if fault == "hang" else 0.0)
    loop: Any = asyncio.get_running_loop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not [timer for timer in loop._scheduled if not timer.cancelled()]


async def test_flush_leaves_callers_their_timer() -> None:
    server = FakeServer()
    queue = queue_of(server, ONE)
    await use(queue)
    caller = asyncio.create_task(use(queue))
    await asyncio.sleep(0.5)
    await queue.flush()
    assert await caller == 1.0


def test_queue_is_usable_after_its_loop() -> None:
    """A coroutine of a closed loop may be garbage collected while nothing runs."""

    async def main() -> RedisQueue:
        queue = queue_of(FakeServer())
        await use(queue)
        assert repr(queue) == "<0 waiting for <RedisBucket 9/10 free, 0 in use, 10 per 2 s>>"
        return queue

    run(main()).dispatch()


async def test_many_callers_fail_in_several_steps() -> None:
    """All at once would block the loop."""
    queue = queue_of(server := FakeServer(1.0))
    tasks = [asyncio.create_task(use(queue)) for _ in range(1000)]
    await asyncio.sleep(0.5)
    queue.fail(RateLimitQueueError("no token"))
    assert queue.queued == 800
    server.outage = Unavailable("Redis at here hangs")
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {RateLimitQueueError}
    assert (queue.queued, now()) == (0, 1.0)
