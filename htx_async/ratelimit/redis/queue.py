"""First-in, first-out queue for the tokens that Redis leases to one event loop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from typing import Final, Protocol

from htx_async.clock import Clock, running_loop
from htx_async.errors import RateLimitQueueError
from htx_async.ratelimit.queue import TokenQueue, Waiter
from htx_async.ratelimit.redis.bucket import RedisBucket
from htx_async.ratelimit.redis.exchange import (
    MARGIN,
    MICRO,
    BucketKeys,
    Reply,
    Request,
    Unavailable,
)

CLOSE_TIMEOUT: Final = 0.9
"""Seconds for the last reports, when a client closes."""

_log = logging.getLogger("htx_async")


class Server(Protocol):
    """Redis, or a simulation. Its method raises nothing but cancellation."""

    async def exchange(self, keys: BucketKeys, request: Request) -> Reply | Unavailable:
        """Run the script; return within a few seconds."""
        ...


class RedisQueue(TokenQueue):
    """
    Queue that issues the tokens of Redis in order of arrival.

    One exchange at a time requests the tokens of all callers that have a connection slot, and
    carries all reports. No task or timer is left once nobody waits and everything is reported.
    """

    def __init__(
        self, bucket: RedisBucket, keys: BucketKeys, server: Server, clock: Clock, name: str = ""
    ) -> None:
        super().__init__(bucket, clock, name)
        self.leases: RedisBucket = bucket
        self._keys, self._server = keys, server
        self._outage = Unavailable("")
        self._is_slow = False
        self._newcomers: list[Waiter] = []
        self._exchange_task: asyncio.Task[None] | None = None
        self._exchange_timer: asyncio.TimerHandle | None = None

    def dispatch(self) -> None:
        """Issue the available tokens, and start an exchange if one is due."""
        super().dispatch()
        if running_loop() is not None:
            self._fail_in_outage()
            self._plan_exchange()

    def _fail_in_outage(self) -> None:
        """Let callers fail while Redis is known to be unavailable, and there is no fallback."""
        bucket = self.leases
        if bucket.is_available or bucket.fallback is not None or not self.queued:
            return
        if self._exchange_task is None and self._clock.monotonic() >= bucket.poll_at:
            return  # nobody has tried for long
        bucket.is_missed = True
        self.fail(
            RateLimitQueueError(
                f"no token: {self._outage.reason}",
                retryable=self._outage.retryable,
                retry_after=max(bucket.poll_at - self._clock.monotonic(), 0.0),
            )
        )
        if self.queued:
            asyncio.get_running_loop().call_soon(self.dispatch)

    def _plan_exchange(self) -> None:
        if self._exchange_timer is not None:
            self._exchange_timer.cancel()
            self._exchange_timer = None
        if self._exchange_task is not None:
            return
        delay = self.leases.exchange_at(self._usable()) - self._clock.monotonic()
        if delay <= 0:
            self._start_exchange()
        elif delay < math.inf:
            self._exchange_timer = self._clock.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._exchange_timer = None
        if self._exchange_task is None:
            self._start_exchange()

    def _start_exchange(self) -> asyncio.Task[None]:
        self._exchange_task = asyncio.get_running_loop().create_task(
            self._exchange(), name="htx_async rate limiter"
        )
        return self._exchange_task

    async def _exchange(self) -> None:
        bucket, sent_at = self.leases, self._clock.monotonic()
        try:
            request = bucket.next_request(sent_at, self._usable())
            outcome = await self._server.exchange(self._keys, request)
        finally:
            self._exchange_task = None
        now = self._clock.monotonic()
        is_slow = bool(request.want) and now > sent_at + MARGIN  # too late to use its tokens
        if is_slow and self._is_slow and not isinstance(outcome, Unavailable):
            outcome = Unavailable(f"Redis takes more than {MARGIN:g} s to respond")
        self._is_slow = is_slow
        if isinstance(outcome, Unavailable):
            self._outage = outcome
            bucket.on_failure(now)
        else:
            if outcome.generation != request.generation and outcome.blocked:
                _log.info(
                    "%s: Redis may have lost leases, because it is new, was restarted or flushed: "
                    "no token for %.1f s",
                    self._name,
                    outcome.blocked / MICRO,
                )
            bucket.on_reply(request, outcome, sent_at, now)
            self._count_elsewhere(outcome.elsewhere)
        self.dispatch()
        self._inform_newcomers()

    def _add(self, waiter: Waiter) -> Waiter:
        self._newcomers.append(waiter)
        return super()._add(waiter)

    def _inform_newcomers(self) -> None:
        """Inform the callers that arrived when it was not known whether they have to wait."""
        waiters = [one for one in self._newcomers if not (one.is_informed or one.future.done())]
        self._newcomers.clear()
        self._announce(zip(itertools.count(self.queued - len(waiters)), waiters))

    @property
    def is_idle(self) -> bool:
        """Whether no caller waits, no token is in use, and nothing is under way."""
        return not (self.queued or self.leases.in_use or self._exchange_task)

    async def flush(self) -> None:
        """Send all reports to Redis, or stop waiting for it soon."""
        deadline = self._clock.monotonic() + CLOSE_TIMEOUT
        for _ in range(2):  # the exchange under way, and one with the rest
            task = self._exchange_task
            if task is None:
                if not (self.leases.has_reports and self.leases.is_available):
                    break
                task = self._start_exchange()
            await asyncio.wait([task], timeout=max(deadline - self._clock.monotonic(), 0.0))
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        if self._exchange_timer is not None and not self.queued:
            self._exchange_timer.cancel()
            self._exchange_timer = None
