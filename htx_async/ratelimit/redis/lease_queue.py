"""First-in, first-out queue for the tokens that a server leases."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial

from htx_async.clock import Clock, running_loop
from htx_async.ratelimit.headers import RateLimitHeaders
from htx_async.ratelimit.queue import OnWait, TokenQueue
from htx_async.ratelimit.redis.fallback import LocalFallback
from htx_async.ratelimit.redis.lease_book import LeaseBook
from htx_async.ratelimit.redis.protocol import (
    BucketKey,
    Lease,
    LeaseReply,
    LeaseRequest,
    LeaseServer,
    LeaseUpdate,
    Unavailable,
)
from htx_async.ratelimit.redis.waiters import WaiterList
from htx_async.ratelimit.token_bucket import Permit, TokenBucket

FLUSH_DELAY = 0.02
"""Seconds for which an update waits for an exchange that carries it."""
POLL_GAP = 0.004
"""Minimum seconds between two polls while all tokens are leased: several may return by then."""
RECONNECT_DELAY = 1.0
"""Seconds between two attempts to reach an unavailable server."""
NOTIFY_THRESHOLD = 0.05
"""Minimum wait in seconds for which the queue listens for notifications."""


def no_deadline() -> float:
    """Return a deadline in the past: the shortest lease is enough."""
    return -math.inf


class LeaseQueue(TokenQueue):
    """
    Queue that issues the tokens of a server in order of arrival.

    One exchange requests a token for every waiter and carries all pending updates. While callers
    wait, the queue polls when the server's reply says so, or when the server notifies it. No task
    or timer runs while nobody waits and no update is pending.
    """

    last_headers: RateLimitHeaders | None
    rate_limited: int

    def __init__(
        self, key: BucketKey, server: LeaseServer, clock: Clock, fraction: float | None
    ) -> None:
        super().__init__(TokenBucket(key.limit), clock)
        self._loop = running_loop()
        self._server = server
        self._book = LeaseBook(key)
        self._fallback = LocalFallback(key.limit, fraction)
        self._waiters = WaiterList(self._waiting)
        # When to request tokens for the waiters, and when to send updates even without waiters.
        self._poll_at, self._flush_at = -math.inf, math.inf
        self._reconnect_at = -math.inf
        # Whether the server has an entry for the waiters of this queue.
        self._has_demand_entry = False
        self._exchange_task: asyncio.Task[None] | None = None
        self._notification_task: asyncio.Task[None] | None = None

    # Callers

    async def acquire(
        self,
        on_wait: OnWait | None = None,
        deadline: Callable[[], float] = no_deadline,
        replaces: Lease | None = None,
    ) -> Lease:
        """
        Wait for a token.

        Args:
            on_wait: Called once the caller is known to have to wait.
            deadline: Returns when the attempt will be over at the latest, in monotonic seconds.
            replaces: An expired permit to renew; the caller keeps its position in the queue.
        """
        sequence = None
        if replaces is not None:
            sequence = self._book.in_use.get(replaces.token)
            self._return_unused(replaces)
        waiter = self._waiters.add(on_wait, deadline, sequence)
        self._dispatch()
        self._notify_waiters()
        try:
            lease = await waiter
        except asyncio.CancelledError:
            self._drop(waiter)
            raise
        finally:
            self._waiters.remove(waiter)
        assert isinstance(lease, Lease)
        return lease

    async def acquire_with_slot(
        self, slots: TokenQueue, on_wait: OnWait, deadline: Callable[[], float]
    ) -> tuple[Permit, Permit]:
        """Wait for a token, then for a connection slot; renew a token that expires meanwhile."""
        lease = await self.acquire(on_wait, deadline)
        while True:
            try:
                slot = await slots.acquire(on_wait)
            except BaseException:
                self.release_unused(lease)
                raise
            if lease.is_valid(self._clock.monotonic(), deadline()):
                return lease, slot
            slots.release_unused(slot)
            lease = await self.acquire(on_wait, deadline, replaces=lease)

    def _drop(self, waiter: asyncio.Future[Permit]) -> None:
        if waiter.cancelled():
            self._waiting.pop(waiter, None)
            if self._has_demand_entry and not self._waiting:
                self._exchange_by(self._clock.monotonic() + FLUSH_DELAY)
        elif waiter.exception() is None:  # granted, and cancelled before it could run
            self.release_unused(waiter.result())
        self._dispatch()

    def _grant(self, lease: Lease) -> None:
        """Grant a token to the first waiter, or return it if there is none."""
        sequence = self._waiters.grant_next(lease)
        if sequence is None:
            self._return_unused(lease)
        else:
            self._book.in_use[lease.token] = sequence

    def _notify_waiters(self) -> None:
        """Report position and wait to new waiters, once it is known that they have to wait."""
        now = self._clock.monotonic()
        if self._poll_at > now or self._fallback.is_active:
            self._waiters.notify_positions(partial(self._wait_behind, now))

    def _wait_behind(self, now: float, ahead: int) -> float:
        if self._fallback.is_active:
            return self._fallback.wait(now, ahead)
        limit = self.bucket.limit
        available_at = max(self._poll_at, self.bucket.blocked_until)
        return max(available_at - now, 0.0) + ahead // limit.requests * limit.per

    def wait(self) -> float:
        """Return the minimum seconds that a new caller would wait, from the last reply."""
        return self._wait_behind(self._clock.monotonic(), len(self._waiting))

    # Tokens

    def release_unused(self, permit: Permit) -> None:
        """Return a token that no request used, to the first waiter or to the server."""
        assert isinstance(permit, Lease)
        self._book.in_use.pop(permit.token, None)
        if self._fits_next_waiter(permit):
            self._grant(permit)
        else:
            self._return_unused(permit)
        self._dispatch()

    def _fits_next_waiter(self, lease: Lease) -> bool:
        now = self._clock.monotonic()
        if not self._waiting or self._fallback.is_active or now < self.bucket.blocked_until:
            return False
        return lease.is_valid(now, self._waiters.deadline(1))

    def _return_unused(self, lease: Lease) -> None:
        self._book.in_use.pop(lease.token, None)
        if not self._fallback.release_unused(lease):
            self._add_update(LeaseUpdate("unused", lease.token))

    def release_at(self, permit: Permit, first_byte_at: float) -> None:
        """Return a token whose response began to arrive at *first_byte_at*, monotonic seconds."""
        assert isinstance(permit, Lease)
        self._book.in_use.pop(permit.token, None)
        if not self._fallback.release_at(permit, first_byte_at):
            self._add_update(LeaseUpdate("used", permit.token, first_byte_at), within=FLUSH_DELAY)
        self._dispatch()

    def on_server_headers(self, permit: Permit, headers: RateLimitHeaders, seconds: float) -> None:
        """Apply the headers of a response. HTX's window ends in *seconds*, at most `per`."""
        self.last_headers = headers
        until = self._clock.monotonic() + seconds
        if headers.remaining is None:
            return
        self._fallback.apply_server_remaining(permit, headers.remaining, until)
        # As in `TokenBucket.apply_server_remaining`; the server may have issued more permits.
        counted = permit.free_after + permit.sequence - headers.remaining
        if counted > self._book.sequence and not self._fallback.is_active:
            self._add_update(LeaseUpdate("external", str(counted), until), within=FLUSH_DELAY)
            self._dispatch()

    def on_rate_limited(self, seconds: float) -> None:
        """Issue no token for *seconds*, in any process: HTX returned a 429."""
        self.rate_limited += 1
        until = self._clock.monotonic() + seconds
        self.bucket.block_until(until)
        self._fallback.block_until(until)
        self._add_update(LeaseUpdate("blocked", at=until))
        self._dispatch()

    def _add_update(self, update: LeaseUpdate, within: float = 0.0) -> None:
        self._book.updates.append(update)
        self._exchange_by(self._clock.monotonic() + within)

    def _exchange_by(self, at: float) -> None:
        self._flush_at = min(self._flush_at, at)

    # Exchanges

    def _dispatch(self) -> None:
        """Grant tokens of the fallback if it is active, then schedule the next exchange."""
        if self._loop is not running_loop():
            return  # the loop is closed and its tasks are being collected: leases end by themselves
        now = self._clock.monotonic()
        while self._waiting and (lease := self._acquire_fallback(now)):
            self._grant(lease)
            self._exchange_by(self._reconnect_at)
        if self._exchange_task is None and self._next_exchange_at() <= now:
            self._start_exchange()
        is_exchanging = self._exchange_task is not None
        self._wake_at(self._fallback_at() if is_exchanging else self._next_exchange_at())
        self._listen(now)

    def _acquire_fallback(self, now: float) -> Lease | None:
        return self._fallback.try_acquire(now, self._book.queue_id, self._waiters.deadline(1))

    def _next_exchange_at(self) -> float:
        at = self._flush_at
        if self._waiting:
            at = min(at, self._poll_at)
        return min(max(at, self._reconnect_at), self._fallback_at())

    def _fallback_at(self) -> float:
        return self._fallback.next_available_at() if self._waiting else math.inf

    def _start_exchange(self) -> None:
        self._flush_at = math.inf
        self._exchange_task = asyncio.get_running_loop().create_task(
            self._exchange(), name=f"htx_async rate limiter {self._book.endpoint}"
        )

    async def _exchange(self) -> None:
        # Counted here, so that callers of the same loop iteration are included.
        wanted = 0 if self._fallback.is_active else len(self._waiting)
        deadline = self._waiters.deadline(self.bucket.limit.requests)
        request = self._book.request(self._clock.monotonic(), wanted, deadline)
        reply: LeaseReply | Unavailable = Unavailable("the program ended")
        try:
            reply = await self._server.exchange(request)
        finally:
            self._exchange_task = None
            now = self._clock.monotonic()
            if isinstance(reply, Unavailable):
                self._on_unavailable(request, reply, now)
            else:
                self._on_reply(request, reply, now)
            self._dispatch()
            self._notify_waiters()

    def _on_reply(self, request: LeaseRequest, reply: LeaseReply, now: float) -> None:
        self._reconnect_at = -math.inf
        self._has_demand_entry = reply.poll_in is not None
        self.bucket.free = reply.free
        self.bucket.blocked_until = now + reply.blocked_for if reply.blocked_for else -math.inf
        self._poll_at = -math.inf if reply.poll_in is None else now + max(reply.poll_in, POLL_GAP)
        if self._fallback.is_active:
            for update in self._fallback.deactivate(now):
                self._add_update(update)
        for lease in self._book.on_reply(request, reply):
            self._grant(lease)

    def _on_unavailable(self, request: LeaseRequest, outage: Unavailable, now: float) -> None:
        """Activate the fallback, or fail all waiters if there is none."""
        self._book.on_failure(request, now)
        self._poll_at, self._has_demand_entry = -math.inf, False
        if self._book.updates:
            self._exchange_by(now + RECONNECT_DELAY)
        if self._fallback.available:
            self._reconnect_at = now + RECONNECT_DELAY
            if not self._fallback.is_active:
                self._fallback.activate(now)
            return
        self._waiters.fail(outage)

    # Notifications and shutdown

    def _listen(self, now: float) -> None:
        """Listen for a notification if a caller has to wait for long."""
        is_long = self._waiting and self._poll_at > now + NOTIFY_THRESHOLD
        if is_long and self._notification_task is None and not self._fallback.is_active:
            self._notification_task = asyncio.get_running_loop().create_task(
                self._wait_notification(), name="htx_async rate limiter notification"
            )

    async def _wait_notification(self) -> None:
        is_notified = False
        try:
            is_notified = await self._server.wait_notification(self._book.notification_key)
        finally:
            self._notification_task = None
        if is_notified:
            self._poll_at = -math.inf
            self._dispatch()

    @property
    def is_idle(self) -> bool:
        """Whether no caller waits and no token is in use."""
        return not (self._waiting or self._book.in_use)

    async def flush(self) -> None:
        """Wait until the server has all updates, or has failed to receive them."""
        if self._exchange_task is not None:
            await asyncio.wait([self._exchange_task])
        if self._exchange_task is None and self._flush_at < math.inf:
            self._start_exchange()
        if self._exchange_task is not None:
            await asyncio.wait([self._exchange_task])
        if self.is_idle:
            self._reset()
        if not self._waiting and self._notification_task is not None:
            self._notification_task.cancel()
            await asyncio.wait([self._notification_task])

    def _reset(self) -> None:
        """Drop the pending updates: without them the server waits until the leases end."""
        self._book.updates.clear()
        self._flush_at = math.inf
        self._wake_at(math.inf)
