"""
First-in, first-out queue for the tokens of one bucket, in all event loops of the process.

A lock protects the bucket and the queue. Each loop issues tokens to its own callers only: if the
first caller in the queue belongs to another loop, that loop is notified, and issues the token. A
loop that does not react within `LOOP_TIMEOUT`, because it is blocked or not running, is skipped
until it does; its callers keep their places.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
import itertools
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from copy import copy
from types import TracebackType
from typing import Final, Self, TypeAlias

import attrs

from htx_async.clock import Clock, running_loop
from htx_async.errors import HTXError
from htx_async.ratelimit.headers import RateLimitHeaders
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import Permit, RateLimit, TokenBucket

LOOP_TIMEOUT: Final = 1.0
"""Seconds that callers of other loops wait for a loop that does not react."""

_ANNOUNCED_AT_ONCE = 200
"""Callers that are informed, or fail, in one iteration of the loop."""
_OUTDATED = 64
"""Entries of a heap that may be outdated."""

OnWait: TypeAlias = Callable[[int, float], object]
"""
Called with the number of waiters ahead and the minimum wait in seconds. Returns `False` if the
caller leaves: then it is not counted as being ahead of others.
"""

_log = logging.getLogger("htx_async")
_arrivals = itertools.count()


@attrs.frozen
class RateLimitStatus:
    """
    State of one endpoint's rate limit at one moment.

    Attributes:
        limit: The limit: `requests` requests in `per` seconds.
        available: Number of tokens that can be acquired now.
        queued: Number of calls that wait for a token or a connection.
        wait: Minimum number of seconds that one more call would wait for a token.
        rate_limited: Number of 429 responses from HTX.
        remaining: Requests left in HTX's window, from its last response; `None` if not known.
        resets_at: End of that window, from the same response; `None` if not known.
        used_elsewhere: Number of requests of the same user by other programs, as far as HTX's
            responses show them.
    """

    limit: RateLimit
    available: int
    queued: int
    wait: float
    rate_limited: int
    remaining: int | None
    resets_at: dt.datetime | None
    used_elsewhere: int = 0


class Token:
    """
    A token and a connection slot for one attempt, while they are held in `async with`.

    Without a response, the token returns `per` seconds after the end of the attempt.

    Attributes:
        first_byte_at: When the response began to arrive, in monotonic seconds; set it.
        is_unused: Whether the token is free at once; set it to `False` when the attempt starts,
            and back if the request was not sent.
    """

    __slots__ = (
        "_attempt_timeout",
        "_on_wait",
        "_queue",
        "first_byte_at",
        "is_unused",
        "permit",
        "slots",
    )

    def __init__(
        self,
        queue: TokenQueue,
        slots: ConnectionSlots,
        attempt_timeout: float,
        on_wait: OnWait | None,
    ) -> None:
        self._queue = queue
        self._attempt_timeout = attempt_timeout
        self._on_wait = on_wait
        self.slots: ConnectionSlots = slots
        self.permit: Permit = _NO_PERMIT
        self.first_byte_at: float | None = None
        self.is_unused: bool = True

    async def __aenter__(self) -> Self:
        self.permit = await self._queue.wait_for_token(
            self.slots, self._attempt_timeout, self._on_wait
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._queue.release(self)


_NO_PERMIT: Final = Permit(0, 0)


class Waiter:
    """A caller in the queue."""

    __slots__ = ("arrival", "attempt_timeout", "future", "is_informed", "on_wait", "slots")

    def __init__(
        self, slots: ConnectionSlots, attempt_timeout: float, on_wait: OnWait | None
    ) -> None:
        self.arrival: int = next(_arrivals)
        self.slots: ConnectionSlots = slots
        self.future: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        self.attempt_timeout: float = attempt_timeout
        self.on_wait: OnWait | None = on_wait
        self.is_informed: bool = False


class _Group:
    """
    The callers of one client, in order of arrival.

    *is_ready*: whether it is in the heap of its loop; *is_blocked*: whether it waits for a slot.
    """

    __slots__ = ("is_blocked", "is_ready", "loop", "slots", "waiters")

    def __init__(self, slots: ConnectionSlots) -> None:
        self.slots: ConnectionSlots = slots
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.waiters: OrderedDict[Waiter, None] = OrderedDict()
        self.is_ready: bool = False
        self.is_blocked: bool = False

    @property
    def first(self) -> Waiter:
        return next(iter(self.waiters))

    @property
    def arrival(self) -> int:
        return self.first.arrival


class TokenQueue:
    """
    Queue that issues the tokens of one bucket in order of arrival.

    A caller gets its token and a connection slot of its client together. If its client has no free
    slot, the callers of other clients are served meanwhile, and it keeps its place.

    A loop has one timer while its callers wait for a token that is returning, and none otherwise.
    """

    def __init__(self, bucket: TokenBucket, clock: Clock, name: str = "") -> None:
        self.bucket: TokenBucket = bucket
        self.rate_limited: int = 0
        self.used_elsewhere: int = 0
        self.remaining: int | None = None
        self.resets_at: dt.datetime | None = None
        self._name = name
        self._clock = clock
        self._lock = threading.RLock()
        self._groups: dict[ConnectionSlots, _Group] = {}
        # Number of callers.
        self._queued = 0
        # For each loop with callers, a heap of the groups that may have a free slot, by arrival.
        # Entries of groups that have changed since are replaced when they are the first.
        self._ready: dict[asyncio.AbstractEventLoop, list[tuple[int, _Group]]] = {}
        self._timers: dict[asyncio.AbstractEventLoop, tuple[float, asyncio.TimerHandle]] = {}
        # When loops were notified that have not reacted since.
        self._notified: dict[asyncio.AbstractEventLoop, float] = {}

    def token(
        self,
        slots: ConnectionSlots,
        attempt_timeout: float = math.inf,
        on_wait: OnWait | None = None,
    ) -> Token:
        """
        Return a token to acquire by `async with`; the only way to hold one.

        A caller that is cancelled consumes none and delays nobody.

        Args:
            slots: Connection slots of the caller's client.
            attempt_timeout: Seconds after which the attempt is over, whatever happens.
            on_wait: Called when the caller starts to wait, and when the wait becomes longer; not
                called if a token is available.
        """
        return Token(self, slots, attempt_timeout, on_wait)

    async def wait_for_token(
        self, slots: ConnectionSlots, attempt_timeout: float, on_wait: OnWait | None
    ) -> Permit:
        """Return a permit, and occupy a slot."""
        now = self._clock.monotonic()
        with self._lock:
            if slots.free and not (self._groups or slots.starting):
                permit = self.bucket.try_acquire(now, now + attempt_timeout)
                if permit is not None:
                    slots.acquire()
                    return permit
            ahead = self._queued
            usable = min(self._usable(slots), ahead)
            wait = self.bucket.wait(now, usable)
            waiter = self._add(Waiter(slots, attempt_timeout, on_wait))
        try:
            if on_wait is not None and (usable or wait or not slots.free):
                waiter.is_informed = True
                if on_wait(ahead, wait) is False:
                    waiter.future.cancel()
                    self._remove(waiter)  # at once: others may arrive before its task ends
            self.dispatch()
            if waiter.future.done():  # yield, so that callers with an earlier token run first
                await asyncio.sleep(0)
            permit = await waiter.future
        except BaseException:
            self._remove(waiter)
            raise
        slots.starting -= 1
        return permit

    def release(self, token: Token) -> None:
        """Return a token and its slot."""
        with self._lock:
            if token.is_unused:
                self.bucket.release_unused(token.permit)
            else:
                at = token.first_byte_at
                self.bucket.release_at(token.permit, self._clock.monotonic() if at is None else at)
        token.slots.release()
        self.dispatch()

    def on_server_headers(
        self, permit: Permit, headers: RateLimitHeaders, server_time: float
    ) -> None:
        """Apply the headers of a response, which HTX sent at *server_time*, seconds since 1970."""
        with self._lock:
            self.remaining, self.resets_at = headers.remaining, headers.resets_at(server_time)
            if headers.remaining is None:
                return
            seconds = headers.window_remaining(server_time, self.bucket.limit.per)
            until = self._clock.monotonic() + seconds
            others = self.bucket.apply_server_remaining(permit, headers.remaining, until)
        self._count_elsewhere(others)

    def _count_elsewhere(self, others: int) -> None:
        """Count requests of other programs, and log the first."""
        if others and not self.used_elsewhere:
            _log.warning(
                "%s: HTX counts requests of the same user that this rate limiter does not know. "
                "Share one RateLimiter between its clients, or a RedisRateLimiter between its "
                "processes",
                self._name,
            )
        self.used_elsewhere += others

    def on_rate_limited(self, seconds: float) -> None:
        """Issue no token for *seconds*: HTX returned a 429."""
        now = self._clock.monotonic()
        with self._lock:
            self.rate_limited += 1
            self.bucket.block_until(now + seconds)
            waiters = self._in_order()
        self.dispatch()
        self._announce(iter(waiters))

    def fail(self, error: HTXError) -> None:
        """Let the first callers fail with a copy of *error*; many at once would block the loop."""
        with self._lock:
            callers = itertools.chain.from_iterable(
                ((group, waiter) for waiter in group.waiters) for group in self._groups.values()
            )
            for group, waiter in list(itertools.islice(callers, _ANNOUNCED_AT_ONCE)):
                self._discard(group, waiter)
                if not waiter.future.done():
                    waiter.future.set_exception(copy(error))

    def _in_order(self) -> list[tuple[int, Waiter]]:
        """Return the callers that wait, in order of arrival, with the number of those ahead."""
        waiters = [waiter for group in self._groups.values() for waiter in group.waiters]
        return list(enumerate(sorted(waiters, key=lambda waiter: waiter.arrival)))

    @property
    def queued(self) -> int:
        """Number of calls that wait."""
        return self._queued

    def _usable(self, slots: ConnectionSlots | None = None) -> int:
        """Return the number of callers that have a free slot, or wait for one of *slots*."""
        return sum(
            len(group.waiters)
            if group.slots is slots
            else min(len(group.waiters), group.slots.free)
            for group in self._groups.values()
        )

    def wait(self) -> float:
        """Return the minimum number of seconds that a new caller would wait for a token."""
        with self._lock:
            return self.bucket.wait(self._clock.monotonic(), self._usable())

    def status(self) -> RateLimitStatus:
        """Return the current state."""
        with self._lock:
            wait = self.wait()
            return RateLimitStatus(
                limit=self.bucket.limit,
                available=0 if wait else self.bucket.free,
                queued=self.queued,
                wait=wait,
                rate_limited=self.rate_limited,
                remaining=self.remaining,
                resets_at=self.resets_at,
                used_elsewhere=self.used_elsewhere,
            )

    def is_idle_full(self, now: float) -> bool:
        """Return whether nobody waits and every token is free."""
        with self._lock:
            return not self._groups and self.bucket.is_full(now)

    def slot_freed(self, slots: ConnectionSlots, arrival: int) -> None:
        """Serve the callers that wait for one of *slots*, if the first one is that of *arrival*."""
        with self._lock:
            group = self._groups.get(slots)
            if group is None or not group.is_blocked:
                return
            if group.arrival != arrival:  # that caller has left
                slots.call_when_free(self, group.arrival)
                return
            group.is_blocked = False
            self._mark_ready(group)
        self.dispatch()

    def dispatch(self) -> None:
        """Issue the available tokens to callers of this loop, and set its timer."""
        if not (self._groups or self._timers or self._notified):
            return
        loop = running_loop()
        if loop is None:  # it was closed, and a caller's coroutine is garbage collected
            return
        with self._lock:
            self._notified.pop(loop, None)
            if self._groups:
                self._set_timer(loop, self._issue(loop, self._clock.monotonic()))
            else:
                self._set_timer(loop, math.inf)

    def _issue(self, loop: asyncio.AbstractEventLoop, now: float) -> float:
        """Issue the available tokens, and return when to try again."""
        while (group := self._next_group(loop, now)) is not None and group.loop is loop:
            waiter = group.first
            if waiter.future.done():  # cancelled: its task runs soon, and calls `dispatch`
                break
            permit = self.bucket.try_acquire(now, now + waiter.attempt_timeout)
            if permit is None:
                break
            self._discard(group, waiter)
            group.slots.acquire()
            group.slots.starting += 1
            waiter.future.set_result(permit)
        if group is None:  # none has a free slot
            return math.inf
        due = self.bucket.next_available_at()
        if group.loop is not loop:
            due = self._notify(group.loop, now, due)
        return math.inf if self._first_ready(loop, is_here=True) is None else due

    def _next_group(self, loop: asyncio.AbstractEventLoop, now: float) -> _Group | None:
        """Return the group whose first caller is next: it has a slot, and its loop reacts."""
        if len(self._ready) == 1 and loop in self._ready:  # the usual case, several times a call
            return self._first_ready(loop, is_here=True)
        for closed in [other for other in self._ready if other.is_closed()]:
            self._forget(closed)
        candidates = (
            self._first_ready(other, is_here=other is loop)
            for other in self._ready
            if other is loop or now < self._notified.get(other, now) + LOOP_TIMEOUT
        )
        return min(filter(None, candidates), key=lambda group: group.arrival, default=None)

    def _forget(self, closed: asyncio.AbstractEventLoop) -> None:
        """Remove the callers of a closed loop."""
        for group in [group for group in self._groups.values() if group.loop is closed]:
            del self._groups[group.slots]
            self._queued -= len(group.waiters)
        del self._ready[closed]
        self._timers.pop(closed, None)
        self._notified.pop(closed, None)

    def _first_ready(self, loop: asyncio.AbstractEventLoop, *, is_here: bool) -> _Group | None:
        """Return the group of *loop* that has the first caller and, as far as known, a slot."""
        heap = self._ready.get(loop, [])
        while heap:
            arrival, group = heap[0]
            if group.waiters and arrival != group.arrival:
                heapq.heapreplace(heap, (group.arrival, group))
            elif group.waiters and (group.slots.free or not is_here):
                return group
            else:
                heapq.heappop(heap)
                group.is_ready = False
                if group.waiters:
                    group.is_blocked = True
                    group.slots.call_when_free(self, arrival)
        return None

    def _mark_ready(self, group: _Group) -> None:
        heap = self._ready.setdefault(group.loop, [])
        if not (group.is_ready or group.is_blocked):
            group.is_ready = True
            heapq.heappush(heap, (group.arrival, group))
        if len(heap) > 2 * len(self._groups) + _OUTDATED:
            heap[:] = [entry for entry in heap if entry[1].waiters]
            heapq.heapify(heap)

    def _notify(self, loop: asyncio.AbstractEventLoop, now: float, due: float) -> float:
        """Let another loop take its token at *due*, and return when to skip it."""
        timer_at = self._timers.get(loop, (math.inf, None))[0]
        if due > now:
            if due < timer_at:
                loop.call_soon_threadsafe(self.dispatch)
            return due
        if loop not in self._notified:
            self._notified[loop] = now
            loop.call_soon_threadsafe(self.dispatch)
        return self._notified[loop] + LOOP_TIMEOUT

    def _add(self, waiter: Waiter) -> Waiter:
        group = self._groups.get(waiter.slots)
        if group is None:
            group = self._groups[waiter.slots] = _Group(waiter.slots)
        group.waiters[waiter] = None
        self._queued += 1
        self._mark_ready(group)
        return waiter

    def _discard(self, group: _Group, waiter: Waiter) -> None:
        del group.waiters[waiter]
        self._queued -= 1
        if not group.waiters:
            del self._groups[group.slots]
        if not self._groups:
            self._ready.clear()

    def _remove(self, waiter: Waiter) -> None:
        """Remove a caller that leaves, and pass on what it may already have."""
        future, slots, has_slot = waiter.future, waiter.slots, False
        with self._lock:
            group = self._groups.get(slots)
            if group is not None and waiter in group.waiters:
                self._discard(group, waiter)
            elif future.done() and not future.cancelled() and future.exception() is None:
                has_slot = True
                self.bucket.release_unused(future.result())
        if has_slot:  # without the lock: other queues take theirs
            slots.starting -= 1
            slots.release()
        self.dispatch()

    def _announce(self, waiters: Iterator[tuple[int, Waiter]], left: int = 0) -> None:
        """Inform callers of this loop that they wait longer; *left* callers before them leave."""
        loop, now = asyncio.get_running_loop(), self._clock.monotonic()
        with self._lock:
            usable = self._usable()
        for ahead, waiter in itertools.islice(waiters, _ANNOUNCED_AT_ONCE):
            stays = not waiter.future.done()
            if stays and waiter.on_wait is not None and waiter.future.get_loop() is loop:
                waiter.is_informed = True
                with self._lock:
                    own = self._groups.get(waiter.slots)
                    most = usable + (len(own.waiters) if own else 0)
                    wait = self.bucket.wait(now, min(ahead - left, most))
                stays = waiter.on_wait(ahead - left, wait) is not False
            left += not stays
        if rest := next(waiters, None):
            loop.call_soon(self._announce, itertools.chain([rest], waiters), left)

    def _set_timer(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        set_for, timer = self._timers.get(loop, (math.inf, None))
        if due == set_for:
            return
        if timer is not None:
            timer.cancel()
            del self._timers[loop]
        if due < math.inf:
            delay = max(due - self._clock.monotonic(), 0.0)
            self._timers[loop] = (due, self._clock.call_later(delay, self._wake))

    def _wake(self) -> None:
        with self._lock:
            self._timers.pop(asyncio.get_running_loop(), None)
        self.dispatch()

    def __repr__(self) -> str:
        with self._lock:
            self.bucket.refill(self._clock.monotonic())
            return f"<{self.queued} waiting for {self.bucket!r}>"
