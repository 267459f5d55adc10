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
from tests.many import KEYS, LIMIT, PER, TIMEOUT, USER, crowd, measured
from tests.redis_process import RedisProcess, free_port, serving
from tests.world import most_in_a_window

pytestmark = pytest.mark.slow
SECONDS = float(os.environ.get("HTX_SECONDS", "4"))
LEASE = TIMEOUT + VALID + PER


@pytest.mark.timeout(60 + 2 * SECONDS)
async def test_four_processes_share_and_take_over(redis_process: RedisProcess) -> None:
    """All of the rate, no refusal, no starving; one is paused, one is killed, none is refused."""
    loop = asyncio.get_running_loop()
    async with crowd(redis_process.url, 4) as many:
        await many.all_served(loop.time())
        outcome = await measured(many, SECONDS)
        assert outcome.refused == 0
        assert outcome.rate >= 0.9
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
        assert after.rate >= 0.9
        assert after.shares[1] == 0
        assert min(after.shares[0], *after.shares[2:]) >= 0.2


@pytest.mark.parametrize("has_replica", [False, True])
async def test_a_restart_or_a_failover_of_the_server(has_replica: bool, tmp_path: Path) -> None:
    """
    Neither lets more through than HTX allows, and all goes on by itself once a lease is over.

    The URL names a link, as a name in DNS would; in a failover it is moved to the replica.
    """
    timeout, sandbox, link = 0.5, Sandbox(window="sliding"), tmp_path / "redis"
    port, failures = free_port(), list[HTXError]()
    lease = timeout + VALID + PER
    async with contextlib.AsyncExitStack() as stack:
        first = stack.enter_context(serving(port=port))
        second = stack.enter_context(serving("--replicaof", "127.0.0.1", str(port)))
        link.symlink_to(first.path)
        base_url = await stack.enter_async_context(sandbox.serve())
        budget = await stack.enter_async_context(RedisBudget(f"unix://{link}", user=USER))
        htx = HTXClient(KEYS, base_url=base_url, budget=budget, timeout=timeout, share=False)
        await stack.enter_async_context(htx)
        await asyncio.to_thread(first.grow, lease + 1.0)
        tasks = [asyncio.create_task(read_on(htx, failures)) for _ in range(60)]
        await asyncio.sleep(0.3)
        assert sandbox.arrivals
        gone = asyncio.get_running_loop().time()
        if has_replica:
            first.kill()
            with second.client() as client:
                client.replicaof("NO", "ONE")
            link.unlink()
            link.symlink_to(second.path)
        else:
            await asyncio.to_thread(first.restart)
        await asyncio.sleep(lease + 1.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    times = [arrival.at for arrival in sandbox.arrivals]
    later = [at for at in times if at > gone + 0.5]
    assert sandbox.rate_limited == 0
    assert most_in_a_window(times, PER) <= LIMIT
    assert later
    assert min(later) >= gone + lease - 0.5
    assert {type(error) for error in failures} <= {BudgetError, DeadlineExceededError}


async def read_on(htx: HTXClient, failures: list[HTXError]) -> None:
    """Read as fast as may be, whatever happens."""
    while True:
        try:
            await htx.accounts.list()
        except HTXError as error:
            failures.append(error)
            await asyncio.sleep(0.02)
