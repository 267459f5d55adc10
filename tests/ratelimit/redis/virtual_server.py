"""Simulated processes that share a limit: the script runs on a real server, at virtual times."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Any

import attrs

from htx_async.clock import Clock
from htx_async.ratelimit.limiter import LimitedEndpoint, RateLimiter
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.redis.lease_queue import LeaseQueue
from htx_async.ratelimit.redis.protocol import (
    SCRIPT,
    BucketKey,
    LeaseReply,
    LeaseRequest,
    Unavailable,
    user_key,
)
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint
from tests.virtual import VirtualClock

EPOCH = 1_700_000_000_000_000
"""The server's clock, in microseconds, when a virtual loop starts."""
LONG_AGO = 1
_LISTEN_INTERVAL = 0.25


@attrs.define
class VirtualServer:
    """
    A `LeaseServer` that runs the script at the loop's time, after *trips*: seconds up and down.

    The command on the real server takes no virtual time. While *outage* is set, it is not sent.
    """

    client: Any
    clock: Clock
    trips: Iterator[tuple[float, float]] = attrs.field(factory=lambda: cycle([(0.0, 0.0)]))
    id: str = "one"
    started: int = LONG_AGO
    outage: Unavailable | None = None
    notifies: bool = True
    requests: list[LeaseRequest] = attrs.field(factory=list)

    @property
    def micros(self) -> int:
        return EPOCH + round(self.clock.monotonic() * 1_000_000)

    def run(self, request: LeaseRequest) -> LeaseReply:
        """Run the script now."""
        arguments = request.arguments(self.id, self.started, str(self.micros))
        keys = request.keys
        return LeaseReply.parse(self.client.eval(SCRIPT, len(keys), *keys, *arguments))

    async def exchange(self, request: LeaseRequest) -> LeaseReply | Unavailable:
        self.requests.append(request)
        up, down = next(self.trips)
        await self.clock.sleep(up)
        reply = self.outage or self.run(request)
        await self.clock.sleep(down)
        return reply

    async def wait_notification(self, key: str) -> bool:
        if not self.notifies:
            return False
        while not self.client.lpop(key):
            await self.clock.sleep(_LISTEN_INTERVAL)
        return True


class VirtualProcess(RateLimiter):
    """A simulated process: a rate limiter whose queues use a `VirtualServer`."""

    def __init__(
        self, server: VirtualServer, user: str = "", fraction: float | None = None
    ) -> None:
        super().__init__()
        self.server, self.fraction = server, fraction
        self.user = user or secrets.token_hex(8)

    def _new_queue(
        self, previous: TokenQueue | None, endpoint: LimitedEndpoint, clock: Clock
    ) -> TokenQueue:
        del previous
        key = BucketKey(user_key(self.user), endpoint.name, endpoint.limit)
        return LeaseQueue(key, self.server, clock, self.fraction)


_numbers = itertools.count()


def start_processes(
    client: Any,
    count: int,
    trips: Iterable[tuple[float, float]] = ((0.0, 0.0),),
    fraction: float | None = None,
) -> list[VirtualProcess]:
    """Return *count* processes of one user, on the running virtual loop."""
    user = f"user {next(_numbers)} {secrets.token_hex(4)}"
    clock, network = VirtualClock(), cycle(trips)
    servers = [VirtualServer(client, clock, network) for _ in range(count)]
    return [VirtualProcess(server, user, fraction) for server in servers]


def queue_of(process: VirtualProcess, limit: RateLimit) -> LeaseQueue:
    """Return the queue of a process for the test endpoint."""
    queue = process.queue_for(Endpoint("/v1/test", limit, int), process.server.clock)
    assert isinstance(queue, LeaseQueue)
    return queue


async def flush_all(processes: Iterable[VirtualProcess]) -> None:
    """Flush all queues, as clients do when they close."""
    loop = asyncio.get_running_loop()
    for process in processes:
        for by_loop in process._queues.values():
            queue = by_loop[loop]
            assert isinstance(queue, LeaseQueue)
            await queue.flush()
