"""The queue before a bucket: order, cancellation, timers."""

from __future__ import annotations

import asyncio
import time

import pytest

from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import Permit, RateLimit, TokenBucket
from tests.virtual import VirtualClock, run

ANY = Permit(0, 0)
"""A grant; tokens of one bucket are all alike."""


def queue_of(limit: int, per: float) -> TokenQueue:
    """Return a queue on virtual time."""
    return TokenQueue(TokenBucket(RateLimit(limit, per)), VirtualClock())


def timers() -> int:
    """Return how many timers the loop has."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return sum(not handle.cancelled() for handle in scheduled)


@pytest.mark.usefixtures("virtual_time")
async def test_no_timer_while_nobody_waits() -> None:
    """Neither before, nor while all tokens are out, nor after the last has left."""
    queue = queue_of(1, 1.0)
    await queue.acquire()
    assert timers() == 0
    waiter = asyncio.create_task(queue.acquire())
    await asyncio.sleep(0)
    assert timers() == 0  # the token is out: nobody knows when it is back
    queue.release_at(ANY, 0.0)
    assert timers() == 1
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    assert timers() == 0


@pytest.mark.usefixtures("virtual_time")
async def test_one_timer_for_many_who_wait() -> None:
    """It is the same with one and with a thousand."""
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
async def test_a_grant_to_one_who_was_cancelled_goes_to_the_next() -> None:
    """Granted and cancelled in the same breath: the token is not lost."""
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
async def test_one_who_is_cancelled_before_the_grant_is_passed_over() -> None:
    """The other order of the same two things."""
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
async def test_a_newcomer_does_not_overtake() -> None:
    """A token that is free goes to who waits, even if somebody else asks first."""
    queue = queue_of(1, 1.0)
    await queue.acquire()
    order: list[str] = []

    async def take(name: str) -> None:
        await queue.acquire()
        order.append(name)
        queue.release_unused(ANY)

    waiting = asyncio.create_task(take("first"))
    await asyncio.sleep(0)
    queue.release_unused(ANY)
    newcomer = asyncio.create_task(take("newcomer"))
    await asyncio.gather(waiting, newcomer)
    assert order == ["first", "newcomer"]


@pytest.mark.usefixtures("virtual_time")
async def test_who_must_wait_is_told_before() -> None:
    """How many are ahead, and how long that takes at least."""
    queue = queue_of(1, 1.0)
    told: list[tuple[int, float]] = []

    def tell(ahead: int, wait: float) -> None:
        told.append((ahead, wait))

    await queue.acquire(tell)
    queue.release_at(ANY, 0.0)
    tasks = [asyncio.create_task(queue.acquire(tell)) for _ in range(2)]
    await asyncio.sleep(0)
    assert told == [(0, 1.0), (1, 2.0)]
    assert queue.wait() == 3.0
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.usefixtures("virtual_time")
async def test_its_status_and_repr() -> None:
    """A frozen picture of how things stand."""
    queue = queue_of(2, 1.0)
    await queue.acquire()
    status = queue.status()
    assert (status.available, status.queued, status.wait) == (1, 0, 0.0)
    queue.on_rate_limited(0.5)
    status = queue.status()
    assert (status.available, status.wait, status.rate_limited) == (0, 0.5, 1)
    assert "0 waiting for <TokenBucket 1/2 free" in repr(queue)


@pytest.mark.parametrize("waiting", [1, 20_000])
def test_acquire_and_release_do_not_search_the_queue(waiting: int) -> None:
    """A storm of cancellations ends at once: nothing is looked for from the front."""

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
    # A search would take minutes for 20,000; this only tells seconds from minutes.
    assert time.process_time() - before < 20
