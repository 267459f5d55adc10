"""Token queue: order, cancellation, timers, connection slots, and event loops in threads."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.clock import Clock
from htx_async.errors import RateLimitQueueError
from htx_async.ratelimit import queue as module
from htx_async.ratelimit.headers import RateLimitHeaders
from htx_async.ratelimit.queue import LOOP_TIMEOUT, TokenQueue
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import MARGIN, RateLimit, TokenBucket
from tests.virtual import VirtualClock, run
from tests.world import most_in_a_window


def queue_of(requests: int, per: float, clock: Clock | None = None) -> TokenQueue:
    """Return a queue, on virtual time by default."""
    return TokenQueue(TokenBucket(RateLimit(requests, per)), clock or VirtualClock(), "GET /x")


def timers() -> int:
    """Return the number of active timers of the loop."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return sum(not handle.cancelled() for handle in scheduled)


class Holder:
    """Holds a token until `end` is called: its response began then, or it was unused."""

    def __init__(self, queue: TokenQueue, slots: ConnectionSlots | None = None) -> None:
        self.is_held = False
        self._end = asyncio.Event()
        self._first_byte_at: float | None = None
        self._token = queue.token(slots or ConnectionSlots(99))
        self.task = asyncio.create_task(self._hold())

    async def _hold(self) -> None:
        async with self._token as token:
            self.is_held = True
            await self._end.wait()
            token.is_unused = self._first_byte_at is None
            token.first_byte_at = self._first_byte_at

    async def end(self, first_byte_at: float | None = None) -> None:
        self._first_byte_at = first_byte_at
        self._end.set()
        await self.task


async def settle() -> None:
    """Let the loop run everything that is ready."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_has_no_timer_without_returning_token() -> None:
    """No timer before the first waiter, while all tokens are in use, or after the last waiter."""
    queue = queue_of(1, 1.0)
    first = Holder(queue)
    await settle()
    assert timers() == 0
    second = Holder(queue)
    await settle()
    assert timers() == 0  # the token is in use, so its return time is not known
    await first.end(0.0)
    assert timers() == 1
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    assert timers() == 0


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_has_one_timer_for_all_waiters() -> None:
    queue = queue_of(1, 1.0)
    await Holder(queue).end(0.0)
    waiters = [Holder(queue).task for _ in range(1000)]
    await settle()
    assert timers() == 1
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)
    assert timers() == 0


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_passes_token_on_when_cancelled_after_acquiring() -> None:
    """The first waiter is granted a token and cancelled in the same loop iteration."""
    queue = queue_of(1, 1.0)
    holder = Holder(queue)
    await settle()
    first, second = Holder(queue), Holder(queue)
    await settle()
    holder._end.set()
    while queue.queued == 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    first.task.cancel()
    await settle()
    assert (first.is_held, second.is_held) == (False, True)
    await second.end()
    assert queue.bucket.free == 1


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_serves_in_order_of_arrival() -> None:
    """A free token goes to the waiter, even if a new caller runs first."""
    queue = queue_of(1, 1.0)
    order: list[str] = []

    async def use(name: str) -> None:
        async with queue.token(ConnectionSlots(1)):
            order.append(name)

    holder = Holder(queue)
    await settle()
    tasks = [asyncio.create_task(use("first"))]
    await settle()
    holder._end.set()
    tasks.append(asyncio.create_task(use("newcomer")))
    await asyncio.gather(holder.task, *tasks)
    assert order == ["first", "newcomer"]


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_reports_position_and_wait() -> None:
    """`on_wait` gets the number of waiters ahead and the minimum wait, and only if there is one."""
    queue, slots = queue_of(1, 1.0), ConnectionSlots(9)
    waits: list[tuple[int, float]] = []

    async def use() -> None:
        async with queue.token(slots, 9.0, lambda *wait: waits.append(wait)) as token:
            token.is_unused = False
            token.first_byte_at = 0.0

    await use()
    tasks = [asyncio.create_task(use()) for _ in range(2)]
    await settle()
    assert waits == [(0, 1.0), (1, 2.0)]
    assert queue.wait() == 3.0
    queue.on_rate_limited(5.0)  # the waiters learn that they wait longer
    await settle()
    assert waits[2:] == [(0, 5.0), (1, 6.0)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_does_not_count_callers_that_leave() -> None:
    """A caller that cannot wait is not ahead of those that arrive in the same iteration."""
    queue, slots = queue_of(1, 1.0), ConnectionSlots(9)
    aheads: list[int] = []

    def leave(ahead: int, wait: float) -> bool:
        del wait
        aheads.append(ahead)
        return False

    async def use() -> None:
        async with queue.token(slots, 9.0, leave):
            raise AssertionError

    holder = Holder(queue, slots)
    await settle()
    outcomes = await asyncio.gather(*(use() for _ in range(3)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
    assert (aheads, queue.queued, slots.in_use) == ([0, 0, 0], 0, 1)
    await holder.end()


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_informs_many_waiters_in_steps() -> None:
    """A 429 with ten thousand waiters does not block the loop."""
    queue, slots = queue_of(1, 1.0), ConnectionSlots(1)
    informed: list[int] = []
    holder = Holder(queue, slots)
    await settle()

    async def use() -> None:
        async with queue.token(slots, 9.0, lambda ahead, _: informed.append(ahead)):
            pass

    tasks = [asyncio.create_task(use()) for _ in range(10_000)]
    await settle()
    informed.clear()
    queue.on_rate_limited(5.0)
    assert 0 < len(informed) <= 200
    for _ in range(100):
        await asyncio.sleep(0)
    assert informed == list(range(10_000))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await holder.end()


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_holds_no_token_while_it_waits_for_a_slot() -> None:
    """Another client gets the token, and the waiter keeps its place."""
    queue, busy = queue_of(2, 1.0), ConnectionSlots(1)
    first = Holder(queue, busy)
    await settle()
    waiting = Holder(queue, busy)
    await settle()
    other = Holder(queue, ConnectionSlots(1))
    await settle()
    assert (first.is_held, waiting.is_held, other.is_held) == (True, False, True)
    assert (queue.bucket.free, busy.free) == (0, 0)
    await first.end()
    await settle()
    assert waiting.is_held
    await waiting.end()
    await other.end()
    assert (queue.bucket.free, busy.free) == (2, 1)


@pytest.mark.usefixtures("virtual_time")
async def test_slot_goes_to_the_call_that_waits_longest() -> None:
    """Of all endpoints."""
    one, two, slots = queue_of(2, 1.0), queue_of(2, 1.0), ConnectionSlots(1)
    first = Holder(one, slots)
    await settle()
    second, third, fourth = Holder(two, slots), Holder(one, slots), Holder(two, slots)
    order = [second, third, fourth]
    await settle()
    await first.end()
    for holder in order:
        await settle()
        assert [other.is_held for other in order] == [other is holder for other in order] or (
            holder.is_held
        )
        await holder.end()


async def test_foreign_use_is_logged_once(
    virtual_time: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """And shown in the status."""
    queue = queue_of(10, 1.0, virtual_time)
    for _ in range(2):
        async with queue.token(ConnectionSlots(1)) as token:
            queue.on_server_headers(token.permit, RateLimitHeaders(remaining=5, expire=None), 0.0)
    assert queue.status().used_elsewhere > 0
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("htx_async", "WARNING")
    assert "GET /x" in record.getMessage()


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_status_and_repr_show_current_state() -> None:
    queue = queue_of(2, 1.0)
    holder = Holder(queue)
    await settle()
    status = queue.status()
    assert (status.available, status.queued, status.wait) == (1, 0, 0.0)
    queue.on_rate_limited(0.5)
    status = queue.status()
    assert (status.available, status.wait, status.rate_limited) == (0, 0.5, 1)
    assert "0 waiting for <TokenBucket 1/2 free" in repr(queue)
    await holder.end()


@pytest.mark.parametrize("waiting", [1, 20_000])
def test_token_queue_cancels_many_waiters_without_searching(waiting: int) -> None:
    """Removing a waiter takes constant time, so cancelling all of them ends quickly."""

    async def main() -> None:
        queue, slots = queue_of(1, 1.0), ConnectionSlots(99)
        holder = Holder(queue, slots)
        await settle()
        tasks = [Holder(queue, slots).task for _ in range(waiting)]
        await settle()
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert queue.queued == 0
        await holder.end()

    before = time.process_time()
    run(main())
    # A linear search would take minutes for 20,000 waiters, so a rough bound is enough.
    assert time.process_time() - before < 20


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_lets_cancelled_callers_leave_one_by_one() -> None:
    """Many that are cancelled at once do not block the loop: each leaves in a step of its own."""
    queue, slots = queue_of(2, 1.0), ConnectionSlots(9)
    holders = [Holder(queue, slots) for _ in range(2)]
    await settle()
    waiting = [Holder(queue, slots) for _ in range(100)]
    await settle()
    for waiter in waiting[:-1]:
        waiter.task.cancel()
    queue.bucket.free += 1  # a token is available now
    queue.dispatch()
    assert queue.queued == 100
    await settle()
    assert queue.queued == 0
    assert waiting[-1].is_held
    for holder in (*holders, waiting[-1]):
        await holder.end()


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=30))
def test_token_queue_is_fifo_across_clients(callers: list[tuple[int, bool]]) -> None:
    """Whatever client a caller belongs to, and whoever is cancelled while waiting."""
    order: list[int] = []

    async def main() -> None:
        queue, clients = queue_of(1, 1.0), [ConnectionSlots(2) for _ in range(5)]

        async def use(number: int, slots: ConnectionSlots) -> None:
            async with queue.token(slots) as token:
                order.append(number)
                token.is_unused = False
                await asyncio.sleep(0.25)

        holder = Holder(queue)
        await settle()
        tasks = [
            asyncio.create_task(use(number, clients[client]))
            for number, (client, _) in enumerate(callers)
        ]
        await settle()
        for task, (_, is_cancelled) in zip(tasks, callers, strict=True):
            if is_cancelled:
                task.cancel()
        await holder.end()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (queue.queued, queue._groups, queue._ready) == (0, {}, {})
        assert not any(slots.in_use or slots._blocked for slots in clients)

    run(main())
    assert order == [number for number, (_, cancelled) in enumerate(callers) if not cancelled]


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_looks_at_few_of_many_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call costs the same, however many clients wait."""
    queue, looked_at = queue_of(1, 1.0), list[object]()
    holder = Holder(queue)
    await settle()
    tasks = [Holder(queue, ConnectionSlots(1)).task for _ in range(1000)]
    await settle()

    def arrival(group: module._Group) -> int:
        looked_at.append(group)
        return group.first.arrival

    monkeypatch.setattr(module._Group, "arrival", property(arrival))
    tasks.append(Holder(queue, ConnectionSlots(1)).task)
    await settle()
    await holder.end()
    assert 0 < len(looked_at) < 20
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_keeps_nothing_of_callers_that_left() -> None:
    """While another client waits, so that the queue is never empty."""
    queue = queue_of(1, 1.0)
    holder = Holder(queue)
    await settle()
    waiting = Holder(queue, ConnectionSlots(1))
    await settle()
    for _ in range(500):
        leaving = Holder(queue, ConnectionSlots(1)).task
        await settle()
        leaving.cancel()
        await settle()
    (heap,) = queue._ready.values()
    assert len(heap) < 100
    await holder.end()
    await settle()
    await waiting.end()


# Several event loops


def in_thread(main: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=main)
    thread.start()
    return thread


@pytest.mark.slow
def test_threads_share_one_bucket() -> None:
    """Four event loops at a time: never more than `requests` in any window."""
    queue, arrivals = queue_of(10, 0.2, Clock()), list[float]()

    async def call(slots: ConnectionSlots) -> None:
        async with queue.token(slots, 5.0) as token:
            token.is_unused = False
            arrivals.append(time.monotonic())
            await asyncio.sleep(0.001)
            token.first_byte_at = time.monotonic()

    async def main() -> None:
        slots = ConnectionSlots(5)
        await asyncio.gather(*(call(slots) for _ in range(15)))

    threads = [in_thread(lambda: asyncio.run(main())) for _ in range(4)]
    for thread in threads:
        thread.join()
    assert len(arrivals) == 60
    assert most_in_a_window(arrivals, 0.2) <= 10
    assert max(arrivals) - min(arrivals) < 0.2 * 60 / 10 + 1.0
    assert not queue.queued


@pytest.mark.slow
def test_loop_that_does_not_run_is_passed_over() -> None:
    """After a second; its caller keeps its place, and is served when the loop runs again."""
    queue, slots = queue_of(1, 0.05, Clock()), ConnectionSlots(1)

    async def use() -> float:
        async with queue.token(slots, 5.0) as token:
            token.is_unused = False
            return time.monotonic()

    stopped = asyncio.new_event_loop()
    stopped.run_until_complete(use())  # the token returns in 0.05 s
    waiting = stopped.create_task(use())
    stopped.run_until_complete(asyncio.sleep(0))

    async def other() -> None:
        since = time.monotonic()
        slots = ConnectionSlots(1)
        for _ in range(3):
            async with queue.token(slots, 5.0) as token:
                token.is_unused = False
        assert LOOP_TIMEOUT <= time.monotonic() - since < LOOP_TIMEOUT + 0.5
        assert queue.queued == 1

    asyncio.run(other())
    stopped.run_until_complete(asyncio.wait_for(waiting, 2))
    stopped.close()
    assert not queue.queued


@pytest.mark.slow
def test_closed_loop_delays_nobody() -> None:
    """Its callers are forgotten, and its tokens return when their attempts must be over."""
    queue, slots = queue_of(1, 0.05, Clock()), ConnectionSlots(2)

    async def hold() -> None:
        async with queue.token(slots, 0.2) as token:
            token.is_unused = False
            await asyncio.sleep(60)

    closed = asyncio.new_event_loop()
    tasks = [closed.create_task(hold()) for _ in range(2)]
    closed.run_until_complete(asyncio.sleep(0.01))
    closed.close()

    async def other() -> None:
        since = time.monotonic()
        async with queue.token(ConnectionSlots(1), 5.0):
            assert 0.15 <= time.monotonic() - since - MARGIN < 0.6
        assert not queue.queued

    asyncio.run(other())
    del tasks
    gc.collect()  # the abandoned callers release their tokens and slots
    assert slots.free == 2


@pytest.mark.usefixtures("virtual_time")
async def test_failed_caller_that_was_cancelled_is_cancelled() -> None:
    queue = queue_of(1, 1.0)
    holder = Holder(queue)
    await settle()
    cancelled, failed = Holder(queue), Holder(queue)
    await settle()
    cancelled.task.cancel()
    queue.fail(RateLimitQueueError("no token"))
    outcomes = await asyncio.gather(cancelled.task, failed.task, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, RateLimitQueueError]
    await holder.end()
    assert queue.bucket.free == 1


def test_queue_without_a_running_loop_issues_nothing() -> None:
    """A loop was closed, and the coroutine of a caller is garbage collected."""
    queue = queue_of(1, 1.0, Clock())

    async def wait() -> list[asyncio.Task[None]]:
        holder = Holder(queue)
        tasks = [holder.task, Holder(queue).task]
        await settle()
        return tasks

    loop = asyncio.new_event_loop()
    tasks = loop.run_until_complete(wait())
    queue.dispatch()
    assert queue.queued == 1
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()


@pytest.mark.usefixtures("virtual_time")
async def test_wait_is_estimated_under_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers of other loops change the bucket meanwhile."""
    queue, locked = queue_of(1, 1.0), list[bool]()
    wait = queue.bucket.wait

    def observe(now: float, ahead: int = 0) -> float:
        in_thread(try_lock).join()
        return wait(now, ahead)

    def try_lock() -> None:
        if is_free := queue._lock.acquire(blocking=False):
            queue._lock.release()
        locked.append(not is_free)

    holder = Holder(queue)
    await settle()
    waiting = asyncio.create_task(queue.wait_for_token(ConnectionSlots(1), 9.0, lambda *_: None))
    await settle()
    monkeypatch.setattr(type(queue.bucket), "wait", lambda _, *given: observe(*given))
    queue.on_rate_limited(1.0)
    queue.status()
    waiting.cancel()
    await holder.end()
    assert locked == [True, True]
