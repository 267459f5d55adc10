"""Connection slots that clients share: the slots of a pool."""

from __future__ import annotations

import asyncio
import threading

import pytest

from htx_async.clock import Clock
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.slots import ConnectionSlots
from tests.ratelimit.test_queue import Holder, queue_of, settle


def slots_of(limit: int, pool: ConnectionSlots) -> ConnectionSlots:
    """Return the slots of a client that shares those of *pool*."""
    slots = ConnectionSlots(limit)
    slots.share(pool)
    return slots


def test_shared_slots_are_free_in_client_and_pool() -> None:
    """The smaller number applies."""
    pool = ConnectionSlots(3)
    first, second = slots_of(2, pool), slots_of(9, pool)
    assert (first.free, second.free) == (2, 3)
    first.acquire()
    assert (first.free, second.free, pool.free) == (1, 2, 2)
    second.acquire()
    second.acquire()
    assert (first.free, second.free, pool.in_use) == (0, 0, 3)
    second.release()
    assert (first.free, second.free, pool.in_use) == (1, 1, 2)


@pytest.mark.usefixtures("virtual_time")
async def test_slot_of_a_pool_is_not_granted_out_of_order() -> None:
    """The first caller of a queue cannot use it: the first of another queue precedes the next."""
    pool = ConnectionSlots(2)
    narrow, wide = slots_of(1, pool), slots_of(2, pool)
    one, two = queue_of(9, 1.0), queue_of(9, 1.0)
    holders = [
        Holder(one, narrow),
        Holder(one, wide),
        blocked := Holder(one, narrow),
        second := Holder(two, wide),
        third := Holder(one, wide),
    ]
    await settle()
    await holders[1].end()
    await settle()
    assert (blocked.is_held, second.is_held, third.is_held) == (False, True, False)
    for holder in holders:
        await holder.end()
    assert (pool.in_use, pool._blocked) == (0, [])


@pytest.mark.usefixtures("virtual_time")
async def test_caller_without_a_slot_does_not_lengthen_the_wait() -> None:
    """A client whose slots are free would be rejected for nothing."""
    queue, busy = queue_of(2, 60.0), ConnectionSlots(1)
    holders = [Holder(queue, busy) for _ in range(9)]
    await settle()
    waits: list[float] = []
    status = queue.status()
    assert (status.queued, status.available, status.wait) == (8, 1, 0.0)
    async with queue.token(ConnectionSlots(1), on_wait=lambda _, wait: waits.append(wait)):
        assert not waits
    for holder in holders:
        await holder.end()


async def test_cancelled_caller_passes_on_its_slot_without_a_lock() -> None:
    """Two threads that dispatch each other's queue would wait for each other."""
    queue, slots = queue_of(1, 1.0, Clock()), ConnectionSlots(1)
    acquired: list[bool] = []

    class OtherQueue:
        def slot_freed(self, slots: ConnectionSlots, arrival: int) -> None:
            del slots, arrival
            thread = threading.Thread(target=lambda: acquired.append(lock_is_free(queue)))
            thread.start()
            thread.join()

    async with queue.token(slots):
        waiting = Holder(queue, slots)
        await settle()
    waiting.task.cancel()  # it was granted the token, and has not run since
    slots.call_when_free(OtherQueue(), 0)
    await asyncio.gather(waiting.task, return_exceptions=True)
    assert acquired == [True]
    assert slots.free == 1


def lock_is_free(queue: TokenQueue) -> bool:
    """Return whether this thread can use *queue*."""
    is_free = queue._lock.acquire(blocking=False)
    if is_free:
        queue._lock.release()
    return is_free


@pytest.mark.usefixtures("virtual_time")
async def test_slot_is_granted_in_order_after_the_first_caller_has_left() -> None:
    """The next caller of its client has arrived after those of others."""
    pool = ConnectionSlots(1)
    first, other = slots_of(1, pool), slots_of(1, pool)
    one, two = queue_of(9, 1.0), queue_of(9, 1.0)
    holder = Holder(one, first)
    leaving, second, third = Holder(one, first), Holder(two, other), Holder(one, first)
    await settle()
    leaving.task.cancel()
    await settle()
    await holder.end()
    await settle()
    assert (second.is_held, third.is_held) == (True, False)
    await second.end()
    await settle()
    assert third.is_held
    await third.end()
    assert (pool.in_use, pool._blocked) == (0, [])


def test_slot_that_is_released_after_its_loop_was_closed_is_free() -> None:
    """Its tasks may end later, when they are garbage collected."""
    queue, slots = queue_of(1, 1.0, Clock()), ConnectionSlots(1)

    async def wait() -> None:
        async with queue.token(slots):
            await asyncio.sleep(60)

    closed = asyncio.new_event_loop()
    tasks = [closed.create_task(wait()) for _ in range(2)]
    closed.run_until_complete(asyncio.sleep(0.01))
    closed.close()

    async def other() -> None:
        queue.dispatch()

    asyncio.run(other())
    assert queue.queued == 0
    slots.release()
    assert (slots.free, slots._blocked) == (1, [])
    del tasks
