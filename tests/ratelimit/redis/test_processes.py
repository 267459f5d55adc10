"""
Real processes that share a limit through a real server, with crashes of processes and servers.

`HTX_SECONDS=20` runs for 20 seconds and at HTX's own limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from htx_async import (
    DeadlineExceededError,
    HTXClient,
    HTXError,
    RateLimitQueueError,
    RedisRateLimiter,
)
from htx_async.ratelimit.redis.protocol import GRANT_TTL
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.resources import points
from htx_async.sandbox import Sandbox
from tests.ratelimit.redis.processes import (
    BRIEF,
    HTXS,
    KEYS,
    USER,
    Load,
    limited,
    measure,
    worker_pool,
)
from tests.redis_process import RedisProcess, free_port, serving
from tests.world import most_in_a_window

pytestmark = pytest.mark.slow
SECONDS = float(os.environ.get("HTX_SECONDS", "1"))
IS_LONG = SECONDS >= 20
"""A short run checks 429s and starvation; only a long run checks the rate."""
MAX_LATENCY = 0.2
FEW = Load(RateLimit(2, per=0.3), concurrency=6, timeout=0.2)


@attrs.frozen
class Pair:
    """A server, its replica, and a symbolic link to one of them, like a name in DNS."""

    first: RedisProcess
    second: RedisProcess
    link: Path

    def point(self, server: RedisProcess) -> None:
        """Point the link to another server."""
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(server.path)

    def fail_over(self) -> None:
        """Kill the server and promote the replica."""
        self.first.kill()
        with self.second.client() as client:
            client.replicaof("NO", "ONE")
        self.point(self.second)


@contextlib.contextmanager
def run_pair(link: Path) -> Iterator[Pair]:
    """Run a server and its replica."""
    with (
        serving(port=(port := free_port())) as first,
        serving("--replicaof", "127.0.0.1", str(port)) as second,
    ):
        servers = Pair(first, second, link)
        servers.point(first)
        yield servers


@pytest.fixture(scope="module", autouse=True)
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Pair]]:
    """Start two pairs early: when their test runs, they are older than a lease."""
    folder = tmp_path_factory.mktemp("links")
    with run_pair(folder / "a") as one, run_pair(folder / "b") as other:
        yield [one, other]


@pytest.mark.timeout(60 + 2 * SECONDS)
async def test_processes_share_limit_when_one_is_paused_and_one_killed(
    redis_process: RedisProcess,
) -> None:
    """The full rate, no 429 and no starvation, before and after the two faults."""
    loop, load = asyncio.get_running_loop(), HTXS if IS_LONG else BRIEF
    async with worker_pool(redis_process.url, 4, load) as pool:
        await pool.all_served(loop.time())
        outcome = await measure(pool, SECONDS)
        assert outcome.rate_limited == 0
        assert min(outcome.pace, outcome.rate) >= 0.9 or not IS_LONG
        assert min(outcome.shares) >= 0.15

        paused, killed = pool.processes[:2]
        paused.send_signal(signal.SIGSTOP)
        killed.kill()
        lease_end = loop.time() + load.lease
        await asyncio.sleep(GRANT_TTL + 0.2)
        paused.send_signal(signal.SIGCONT)
        await asyncio.sleep(load.limit.per)
        after = await measure(pool, lease_end + 2 * load.limit.per - loop.time())
        assert pool.sandbox.rate_limited == 0
        assert after.pace >= 0.9 or not IS_LONG
        assert after.shares[1] == 0
        assert min(after.shares[0], *after.shares[2:]) >= 0.2


async def test_server_restart_and_failover_keep_limit_and_recover(pairs: list[Pair]) -> None:
    """No window exceeds the limit, and calls succeed again once the leases are over."""
    one, other = pairs
    with limited(points, FEW.limit):
        await asyncio.gather(
            check_fault(one, one.first.restart), check_fault(other, other.fail_over)
        )


async def check_fault(servers: Pair, fault: Callable[[], None]) -> None:
    """Cause a *fault* of a server under load."""
    sandbox, failures = Sandbox(window="sliding"), list[HTXError]()
    limit, per = FEW.limit.requests, FEW.limit.per
    async with (
        sandbox.serve() as base_url,
        RedisRateLimiter(f"unix://{servers.link}", user=USER) as limiter,
        HTXClient(
            KEYS, base_url=base_url, rate_limiter=limiter, timeout=FEW.timeout, coalesce=False
        ) as htx,
    ):
        tasks = [
            asyncio.create_task(call_repeatedly(htx, failures)) for _ in range(FEW.concurrency)
        ]
        await wait_for_requests(sandbox, limit)
        failed_at = asyncio.get_running_loop().time()
        await asyncio.to_thread(fault)
        # Requests with an earlier grant may still arrive.
        await asyncio.sleep(failed_at + MAX_LATENCY - asyncio.get_running_loop().time())
        before = len(sandbox.arrivals)
        await wait_for_requests(sandbox, before + 2 * limit)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    times = [arrival.at for arrival in sandbox.arrivals]
    assert sandbox.rate_limited == 0
    assert most_in_a_window(times, per) <= limit
    assert times[before] >= failed_at + FEW.lease - 0.1
    assert {type(error) for error in failures} <= {RateLimitQueueError, DeadlineExceededError}


async def wait_for_requests(sandbox: Sandbox, count: int) -> None:
    """Wait until *count* requests have arrived."""
    async with asyncio.timeout(10):
        while len(sandbox.arrivals) < count:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)


async def call_repeatedly(htx: HTXClient, failures: list[HTXError]) -> None:
    """Make one call after the other; record the errors."""
    while True:
        try:
            await htx.points.balance()
        except HTXError as error:
            failures.append(error)
            await asyncio.sleep(0.02)
