"""A bucket and the queue before it: first come, first served, and leaving is free."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs
import msgspec

from htx_async.ratelimit.token_bucket import Bucket, Grant, RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from htx_async.clock import Clock


class Heard(msgspec.Struct, frozen=True):
    """
    What the headers of an answer said of the limit.

    Attributes:
        remain: Requests that are left in HTX's present window, `None` if not told.
        expire: When that window ends, as HTX wrote it: its unit is not documented.
    """

    remain: int | None
    expire: str | None


@attrs.frozen
class RateLimitStatus:
    """
    How things stand at one endpoint, at one moment.

    Attributes:
        limit: What HTX allows: `limit` requests in `per` seconds.
        free: Tokens that could be taken now.
        waiting: Reads that wait for a token.
        wait: Seconds that one more would wait, at least.
        refusals: How often HTX has refused a request here for asking too often.
        remain: Requests that are left in HTX's window, as it last said; `None`: it did not.
        expire: When that window ends, as HTX wrote it: its unit is not documented.
    """

    limit: RateLimit
    available: int
    queued: int
    wait: float
    rate_limited: int
    remaining: int | None
    resets_at: str | None


def ignore(ahead: int, wait: float) -> None:
    """Do not care how long it takes."""


def at_once() -> float:
    """Need no time for an attempt."""
    return -math.inf


class TokenQueue:
    """
    Grants the tokens of one bucket in the order in which they were asked for.

    One timer runs while somebody waits for a token that is on its way back, and none otherwise.
    """

    __slots__ = ("_clock", "_due", "_timer", "_waiting", "_waking", "bucket", "heard", "refusals")

    def __init__(self, bucket: Bucket, clock: Clock) -> None:
        self.bucket: Bucket = bucket
        self.refusals: int = 0
        self.heard: Heard | None = None
        self._clock = clock
        self._waiting: OrderedDict[asyncio.Future[Grant], None] = OrderedDict()
        # Who has a token, and has not run since: nobody goes before them.
        self._waking: int = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    async def acquire(
        self,
        told: Callable[[int, float], object] = ignore,
        until: Callable[[], float] = at_once,
        instead_of: Grant | None = None,
    ) -> Grant:
        """
        Wait for a token. Who is cancelled meanwhile takes none and delays nobody.

        *told* is called first if there is need to wait: with how many are ahead, and how many
        seconds that means at least. Where tokens are only lent, *until* tells when the attempt
        will be over, and *instead_of* is exchanged: nobody who came later goes first.
        """
        del until, instead_of
        now = self._clock.monotonic()
        if not (self._waiting or self._waking) and (grant := self.bucket.take(now)):
            return grant
        if self._waiting or self.bucket.next_at() > now:
            told(len(self._waiting), self.bucket.wait(now, len(self._waiting)))
        waiter: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        self._serve()
        try:
            if waiter.done():  # it has a token already: those who had theirs before go first
                await asyncio.sleep(0)
            grant = await waiter
        except asyncio.CancelledError:
            self._forget(waiter)
            raise
        self._waking -= 1
        return grant

    def is_good(self, grant: Grant, until: float) -> bool:
        """Tell whether *grant* may still be used, for an attempt that is over at *until*."""
        del grant, until
        return True

    def give_back(self, grant: Grant) -> None:
        """Return a token that no request has used."""
        del grant
        self.bucket.give_back()
        self._serve()

    def settle(self, grant: Grant, began: float) -> None:
        """Return a token whose answer *began* to arrive then (monotonic seconds)."""
        del grant
        self.bucket.settle(began)
        if self._waiting:
            self._serve()

    def hear(self, grant: Grant, heard: Heard, ends_in: float) -> None:
        """Believe what HTX says of a window that ends in *ends_in* seconds, at most `per`."""
        self.heard = heard
        if heard.remain is not None:
            self.bucket.hear(grant, heard.remain, self._clock.monotonic() + ends_in)
            self._serve()

    def refused(self, ends_in: float) -> None:
        """Let all wait: HTX has refused a request, and its window ends in *ends_in* seconds."""
        self.refusals += 1
        self.bucket.close(self._clock.monotonic() + ends_in)
        self._serve()

    def wait(self) -> float:
        """Return the least seconds that a new caller would wait."""
        return self.bucket.wait(self._clock.monotonic(), len(self._waiting))

    def status(self) -> RateLimitStatus:
        """Return how things stand."""
        wait = self.wait()
        return RateLimitStatus(
            limit=self.bucket.limit,
            available=0 if wait else self.bucket.free,
            queued=len(self._waiting),
            wait=wait,
            rate_limited=self.refusals,
            remaining=self.heard.remain if self.heard else None,
            resets_at=self.heard.expire if self.heard else None,
        )

    def _forget(self, waiter: asyncio.Future[Grant]) -> None:
        if waiter.cancelled():
            self._waiting.pop(waiter, None)
            self._serve()
        else:  # granted, and cancelled before it could run
            self._waking -= 1
            self.give_back(waiter.result())

    def _serve(self) -> None:
        """Grant what there is, then see that somebody wakes us for the next token."""
        while self._waiting and (grant := self.bucket.take(self._clock.monotonic())):
            waiter, _ = self._waiting.popitem(last=False)
            if waiter.done():  # cancelled, and not yet run since
                self.bucket.give_back()
            else:
                self._waking += 1
                waiter.set_result(grant)
        self._wake_at(self.bucket.next_at() if self._waiting else math.inf)

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
        self._serve()

    def __repr__(self) -> str:
        self.bucket.collect(self._clock.monotonic())
        return f"<{len(self._waiting)} waiting for {self.bucket!r}>"
