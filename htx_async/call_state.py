"""A read that somebody waits for: who, until when, and how far it has come."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from htx_async.auth.credentials import Credentials
from htx_async.errors import Delivery, HTXError, RateLimitQueueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from htx_async.options import RequestOptions
    from htx_async.request import Response

    Outcome: TypeAlias = Response | Exception

_numbers = itertools.count(1)


def queue_time(waits: Iterable[tuple[float, float]], since: float) -> float:
    """Return for how many seconds of *waits* (from, until) somebody waited who came at *since*."""
    return sum(max(until - max(begun, since), 0.0) for begun, until in waits)


class SigningContext(msgspec.Struct, frozen=True):
    """With what an attempt was signed: the keys, the correction of the clock, and when."""

    credentials: Credentials
    correction: float
    at: float


class Waiter:
    """One caller that waits for a flight, since when, and under which conditions."""

    __slots__ = ("done", "loop", "options", "since")

    def __init__(self, options: RequestOptions, since: float) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.done: asyncio.Future[Outcome] = self.loop.create_future()
        self.options: RequestOptions = options
        self.since: float = since

    def settle(self, outcome: Outcome) -> None:
        """Give the caller its answer, if it still waits."""
        if not self.done.done():
            self.done.set_result(outcome)


class Flight:
    """
    The one thing about a request that changes: every layer may look at it.

    Sharing lets callers in and out, limiting says how long it will wait, when an attempt leaves
    and when it is back.

    Attributes:
        number: Tells calls of one process apart, and flights: that of the call which began it.
        until: The moment (monotonic seconds) at which the last of those who wait gives up.
        expected: The earliest moment at which it may leave, once that is known.
        out: Whether an attempt is with the network: then it must not be cancelled.
        left: Whether any attempt has left. What comes back now was asked for before.
        delivery: What became of the last attempt, as far as it is known now.
        stop: Ends the attempt that is out, in the way that its connection needs.
        timer: Will end the attempt that nobody waits for any more, when its time is over.
        signed_with: With what the last attempt was signed.
        abandoned: Whether all who waited have gone: no further attempt is worth its token.
        is_last: Whether the attempt under way is to be the last one: the client closes.
        failures: How the attempts until now have failed.
        asked: When the attempt that waits began to wait, in monotonic seconds; `None`: none does.
        waits: When it waited for tokens and connections before: from, until.
        attempts: How many requests have left, questions about the clock not counted.
    """

    __slots__ = (
        "_waiters",
        "abandoned",
        "asked",
        "attempts",
        "delivery",
        "expected",
        "failures",
        "is_last",
        "left",
        "number",
        "out",
        "signed_with",
        "stop",
        "task",
        "timer",
        "until",
        "waits",
    )

    def __init__(self) -> None:
        self._waiters: set[Waiter] = set()
        self.task: asyncio.Task[None] | None = None
        self.number: int = next(_numbers)
        self.until: float = math.inf
        self.expected: float = -math.inf
        self.left: bool = False
        self.delivery: Delivery = "not_sent"
        self.stop: Callable[[], object] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.signed_with: SigningContext | None = None
        self.out: bool = False
        self.abandoned: bool = False
        self.is_last: bool = False
        self.failures: list[HTXError] = []
        self.asked: float | None = None
        self.waits: list[tuple[float, float]] = []
        self.attempts: int = 0

    def join(self, options: RequestOptions, now: float) -> Waiter:
        """Let a caller wait from *now* on; one with too little patience is told at once."""
        waiter = Waiter(options, now)
        until = now + options.timeout
        self.until = max(self.until, until) if self._waiters else until
        self._waiters.add(waiter)
        if self.expected > now:
            self._judge(waiter, -1, self.expected - now)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Let a caller go. With the last one goes the flight, unless it is out."""
        self._waiters.discard(waiter)
        if not self._waiters:
            self._abandon()

    def queued(self, ahead: int, wait: float, now: float) -> None:
        """Note that it must wait *wait* seconds, behind *ahead* others, and who will not."""
        self.expected = now + wait
        for waiter in self._waiters:
            self._judge(waiter, ahead, wait)
        self._abandon_if_done()

    @property
    def is_open(self) -> bool:
        """Whether others may join: nothing has left, and somebody still waits."""
        return not (self.left or self.abandoned)

    def _abandon_if_done(self) -> None:
        """End the flight at once, not only when those who were told have gone: it could leave."""
        if self._waiters and all(waiter.done.done() for waiter in self._waiters):
            self._abandon()

    def _abandon(self) -> None:
        self.abandoned = True
        self.cancel_unless_out()

    def _judge(self, waiter: Waiter, ahead: int, wait: float) -> None:
        """Tell a caller at once that it would wait for too long."""
        options = waiter.options
        most = options.queue_timeout
        too_long = most is not None and (wait > most or not most)
        if self.left:  # this is about a repeat: the caller learns what it would repeat
            late = self.expected >= waiter.since + options.timeout
            if too_long or late:
                waiter.settle(self.failures[-1])
        elif too_long:
            waiter.settle(_over_budget(wait, f"queue_timeout is {most:g} s"))
        elif options.max_queue is not None and ahead >= options.max_queue:
            why = f"{ahead} wait already, and max_queue is {options.max_queue}"
            waiter.settle(_over_budget(wait, why))

    def lose_patience(self, waiter: Waiter) -> None:
        """Tell a caller that its `queue_timeout` is over, if nothing has left yet."""
        if not self.left:
            most = waiter.options.queue_timeout or 0.0
            wait = max(self.expected - waiter.since, most)
            waiter.settle(_over_budget(wait, f"queue_timeout is {most:g} s"))
            self._abandon_if_done()

    def cancel_unless_out(self) -> None:
        """End the flight where that costs nothing: not while an attempt is with the network."""
        if self.task is not None and not self.out:
            self.task.cancel()

    def granted(self, now: float) -> float:
        """Note that the waiting is over; return the seconds that it took."""
        begun = now if self.asked is None else self.asked
        self.waits.append((begun, now))
        self.asked = None
        return now - begun

    def waited(self, since: float, now: float) -> float:
        """Return for how many seconds a caller who came at *since* has waited until *now*."""
        still = [] if self.asked is None else [(self.asked, now)]
        return queue_time((*self.waits, *still), since)

    def departs(self, *, is_internal: bool) -> None:
        """Note that an attempt leaves now, or, *is_internal*, a question about the clock."""
        self.left = self.out = True
        if not is_internal:
            self.attempts += 1
            self.delivery = "unknown"

    def failed(self, error: HTXError) -> None:
        """Note how an attempt has failed."""
        self.failures.append(error)
        self.delivery = error.delivery

    def end(self) -> None:
        """End the attempt that is out: its time is over, or the client's."""
        if self.stop is not None:
            self.stop()

    def is_over(self, now: float) -> bool:
        """Tell whether nobody waits any more, or will when the answer comes."""
        return self.abandoned or now >= self.until

    def returned(self) -> None:
        """Note that the attempt is over. If nobody waits any more, so is the flight."""
        self.out = False
        if self.abandoned:
            self.cancel_unless_out()

    def land(self, outcome: Outcome | None) -> None:
        """Give all who wait the outcome; `None`: the flight was cancelled, and so are they."""
        if self.timer is not None:
            self.timer.cancel()
        for waiter in self._waiters:
            if outcome is not None:
                waiter.settle(outcome)
            else:
                waiter.done.cancel()


def _over_budget(wait: float, why: str) -> RateLimitQueueError:
    wait = max(wait, 0.0)
    return RateLimitQueueError(
        f"no token now, it would take at least {wait:.3g} s: {why}", retry_after=wait
    )
