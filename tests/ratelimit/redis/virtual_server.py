"""Redis on virtual time: in Python for one user, or the script itself on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import cycle
from typing import Any, Final

import attrs
from msgspec.structs import replace

from htx_async.clock import Clock
from htx_async.ratelimit.limiter import LimitedEndpoint, RateLimiter
from htx_async.ratelimit.redis.bucket import RedisBucket
from htx_async.ratelimit.redis.exchange import (
    BucketKeys,
    Reply,
    Request,
    Unavailable,
    decode,
    encode,
    micros,
)
from htx_async.ratelimit.redis.queue import RedisQueue
from htx_async.ratelimit.redis.server import SCRIPT
from tests.virtual import VirtualClock

EPOCH: Final = 1_700_000_000
_TIMED_SCRIPT: Final = SCRIPT.replace("redis.call('TIME')", "{ARGV[2], ARGV[3]}")


@attrs.define
class FakeServer:
    """
    Leases tokens like the script, in order of requests; nothing is ever lost.

    Attributes:
        delay: Seconds for an exchange; the request is executed at its end.
        outage: What an exchange fails with.
        loses_replies: Whether the request is executed although it fails.
        changes: Fields of all replies.
    """

    delay: float = 0.0
    outage: Unavailable | None = None
    loses_replies: bool = False
    changes: dict[str, Any] = attrs.field(factory=dict)
    requests: list[Request] = attrs.field(factory=list)
    leased: set[tuple[str, int]] = attrs.field(factory=set)
    _returning: list[int] = attrs.field(factory=list)
    _blocked: int = 0
    _issued: int = 0

    async def exchange(self, keys: BucketKeys, request: Request) -> Reply | Unavailable:
        del keys
        self.requests.append(request)
        await asyncio.sleep(self.delay)
        if self.outage is not None and not self.loses_replies:
            return self.outage
        reply = self._execute(request, micros(asyncio.get_running_loop().time()))
        return self.outage or reply

    def _execute(self, request: Request, now: int) -> Reply:
        worker = request.worker
        self.leased -= {(worker, name) for name in request.unused}
        self.leased -= {(worker, name) for name, _ in request.used}
        self.leased |= {(worker, name) for name, _ in request.held}
        self._returning += [now - age + request.per for _, age in request.used]
        self._returning = sorted(at for at in self._returning if at > now)
        self._blocked = max(self._blocked, now + request.block)
        again = [name for name in request.want if (worker, name) in self.leased]
        free = max(request.limit - len(self._returning) - len(self.leased), 0)
        wanted = [name for name in request.want if name not in again]
        leased = wanted[:free] if now >= self._blocked else []
        self.leased |= {(worker, name) for name in leased}
        self._issued += len(leased)
        blocked = max(self._blocked - now, 0)
        poll = max(blocked or min(self._returning, default=now) - now, 4000)
        clock, free = EPOCH + now, free - len(leased)
        state = ("one", clock, True, leased, again, free, self._issued, poll, blocked, 0)
        reply = Reply(*state)
        return replace(reply, **self.changes)


@attrs.define
class ScriptServer:
    """Runs the script on a real server at the loop's time, after *trips*: seconds up and down."""

    client: Any
    trips: Iterator[tuple[float, float]] = attrs.field(factory=lambda: cycle([(0.0, 0.0)]))

    async def exchange(self, keys: BucketKeys, request: Request) -> Reply | Unavailable:
        up, down = next(self.trips)
        await asyncio.sleep(up)
        time = (EPOCH, micros(asyncio.get_running_loop().time()))
        reply = self.client.eval(_TIMED_SCRIPT, 2, keys.bucket, keys.record, encode(request), *time)
        await asyncio.sleep(down)
        return decode(reply)


class VirtualProcess(RateLimiter):
    """The rate limiter of a simulated process."""

    def __init__(self, server: ScriptServer, user: str, worker: str) -> None:
        super().__init__()
        self._server, self._user, self._worker = server, user, worker

    def queue_for(self, endpoint: LimitedEndpoint, clock: Clock | None = None) -> RedisQueue:
        queue = self._queues.get(endpoint.name)
        if not isinstance(queue, RedisQueue):
            keys = BucketKeys.of(self._user, endpoint.name, endpoint.limit)
            client = self._server.client
            info = client.info()
            client.set(keys.record, f"{info['run_id']} {info['evicted_keys']}")
            bucket = RedisBucket(endpoint.limit, self._worker)
            queue = RedisQueue(bucket, keys, self._server, clock or VirtualClock(), endpoint.name)
            self._queues[endpoint.name] = queue
        return queue
