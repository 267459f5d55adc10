"""First-in, first-out queue for the tokens of one bucket."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

import attrs

from htx_async.clock import Clock
from htx_async.ratelimit.headers import RateLimitHeaders
from htx_async.ratelimit.token_bucket import Permit, RateLimit, TokenBucket

OnWait: TypeAlias = Callable[[int, float], object]
"""Called with the number of waiters ahead and the minimum wait in seconds."""


@attrs.frozen
class RateLimitStatus:
    """
    State of one endpoint's rate limit at one moment.

    Attributes:
        limit: The limit: `requests` requests in `per` seconds.
        available: Number of tokens that can be acquired now.
        queued: Number of calls that wait for a token.
        wait: Minimum number of seconds that one more call would wait.
        rate_limited: Number of 429 responses from HTX.
        remaining: Requests left in HTX's window, from its last response; `None` if not known.
        resets_at: End of that window, as HTX wrote it; HTX does not document the unit.
    """

    limit: RateLimit
    available: int
    queued: int
    wait: float
    rate_limited: int
    remaining: int | None
    resets_at: str | None


class TokenQueue:
    """
    Queue that issues the tokens of one bucket in order of arrival.

    One timer runs while a caller waits for a token that is returning, and none otherwise.
    """

    __slots__ = (
        "_clock",
        "_due",
        "_granted_not_run",
        "_timer",
        "_waiting",
        "bucket",
        "last_headers",
        "rate_limited",
    )

    def __init__(self, bucket: TokenBucket, clock: Clock) -> None:
        self.bucket: TokenBucket = bucket
        self.rate_limited: int = 0
        self.last_headers: RateLimitHeaders | None = None
        self._clock = clock
        self._waiting: OrderedDict[asyncio.Future[Permit], None] = OrderedDict()
        # Waiters that have a token and have not run since: no new caller may overtake them.
        self._granted_not_run: int = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    async def acquire(self, on_wait: OnWait | None = None) -> Permit:
        """
        Wait for a token. A caller that is cancelled consumes none and delays nobody.

        *on_wait* is called before the caller starts to wait, and not if a token is available.
        """
        now = self._clock.monotonic()
        if not (self._waiting or self._granted_not_run) and (
            permit := self.bucket.try_acquire(now)
        ):
            return permit
        ahead = len(self._waiting)
        if on_wait is not None and (ahead or self.bucket.next_available_at() > now):
            on_wait(ahead, self.bucket.wait(now, ahead))
        waiter: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        self._dispatch()
        try:
            if waiter.done():  # yield, so that waiters with an earlier token run first
                await asyncio.sleep(0)
            permit = await waiter
        except asyncio.CancelledError:
            self._drop(waiter)
            raise
        self._granted_not_run -= 1
        return permit

    async def acquire_with_slot(
        self, slots: TokenQueue, on_wait: OnWait, deadline: Callable[[], float]
    ) -> tuple[Permit, Permit]:
        """
        Wait for a token, then for a connection slot. A caller that is cancelled holds neither.

        Args:
            slots: Queue of the connection slots.
            on_wait: Called before each of the two waits.
            deadline: Returns when the attempt will be over at the latest, in monotonic seconds.
                Only leased tokens expire before that.
        """
        del deadline
        permit = await self.acquire(on_wait)
        try:
            return permit, await slots.acquire(on_wait)
        except BaseException:
            self.release_unused(permit)
            raise

    def release_unused(self, permit: Permit) -> None:
        """Return a token that no request used."""
        del permit
        self.bucket.release_unused()
        self._dispatch()

    def release_at(self, permit: Permit, first_byte_at: float) -> None:
        """Return a token whose response began to arrive at *first_byte_at*, monotonic seconds."""
        del permit
        self.bucket.release_at(first_byte_at)
        if self._waiting:
            self._dispatch()

    def on_server_headers(self, permit: Permit, headers: RateLimitHeaders, seconds: float) -> None:
        """Apply the headers of a response. HTX's window ends in *seconds*, at most `per`."""
        self.last_headers = headers
        if headers.remaining is not None:
            until = self._clock.monotonic() + seconds
            self.bucket.apply_server_remaining(permit, headers.remaining, until)
            self._dispatch()

    def on_rate_limited(self, seconds: float) -> None:
        """Issue no token for *seconds*: HTX returned a 429."""
        self.rate_limited += 1
        self.bucket.block_until(self._clock.monotonic() + seconds)
        self._dispatch()

    def wait(self) -> float:
        """Return the minimum number of seconds that a new caller would wait."""
        return self.bucket.wait(self._clock.monotonic(), len(self._waiting))

    def status(self) -> RateLimitStatus:
        """Return the current state."""
        wait, headers = self.wait(), self.last_headers
        return RateLimitStatus(
            limit=self.bucket.limit,
            available=0 if wait else self.bucket.free,
            queued=len(self._waiting),
            wait=wait,
            rate_limited=self.rate_limited,
            remaining=headers.remaining if headers else None,
            resets_at=headers.expire if headers else None,
        )

    def _drop(self, waiter: asyncio.Future[Permit]) -> None:
        """Remove a cancelled waiter and pass on the token that it may already have."""
        if waiter.cancelled():
            self._waiting.pop(waiter, None)
            self._dispatch()
        else:
            self._granted_not_run -= 1
            self.release_unused(waiter.result())

    def _dispatch(self) -> None:
        """Issue the available tokens, then set the timer for the next one."""
        while self._waiting and (permit := self.bucket.try_acquire(self._clock.monotonic())):
            waiter, _ = self._waiting.popitem(last=False)
            if waiter.done():  # cancelled, but its task has not run since
                self.bucket.release_unused()
            else:
                self._granted_not_run += 1
                waiter.set_result(permit)
        self._wake_at(self.bucket.next_available_at() if self._waiting else math.inf)

    def _wake_at(self, due: float) -> None:
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, due
        if due < math.inf:
            delay = max(due - self._clock.monotonic(), 0.0)
            self._timer = self._clock.call_later(delay, self._wake)

    def _wake(self) -> None:
        self._timer, self._due = None, math.inf
        self._dispatch()

    def __repr__(self) -> str:
        self.bucket.refill(self._clock.monotonic())
        return f"<{len(self._waiting)} waiting for {self.bucket!r}>"
