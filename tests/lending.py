"""The rule on a real server, but on virtual time: and the processes that use it."""

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
_LISTENS_EVERY = 0.25


@attrs.define
class Lender:
    """
    A `Server` that runs the rule at the time of a loop, after *trips*: seconds up and down.

    The call of the real server takes no virtual time; *away*: it is not made.
    """

    client: Any
    clock: Clock
    trips: Iterator[tuple[float, float]] = attrs.field(factory=lambda: cycle([(0.0, 0.0)]))
    id: str = "one"
    started: int = LONG_AGO
    away: Unavailable | None = None
    rings: bool = True
    asks: list[LeaseRequest] = attrs.field(factory=list)

    @property
    def micros(self) -> int:
        return EPOCH + round(self.clock.monotonic() * 1_000_000)

    def run(self, ask: LeaseRequest) -> LeaseReply:
        """Run the rule now."""
        arguments = ask.arguments(self.id, self.started, str(self.micros))
        return LeaseReply.parse(self.client.eval(SCRIPT, len(ask.keys), *ask.keys, *arguments))

    async def exchange(self, request: LeaseRequest) -> LeaseReply | Unavailable:
        self.asks.append(request)
        up, down = next(self.trips)
        await self.clock.sleep(up)
        reply = self.away or self.run(request)
        await self.clock.sleep(down)
        return reply

    async def wait_notification(self, key: str) -> bool:
        if not self.rings:
            return False
        while not self.client.lpop(key):
            await self.clock.sleep(_LISTENS_EVERY)
        return True


class Lent(RateLimiter):
    """A process: a budget whose queues ask a `Lender`."""

    def __init__(self, lender: Lender, user: str = "", share: float | None = None) -> None:
        super().__init__()
        self.lender, self.share = lender, share
        self.user = user or secrets.token_hex(8)

    def _new_queue(
        self, previous: TokenQueue | None, endpoint: LimitedEndpoint, clock: Clock
    ) -> TokenQueue:
        del previous
        key = BucketKey(user_key(self.user), endpoint.name, endpoint.limit)
        return LeaseQueue(key, self.lender, clock, self.share)


_names = itertools.count()


def processes(
    client: Any,
    count: int,
    trips: Iterable[tuple[float, float]] = ((0.0, 0.0),),
    share: float | None = None,
) -> list[Lent]:
    """Return some processes of one user, on the running virtual loop."""
    user = f"user {next(_names)} {secrets.token_hex(4)}"
    clock, network = VirtualClock(), cycle(trips)
    return [Lent(Lender(client, clock, network), user, share) for _ in range(count)]


def queue_of(budget: Lent, limit: RateLimit) -> LeaseQueue:
    """Return the queue of a process before an endpoint of the tests."""
    queue = budget.queue_for(Endpoint("/v1/test", limit, int), budget.lender.clock)
    assert isinstance(queue, LeaseQueue)
    return queue


async def settle_down(budgets: Iterable[Lent]) -> None:
    """End as clients do."""
    loop = asyncio.get_running_loop()
    for budget in budgets:
        for of_loops in budget._queues.values():
            queue = of_loops[loop]
            assert isinstance(queue, LeaseQueue)
            await queue.flush()
