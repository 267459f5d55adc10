"""
Faults of a real server and of the network to it, in real time: the limit holds, calls go on.

Each worker makes as many calls at a time as the limit allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack
from typing import Any, Self

import httpx
import pytest

from htx_async import NO_RETRY, Credentials, HTXClient, RedisRateLimiter
from htx_async.clock import Clock
from htx_async.errors import RateLimitQueueError
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.redis.bucket import RedisBucket
from htx_async.ratelimit.redis.exchange import BucketKeys
from htx_async.ratelimit.redis.server import Address
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.sandbox import Sandbox
from tests.redis_process import RedisProcess, free_port, serving
from tests.tcp_proxy import Proxy
from tests.world import endpoint, most_in_a_window

pytestmark = pytest.mark.slow
KEYS = Credentials("access-key", "secret-key")
LIMIT = RateLimit(10, per=0.5)
TARGET = endpoint(LIMIT.requests, LIMIT.per)
LEASE = 11.0 + LIMIT.per


def assert_no_exchange_is_left() -> None:
    assert "htx_async rate limiter" not in {task.get_name() for task in asyncio.all_tasks()}


class Load:
    """Calls of two workers on one Redis, and when their requests were sent."""

    def __init__(self, url: str) -> None:
        self.sent = list[float]()
        self.errors = list[str]()
        self._limiters = [RedisRateLimiter(url, user="me", command_timeout=1.0) for _ in range(2)]
        self._queues = [limiter.queue_for(TARGET, Clock()) for limiter in self._limiters]
        self._tasks = list[asyncio.Task[None]]()

    async def __aenter__(self) -> Self:
        for queue in self._queues:
            self._tasks += [asyncio.create_task(self._call(queue)) for _ in range(LIMIT.requests)]
        await self.served_within(5.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for limiter in self._limiters:
            await limiter.aclose()
        assert most_in_a_window(self.sent, LIMIT.per) <= LIMIT.requests

    async def _call(self, queue: TokenQueue) -> None:
        slots = ConnectionSlots(1)
        while True:
            try:
                async with queue.token(slots, 1.0) as token:
                    token.is_unused = False
                    self.sent.append(time.monotonic())
                    await asyncio.sleep(0.005)
                    token.first_byte_at = time.monotonic()
            except RateLimitQueueError as error:
                self.errors.append(str(error))
                await asyncio.sleep(0.05)

    async def served_within(self, seconds: float) -> float:
        """Wait for requests of two windows; return the seconds until the first."""
        since, number = time.monotonic(), len(self.sent)
        async with asyncio.timeout(seconds + 2 * LIMIT.per + 1.0):
            while len(self.sent) < number + 2 * LIMIT.requests:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        gap = self.sent[number] - since
        assert gap <= seconds
        return gap


@contextlib.asynccontextmanager
async def proxied(*options: str, delay: float = 0.0) -> AsyncIterator[tuple[Proxy, RedisProcess]]:
    """Run a server that is trusted, and a proxy in front of it."""
    with serving(*options, port=free_port()) as server:
        server.settle(LIMIT.per)
        async with Proxy(server.path, delay).serving() as proxy:
            yield proxy, server


@pytest.mark.parametrize("fault", ["stall", "reset", "lost replies"])
async def test_calls_go_on_after_a_hiccup(fault: str) -> None:
    """Within two seconds, without a token too many or too few."""
    async with proxied() as (proxy, _), Load(proxy.url) as load:
        if fault == "stall":
            await proxy.stall(3.0)
        elif fault == "lost replies":
            proxy.loses_replies = True
            await asyncio.sleep(1.5)
            proxy.loses_replies = False
        proxy.cut()
        await load.served_within(2.0)
        before = len(load.sent)
        await asyncio.sleep(4 * LIMIT.per)
        assert len(load.sent) - before >= 3 * LIMIT.requests
    assert_no_exchange_is_left()
    assert {"no token: Redis at"} >= {error[:18] for error in load.errors}


async def lose_keys(_: Proxy, server: RedisProcess, __: ExitStack) -> None:
    with server.client() as client:
        client.flushall()


async def delete_bucket(_: Proxy, server: RedisProcess, __: ExitStack) -> None:
    with server.client() as client:
        assert client.delete(BucketKeys.of("me", TARGET.name, LIMIT).bucket)


async def restart(_: Proxy, server: RedisProcess, __: ExitStack) -> None:
    await asyncio.to_thread(server.restart)


async def fail_over(proxy: Proxy, server: RedisProcess, stack: ExitStack) -> None:
    """Let a replica take over, which is read-only for a second."""
    replica = stack.enter_context(serving("--replicaof", "127.0.0.1", str(server.port)))
    client = stack.enter_context(replica.client())
    while not client.keys("htx_async:*"):  # noqa: ASYNC110 - nothing signals it
        await asyncio.sleep(0.05)
    server.kill()
    proxy.path = replica.path
    proxy.cut()
    await asyncio.sleep(1.5)
    client.replicaof("NO", "ONE")


async def test_no_window_exceeds_the_limit_after_a_loss_of_state() -> None:
    """Calls go on when the earlier leases are over."""

    async def check(
        fault: Callable[[Proxy, RedisProcess, ExitStack], Coroutine[Any, Any, None]],
    ) -> None:
        async with proxied("--repl-diskless-sync-delay", "0") as (proxy, server):
            with ExitStack() as stack:
                async with Load(proxy.url) as load:
                    await fault(proxy, server, stack)
                    await asyncio.sleep(0.5)
                    assert await load.served_within(LEASE + 2.0) >= LEASE - 2.5
                    await load.served_within(1.0)
        is_read_only = any("read-only replica" in error for error in load.errors)
        assert is_read_only is (fault is fail_over)

    await asyncio.gather(*map(check, (lose_keys, delete_bucket, restart, fail_over)))
    assert_no_exchange_is_left()


async def test_distant_server_is_usable() -> None:
    """400 ms are less than `command_timeout`, which does not include connecting."""
    async with proxied(delay=0.2) as (proxy, _), Load(proxy.url) as load:
        await asyncio.sleep(3.0)
        assert not load.errors
        assert len(load.sent) >= 3.0 / (LIMIT.per + 0.6) * LIMIT.requests


@pytest.mark.parametrize("fault", ["stalled", "stopped"])
async def test_server_that_hangs_delays_nobody_for_long(fault: str) -> None:
    """`queue_timeout=0` waits for `command_timeout` once, and closing takes a second at most."""
    async with proxied() as (proxy, server):
        server.settle(1.0)
        limiter = RedisRateLimiter(proxy.url, user="me", command_timeout=1.0)
        htx = HTXClient(
            KEYS,
            transport=httpx.ASGITransport(app=Sandbox()),
            rate_limiter=limiter,
            retry=NO_RETRY,
            queue_timeout=0.0,
        )
        await htx.points.balance()
        assert server.process is not None
        if fault == "stalled":
            proxy.is_flowing.clear()
        else:
            server.process.send_signal(signal.SIGSTOP)
        took = list[float]()
        for _ in range(5):
            since = time.monotonic()
            with pytest.raises(RateLimitQueueError):
                await htx.points.balance()
            took.append(time.monotonic() - since)
            await asyncio.sleep(0.3)
        assert took[0] < 1.3
        assert max(took[1:]) < 0.05
        since = time.monotonic()
        await htx.aclose()
        await limiter.aclose()
        assert time.monotonic() - since < 1.0
        assert_no_exchange_is_left()
        server.process.send_signal(signal.SIGCONT)


async def test_close_with_tokens_to_report_ends_in_time_if_the_server_hangs() -> None:
    """The last exchange is under way."""
    async with proxied() as (proxy, _):
        limiter = RedisRateLimiter(proxy.url, user="me", command_timeout=5.0)
        queue = limiter.queue_for(TARGET, Clock())
        async with queue.token(ConnectionSlots(1), 1.0):
            proxy.is_flowing.clear()
        since = time.monotonic()
        await limiter.aclose()
        assert time.monotonic() - since < 1.0
        assert_no_exchange_is_left()


async def test_exchange_can_be_cancelled_at_any_point(redis_process: RedisProcess) -> None:
    """In every iteration of the loop, also while it connects; the server is usable afterwards."""
    address = Address.of(redis_process.url, 2.0)
    assert isinstance(address, Address)
    server, bucket = address.server(""), RedisBucket(LIMIT, "cancelled")
    keys = BucketKeys.of("cancelled", TARGET.name, LIMIT)
    for turns in range(60):
        exchange = asyncio.create_task(server.exchange(keys, bucket.next_request(0.0, 1)))
        for _ in range(turns):
            await asyncio.sleep(0)
        exchange.cancel()
        await asyncio.wait([exchange], timeout=0.5)
        assert exchange.done(), turns
        if turns % 3 == 0:
            await server.aclose()
    assert redis_process.connected() <= 11
    await server.aclose()
    assert redis_process.connected() <= 1
    assert asyncio.all_tasks() == {asyncio.current_task()}
