"""
Real processes that share a limit through a real server; one is paused and one is killed.

`HTX_SECONDS=60` runs for 60 seconds, at HTX's own limit, and checks the rate.
"""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from htx_async.ratelimit.token_bucket import RateLimit
from tests.ratelimit.redis.processes import HTXS, lease, worker_pool
from tests.redis_process import RedisProcess

SECONDS = float(os.environ.get("HTX_SECONDS", "2"))
IS_LONG = SECONDS >= 20
LIMIT = HTXS if IS_LONG else RateLimit(20, per=0.25)


@pytest.mark.slow
@pytest.mark.timeout(60 + 3 * SECONDS)
async def test_processes_share_limit_when_one_is_paused_and_one_killed(
    redis_process: RedisProcess,
) -> None:
    """No 429 and no starvation, before and after the two faults."""
    redis_process.settle(LIMIT.per)
    async with worker_pool(redis_process.url, 4, LIMIT) as pool:
        await pool.all_served(asyncio.get_running_loop().time())
        outcome = await pool.measure(SECONDS)
        assert outcome.rate_limited == 0
        assert outcome.rate >= 0.9 or not IS_LONG
        assert min(outcome.shares) >= 0.15

        paused, killed = pool.processes[:2]
        paused.send_signal(signal.SIGSTOP)
        killed.kill()
        await asyncio.sleep(2.0)
        paused.send_signal(signal.SIGCONT)
        await asyncio.sleep(lease(LIMIT) - 2.0)
        after = await pool.measure(SECONDS)
        assert pool.sandbox.rate_limited == 0
        assert after.rate >= 0.9 or not IS_LONG
        assert after.shares[1] == 0
        assert min(after.shares[0], *after.shares[2:]) >= 0.2
