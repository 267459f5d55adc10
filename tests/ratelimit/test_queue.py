"""Token queue: order, cancellation and timers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import Permit, RateLimit, TokenBucket
from tests.virtual import VirtualClock, run

ANY = Permit(0, 0)
"""A permit; the tokens of one local bucket are interchangeable."""


def queue_of(requests: int, per: float) -> TokenQueue:
    """Return a queue on virtual time."""
    return TokenQueue(TokenBucket(RateLimit(requests, per)), VirtualClock())


def timers() -> int:
    """Return the number of active timers of the loop."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return sum(not handle.cancelled() for handle in scheduled)


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_has_no_timer_without_returning_token() -> None:
    """No timer before the first waiter, while all tokens are in use, or after the last waiter."""
    queue = queue_of(1, 1.0)
    await queue.acquire()
    assert timers() == 0
    waiter = asyncio.create_task(queue.acquire())
    await asyncio.sleep(0)
    assert timers() == 0  # the token is in use, so its return time is not known
    queue.release_at(ANY, 0.0)
    assert timers() == 1
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    assert timers() == 0


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_has_one_timer_for_all_waiters() -> None:
    queue = queue_of(1, 1.0)
    await queue.acquire()
    queue.release_at(ANY, 0.0)
    waiters = [asyncio.create_task(queue.acquire()) for _ in range(1000)]
    await asyncio.sleep(0)
    assert timers() == 1
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)
    assert timers() == 0


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_passes_token_on_when_cancelled_after_grant() -> None:
    """The first waiter is granted a token and cancelled in the same loop iteration."""
    queue = queue_of(1, 1.0)
    await queue.acquire()
    first, second = (asyncio.create_task(queue.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    queue.release_unused(ANY)  # grants it to the first
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    assert (await second).sequence > 1


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_skips_waiter_cancelled_before_grant() -> None:
    """The first waiter is cancelled and would be granted a token in the same loop iteration."""
    queue = queue_of(1, 1.0)
    await queue.acquire()
    first, second = (asyncio.create_task(queue.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    queue.release_unused(ANY)
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    await second
    assert queue.bucket.in_use == 1


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_new_caller_does_not_overtake_waiter() -> None:
    """A free token goes to the waiter, even if a new caller runs first."""
    queue = queue_of(1, 1.0)
    await queue.acquire()
    order: list[str] = []

    async def use(name: str) -> None:
        await queue.acquire()
        order.append(name)
        queue.release_unused(ANY)

    waiting = asyncio.create_task(use("first"))
    await asyncio.sleep(0)
    queue.release_unused(ANY)
    newcomer = asyncio.create_task(use("newcomer"))
    await asyncio.gather(waiting, newcomer)
    assert order == ["first", "newcomer"]


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_reports_position_and_wait_before_waiting() -> None:
    """`on_wait` gets the number of waiters ahead and the minimum wait, and only if there is one."""
    queue = queue_of(1, 1.0)
    waits: list[tuple[int, float]] = []

    def on_wait(ahead: int, wait: float) -> None:
        waits.append((ahead, wait))

    await queue.acquire(on_wait)
    queue.release_at(ANY, 0.0)
    tasks = [asyncio.create_task(queue.acquire(on_wait)) for _ in range(2)]
    await asyncio.sleep(0)
    assert waits == [(0, 1.0), (1, 2.0)]
    assert queue.wait() == 3.0
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_acquire_with_slot_returns_token_when_cancelled() -> None:
    """A caller that is cancelled while it waits for a slot keeps neither token nor slot."""
    queue, slots = queue_of(2, 1.0), queue_of(1, 0.0)
    waits: list[tuple[int, float]] = []

    def acquire() -> Coroutine[Any, Any, tuple[Permit, Permit]]:
        return queue.acquire_with_slot(slots, lambda *wait: waits.append(wait), lambda: 9.0)

    await acquire()
    waiter = asyncio.create_task(acquire())
    await asyncio.sleep(0)
    assert (queue.bucket.in_use, slots.status().queued, waits) == (2, 1, [(0, 0.0)])
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    assert (queue.bucket.in_use, slots.bucket.in_use, slots.status().queued) == (1, 1, 0)


@pytest.mark.usefixtures("virtual_time")
async def test_token_queue_status_and_repr_show_current_state() -> None:
    queue = queue_of(2, 1.0)
    await queue.acquire()
    status = queue.status()
    assert (status.available, status.queued, status.wait) == (1, 0, 0.0)
    queue.on_rate_limited(0.5)
    status = queue.status()
    assert (status.available, status.wait, status.rate_limited) == (0, 0.5, 1)
    assert "0 waiting for <TokenBucket 1/2 free" in repr(queue)


@pytest.mark.parametrize("waiting", [1, 20_000])
def test_token_queue_cancels_many_waiters_without_searching(waiting: int) -> None:
    """Removing a waiter takes constant time, so cancelling all of them ends quickly."""

    async def main() -> None:
        queue = queue_of(1, 1.0)
        await queue.acquire()
        tasks = [asyncio.create_task(queue.acquire()) for _ in range(waiting)]
        await asyncio.sleep(0)
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert queue.status().queued == 0

    before = time.process_time()
    run(main())
    # A linear search would take minutes for 20,000 waiters, so a rough bound is enough.
    assert time.process_time() - before < 20
