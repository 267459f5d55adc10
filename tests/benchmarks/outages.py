"""
How long no call succeeds when something happens to Redis.

Two workers call an endpoint ten times a second each, below its limit. The gap is the longest
time without a successful call of a worker, from the event on.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import attrs

from htx_async import Credentials, HTXClient, HTXError, RedisRateLimiter
from tests.benchmarks import canned
from tests.benchmarks.tables import Goal, Options, table
from tests.redis_process import RedisProcess, free_port, serving

_INTERVAL: Final = 0.1
_SETTLING: Final = 3.0
_OBSERVED: Final = 20.0
_STALL: Final = 3.0

Event: TypeAlias = Callable[[RedisProcess], Awaitable[None]]


@attrs.define
class Worker:
    """A rate limiter with its client, and when its calls succeeded."""

    started: asyncio.Event = attrs.field(factory=asyncio.Event)
    successes: list[float] = attrs.field(factory=list)
    errors: Counter[str] = attrs.field(factory=Counter)

    async def run(self, url: str, base_url: str, fallback: float | None) -> None:
        """Call until cancelled."""
        keys = Credentials("access-key", "secret-key")
        limiter = RedisRateLimiter(url, user="outages", fallback=fallback)
        async with (
            limiter,
            HTXClient(keys, base_url=base_url, rate_limiter=limiter, coalesce=False) as htx,
            asyncio.TaskGroup() as group,
        ):
            await self._call(htx)  # a new Redis has none of the tokens for a lease
            self.started.set()
            while True:
                group.create_task(self._call(htx))
                await asyncio.sleep(_INTERVAL)

    async def _call(self, htx: HTXClient) -> None:
        try:
            await htx.accounts.list()
        except HTXError as error:
            self.errors[type(error).__name__] += 1
        else:
            self.successes.append(time.monotonic())

    def gap(self, since: float) -> float:
        """Return the longest time without a success from *since* on."""
        times = [since, *(at for at in self.successes if at > since), time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(times))


async def _stall(server: RedisProcess) -> None:
    assert server.process
    server.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(_STALL)
    server.process.send_signal(signal.SIGCONT)


async def _cut(server: RedisProcess) -> None:
    with server.client() as redis:
        redis.client_kill_filter(_type="normal", skipme=True)


async def _restart(server: RedisProcess) -> None:
    await asyncio.to_thread(server.restart)


async def _down(server: RedisProcess) -> None:
    server.kill()
    await asyncio.sleep(_STALL)
    await asyncio.to_thread(server.start)


async def _flush(server: RedisProcess) -> None:
    with server.client() as redis:
        redis.flushall()


async def _delete(server: RedisProcess) -> None:
    with server.client() as redis:
        redis.delete(*redis.keys("htx_async:*GET*"))


async def _demote(server: RedisProcess) -> None:
    with server.client() as redis:
        redis.replicaof("127.0.0.1", 1)
        await asyncio.sleep(1.0)
        redis.replicaof("NO", "ONE")


EVENTS: Final[dict[str, Event]] = {
    f"stalls for {_STALL:g} s": _stall,
    "closes all connections": _cut,
    "restarts, empty": _restart,
    f"is down for {_STALL:g} s, then empty": _down,
    "refuses writes for 1 s": _demote,
    "is flushed": _flush,
    "loses the key of one endpoint": _delete,
}


async def _observe(event: Event, base_url: str, fallback: float | None) -> tuple[str, ...]:
    with serving(port=free_port()) as server:
        url = f"redis://127.0.0.1:{server.port}"
        workers = [Worker(), Worker()]
        tasks = [asyncio.create_task(one.run(url, base_url, fallback)) for one in workers]
        await asyncio.gather(*(worker.started.wait() for worker in workers))
        await asyncio.sleep(_SETTLING)
        for worker in workers:
            worker.errors.clear()
        since = time.monotonic()
        await event(server)
        await asyncio.sleep(since + _OBSERVED - time.monotonic())
        gaps = [worker.gap(since) for worker in workers]
        failed = sum(sum(worker.errors.values()) for worker in workers)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return f"{max(gaps):.1f} s", str(failed)


def run(options: Options) -> list[Goal]:
    """Measure, and print the table."""
    events = dict(list(EVENTS.items())[: 1 if options.quick else None])
    rows = []
    with canned.serving() as base_url:
        for name, event in events.items():
            without = asyncio.run(_observe(event, base_url, None))
            fallback = asyncio.run(_observe(event, base_url, 0.5))
            rows.append((f"Redis {name}", *without, *fallback))
    head = ("", "gap", "failed", "gap, fallback=0.5", "failed")
    sys.stdout.write(f"{table(head, rows)}\n")
    return []
