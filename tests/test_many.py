"""
Real processes that share a limit through a real server, while some of them, or it, have accidents.

`HTX_SECONDS=20` measures for so long, and at HTX's own limit.
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
from tests.many import BRIEF, HTXS, KEYS, USER, Load, crowd, limited, measured
from tests.redis_process import RedisProcess, free_port, serving
from tests.world import most_in_a_window

pytestmark = pytest.mark.slow
SECONDS = float(os.environ.get("HTX_SECONDS", "1"))
IS_LONG = SECONDS >= 20
"""A short run shows that nobody is refused and nobody starves; how fast it is, only a long one."""
ON_ITS_WAY = 0.2
FEW = Load(RateLimit(2, per=0.3), at_a_time=6, timeout=0.2)


@attrs.frozen
class Pair:
    """A server, its replica, and a name for either, as one in DNS would be."""

    first: RedisProcess
    second: RedisProcess
    link: Path

    def point(self, server: RedisProcess) -> None:
        """Let the name lead to another server."""
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(server.path)

    def fail_over(self) -> None:
        """Let the replica take over."""
        self.first.kill()
        with self.second.client() as client:
            client.replicaof("NO", "ONE")
        self.point(self.second)


@contextlib.contextmanager
def pair(link: Path) -> Iterator[Pair]:
    """Run a server and its replica."""
    with (
        serving(port=(port := free_port())) as first,
        serving("--replicaof", "127.0.0.1", str(port)) as second,
    ):
        found = Pair(first, second, link)
        found.point(first)
        yield found


@pytest.fixture(scope="module", autouse=True)
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Pair]]:
    """Run two pairs from the beginning: when it is their turn they are old enough to be trusted."""
    folder = tmp_path_factory.mktemp("links")
    with pair(folder / "a") as one, pair(folder / "b") as other:
        yield [one, other]


@pytest.mark.timeout(60 + 2 * SECONDS)
async def test_four_processes_share_and_take_over(redis_process: RedisProcess) -> None:
    """All of the rate, no refusal, no starving; one is paused, one is killed, none is refused."""
    loop, load = asyncio.get_running_loop(), HTXS if IS_LONG else BRIEF
    async with crowd(redis_process.url, 4, load) as many:
        await many.all_served(loop.time())
        outcome = await measured(many, SECONDS)
        assert outcome.refused == 0
        assert min(outcome.pace, outcome.rate) >= 0.9 or not IS_LONG
        assert min(outcome.shares) >= 0.15

        paused, killed = many.processes[:2]
        paused.send_signal(signal.SIGSTOP)
        killed.kill()
        over = loop.time() + load.lease
        await asyncio.sleep(GRANT_TTL + 0.2)
        paused.send_signal(signal.SIGCONT)
        await asyncio.sleep(load.limit.per)
        after = await measured(many, over + 2 * load.limit.per - loop.time())
        assert many.sandbox.rate_limited == 0
        assert after.pace >= 0.9 or not IS_LONG
        assert after.shares[1] == 0
        assert min(after.shares[0], *after.shares[2:]) >= 0.2


async def test_a_restart_and_a_failover_of_the_server(pairs: list[Pair]) -> None:
    """Neither lets too much through, and all goes on by itself once a lease is over."""
    one, other = pairs
    with limited(points, FEW.limit):
        await asyncio.gather(accident(one, one.first.restart), accident(other, other.fail_over))


async def accident(servers: Pair, happen: Callable[[], None]) -> None:
    """Let something *happen* to a server under load."""
    sandbox, failures = Sandbox(window="sliding"), list[HTXError]()
    limit, per = FEW.limit.requests, FEW.limit.per
    async with (
        sandbox.serve() as base_url,
        RedisRateLimiter(f"unix://{servers.link}", user=USER) as budget,
        HTXClient(
            KEYS, base_url=base_url, rate_limiter=budget, timeout=FEW.timeout, coalesce=False
        ) as htx,
    ):
        tasks = [asyncio.create_task(read_on(htx, failures)) for _ in range(FEW.at_a_time)]
        await arrived(sandbox, limit)
        gone = asyncio.get_running_loop().time()
        await asyncio.to_thread(happen)
        # What was granted before is on its way for a moment yet.
        await asyncio.sleep(gone + ON_ITS_WAY - asyncio.get_running_loop().time())
        before = len(sandbox.arrivals)
        await arrived(sandbox, before + 2 * limit)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    times = [arrival.at for arrival in sandbox.arrivals]
    assert sandbox.rate_limited == 0
    assert most_in_a_window(times, per) <= limit
    assert times[before] >= gone + FEW.lease - 0.1
    assert {type(error) for error in failures} <= {RateLimitQueueError, DeadlineExceededError}


async def arrived(sandbox: Sandbox, times: int) -> None:
    """Wait until it was asked so often."""
    async with asyncio.timeout(10):
        while len(sandbox.arrivals) < times:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def read_on(htx: HTXClient, failures: list[HTXError]) -> None:
    """Read as fast as may be, whatever happens."""
    while True:
        try:
            await htx.points.balance()
        except HTXError as error:
            failures.append(error)
            await asyncio.sleep(0.02)
