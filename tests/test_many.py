"""
Real processes that share a limit through a real server, while some of them, or it, have accidents.

`HTX_SECONDS=20` measures for longer than CI does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from htx_async import BudgetError, DeadlineExceededError, HTXClient, HTXError, RedisBudget
from htx_async.sandbox import Sandbox
from htx_async.transport.leases import VALID
from tests.many import KEYS, PER, TIMEOUT, USER, crowd, measured
from tests.redis_process import RedisProcess, free_port, serving
from tests.world import most_in_a_window

pytestmark = pytest.mark.slow
SECONDS = float(os.environ.get("HTX_SECONDS", "3"))
IS_LONG = SECONDS >= 20
"""A short run shows that nobody is refused and nobody starves; how fast it is, only a long one."""
LEASE = TIMEOUT + VALID + PER


@pytest.mark.timeout(60 + 2 * SECONDS)
async def test_four_processes_share_and_take_over(redis_process: RedisProcess) -> None:
    """All of the rate, no refusal, no starving; one is paused, one is killed, none is refused."""
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(redis_process.grow, LEASE + 2.0)
    async with crowd(redis_process.url, 4) as many:
        await many.all_served(loop.time())
        outcome = await measured(many, SECONDS)
        assert outcome.refused == 0
        assert min(outcome.pace, outcome.rate) >= 0.9 or not IS_LONG
        assert min(outcome.shares) >= 0.15

        paused, killed = many.processes[:2]
        paused.send_signal(signal.SIGSTOP)
        await asyncio.sleep(VALID + 0.2)
        paused.send_signal(signal.SIGCONT)
        killed.kill()
        killed.wait()
        await asyncio.sleep(LEASE)
        after = await measured(many, 2 * PER)
        assert many.sandbox.rate_limited == 0
        assert after.pace >= 0.9 or not IS_LONG
        assert after.shares[1] == 0
        assert min(after.shares[0], *after.shares[2:]) >= 0.2


async def test_a_restart_and_a_failover_of_the_server(tmp_path: Path) -> None:
    """Neither lets too much through, and all goes on by itself once a lease is over."""
    await asyncio.gather(
        accident(tmp_path / "a", has_replica=False), accident(tmp_path / "b", has_replica=True)
    )


def point(link: Path, server: RedisProcess) -> None:
    """Let the URL lead to another server."""
    link.unlink(missing_ok=True)
    link.symlink_to(server.path)


async def accident(link: Path, *, has_replica: bool) -> None:
    """
    Let the server restart, or its replica take over, under load.

    The URL names a link, as a name in DNS would; in a failover it is moved to the replica.
    """
    timeout, limit, per = 0.3, 2, 1.0
    lease, sandbox, failures = timeout + VALID + per, Sandbox(window="sliding"), list[HTXError]()
    async with contextlib.AsyncExitStack() as stack:
        first = stack.enter_context(serving(port=(port := free_port())))
        second = stack.enter_context(serving("--replicaof", "127.0.0.1", str(port)))
        point(link, first)
        base_url = await stack.enter_async_context(sandbox.serve())
        budget = await stack.enter_async_context(RedisBudget(f"unix://{link}", user=USER))
        htx = HTXClient(KEYS, base_url=base_url, budget=budget, timeout=timeout, share=False)
        await stack.enter_async_context(htx)
        await asyncio.to_thread(first.grow, lease + 2.0)
        tasks = [asyncio.create_task(read_on(htx, failures)) for _ in range(6)]
        await asyncio.sleep(0.2)
        assert len(sandbox.arrivals) == limit
        gone = asyncio.get_running_loop().time()
        if has_replica:
            first.kill()
            with second.client() as client:
                client.replicaof("NO", "ONE")
            point(link, second)
        else:
            await asyncio.to_thread(first.restart)
        await asyncio.sleep(lease + 2.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    times = [arrival.at for arrival in sandbox.arrivals]
    assert sandbox.rate_limited == 0
    assert most_in_a_window(times, per) <= limit
    assert min(times[limit:]) >= gone + lease - 0.1
    assert {type(error) for error in failures} <= {BudgetError, DeadlineExceededError}


async def read_on(htx: HTXClient, failures: list[HTXError]) -> None:
    """Read as fast as may be, whatever happens."""
    while True:
        try:
            await htx.points.balance()
        except HTXError as error:
            failures.append(error)
            await asyncio.sleep(0.02)
