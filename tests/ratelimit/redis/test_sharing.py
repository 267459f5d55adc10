"""How workers share the tokens of one bucket: the script on a real server, at virtual times."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest

from htx_async.ratelimit.redis.queue import RedisQueue
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import RateLimit
from tests.ratelimit.redis.test_queue import use
from tests.ratelimit.redis.virtual_server import ScriptServer, VirtualProcess
from tests.redis_process import RedisProcess
from tests.virtual import run
from tests.world import endpoint

pytestmark = pytest.mark.slow
TEN = RateLimit(10, per=2.0)


@pytest.fixture
def client(redis_process: RedisProcess) -> Iterator[Any]:
    with redis_process.client() as client:
        yield client


def workers(client: Any, limit: RateLimit, delays: list[float]) -> list[RedisQueue]:
    """Return the queues of workers of one user, with these seconds to Redis and back."""
    user, target = secrets.token_hex(8), endpoint(limit.requests, limit.per)
    trips = [cycle([(delay / 2, delay / 2)]) for delay in delays]
    servers = [ScriptServer(client, trip) for trip in trips]
    processes = [VirtualProcess(server, user, secrets.token_hex(3)) for server in servers]
    return [process.queue_for(target) for process in processes]


async def cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("limit", "delays", "pace"),
    [
        (RateLimit(100, per=2.0), [0.001, 0.001, 0.002, 0.002], 0.98),
        (TEN, [0.001, 0.001, 0.002, 0.002], 0.98),
        (RateLimit(2, per=1.0), [0.001, 0.001, 0.002], 0.9),
        (TEN, [0.2, 0.2, 0.2, 0.2], 0.88),
        (TEN, [0.001, 0.001, 0.001, 0.2], 0.95),
    ],
)
def test_workers_get_similar_shares_of_the_full_rate(
    client: Any, limit: RateLimit, delays: list[float], pace: float
) -> None:
    """Although a response takes 30 ms, and Redis is far from some."""

    async def main() -> list[int]:
        queues = workers(client, limit, delays)
        counts = [0] * len(queues)

        async def call(number: int) -> None:
            while True:
                await use(queues[number], 0.03)
                counts[number] += 1

        number_of_calls = 2 * limit.requests
        tasks = [
            asyncio.create_task(call(number))
            for number in range(len(queues))
            for _ in range(number_of_calls)
        ]
        await asyncio.sleep(30 * limit.per)
        await cancel(tasks)
        return counts

    counts = run(main())
    assert sum(counts) >= pace * 30 * limit.requests
    assert min(counts) >= 0.85 * sum(counts) / len(counts)


def test_worker_with_one_caller_is_not_starved_by_a_thousand(client: Any) -> None:
    """It waits two periods at most."""

    async def main() -> None:
        greedy, modest = workers(client, TEN, [0.002, 0.002])
        tasks = [asyncio.create_task(use(greedy, 0.01)) for _ in range(1000)]
        for _ in range(10):
            await asyncio.sleep(0.7)
            since = asyncio.get_running_loop().time()
            assert await use(modest, 0.01) - since <= 2 * TEN.per
        await cancel(tasks)

    run(main())


@pytest.mark.usefixtures("virtual_time")
async def test_token_that_returns_unused_is_noticed_soon(client: Any) -> None:
    """Within 50 ms, by a worker that waits."""
    first, second = workers(client, RateLimit(1, per=600.0), [0.001, 0.001])
    async with first.token(ConnectionSlots(1), 10.0):
        waiter = asyncio.create_task(use(second))
        await asyncio.sleep(5.0)
    assert await waiter <= 5.06


@pytest.mark.usefixtures("virtual_time")
async def test_token_of_a_worker_that_died_goes_to_the_next(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon after the dead worker should have asked for it."""
    dead, alive = workers(client, RateLimit(1, per=4.0), [0.001] * 2)
    await use(alive)
    await asyncio.sleep(0.1)
    waiting = [asyncio.create_task(use(dead))]
    await asyncio.sleep(0.1)

    async def hang(*_: object) -> Any:
        await asyncio.sleep(3600.0)

    monkeypatch.setattr(dead, "_server", type("Dead", (), {"exchange": staticmethod(hang)}))
    await asyncio.sleep(3.82)  # the token has returned
    assert await use(alive) <= 4.0 + 0.15
    await cancel([*waiting, *([dead._exchange_task] if dead._exchange_task else [])])


@pytest.mark.usefixtures("virtual_time")
async def test_demand_of_cancelled_callers_holds_no_token(client: Any) -> None:
    holder, first, second = workers(client, RateLimit(1, per=1.0), [0.001] * 3)
    async with holder.token(ConnectionSlots(1), 10.0) as token:
        token.is_unused = False
        token.first_byte_at = 0.5
        waiter = asyncio.create_task(use(first))
        await asyncio.sleep(0.2)
        later = asyncio.create_task(use(second))
        await asyncio.sleep(0.3)
        await cancel([waiter])
    assert await later == pytest.approx(1.5, abs=0.07)
