"""The task and the waiters of one request that several callers may share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from htx_async.clock import running_loop
from htx_async.errors import RateLimitQueueError

if TYPE_CHECKING:
    from htx_async.clock import Clock
    from htx_async.options import RequestOptions
    from htx_async.request import Request, Response

    Outcome: TypeAlias = Response | Exception

ABANDONED_TIMEOUT = 2.0
"""Seconds that an attempt may take to finish once its last caller has left: then its connection
can be used again. Otherwise the connection is reset."""

TIMED_OUT = TimeoutError()
"""Outcome of a waiter whose deadline has passed. Never raised: the caller creates its own error."""


class Handover:
    """A large response that a caller decodes for the task of a shared call."""

    __slots__ = ("_decode", "_result")

    def __init__(self, decode: Callable[[], Response]) -> None:
        self._decode: Callable[[], Response] | None = decode
        self._result: asyncio.Future[Response | None]
        self._result = asyncio.get_running_loop().create_future()

    def run(self, *, is_shared: bool) -> Response:
        """Decode the response and return it. The task keeps its data only if others wait for it."""
        assert self._decode is not None
        response, self._decode = self._decode(), None
        if not self._result.done():
            self._result.set_result(response if is_shared else replace(response, value=None))
        return response

    def give_back(self) -> None:
        """Let the task decode the response: the caller has gone."""
        if not self._result.done():
            self._result.set_result(None)

    async def result(self) -> Response:
        """Return the decoded response."""
        response = await self._result
        if response is None:
            assert self._decode is not None
            return self._decode()
        return response


class Waiter:
    """One caller of a shared call, with its options and timers."""

    __slots__ = ("called_at", "deadline", "loop", "options", "outcome", "timers")

    def __init__(self, options: RequestOptions, called_at: float, deadline: float) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Outcome | Handover] = self.loop.create_future()
        self.options: RequestOptions = options
        self.called_at: float = called_at
        self.deadline: float = deadline
        self.timers: list[asyncio.TimerHandle] = []

    def set_outcome(self, outcome: Outcome | Handover) -> None:
        """Wake the caller, unless it has an outcome already."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def stop_timers(self) -> None:
        """Cancel the timers: the caller has its outcome, or has gone."""
        for timer in self.timers:
            timer.cancel()


class SharedCall:
    """
    A request in a task of its own, and the callers that wait for it.

    The task is cancelled when its last caller leaves; an attempt that is in flight first has
    `ABANDONED_TIMEOUT` to finish, but not beyond the deadline.
    """

    def __init__(self, request: Request, clock: Clock) -> None:
        self.request: Request = request
        self.task: asyncio.Task[None] | None = None
        self._call = request.call
        self._clock = clock
        self._waiters: set[Waiter] = set()
        self._cancel_timer: asyncio.TimerHandle | None = None
        self._is_resolved = False
        self._outcome: Outcome | None = None
        self._call.on_queued = self._on_queued

    @property
    def is_open(self) -> bool:
        """Whether another call may join: no attempt was started, and callers are waiting."""
        return not (self._call.was_sent or self._call.has_no_waiters)

    def add_waiter(
        self, options: RequestOptions, now: float, started_at: float | None = None
    ) -> Waiter:
        """
        Add a caller; it gets an error at once if the known queue is too long for it.

        Args:
            options: Options of the call.
            now: The time, in monotonic seconds.
            started_at: When its timeout began; `None`: now.
        """
        deadline = (now if started_at is None else started_at) + options.timeout
        call, waiter = self._call, Waiter(options, now, deadline)
        try:
            self._start_timers(waiter, now)
        except BaseException:
            waiter.stop_timers()
            raise
        call.deadline = max(call.deadline, waiter.deadline) if self._waiters else waiter.deadline
        self._waiters.add(waiter)
        if call.earliest_send_at > now:
            self._reject_if_too_slow(waiter, -1, call.earliest_send_at - now)
        return waiter

    async def decode_in_caller(self, decode: Callable[[], Response]) -> Response:
        """
        Let a caller decode a large response, and return it.

        The caller uses the data at once, and drops it soon. If other responses were decoded in
        between, it would have left the CPU's cache, and its memory could not be used again.
        """
        waiter = next((waiter for waiter in self._waiters if not waiter.outcome.done()), None)
        if waiter is None:
            return decode()
        handover = Handover(decode)
        del decode
        waiter.set_outcome(handover)
        return await handover.result()

    def run_handover(self, handover: Handover) -> Response:
        """Decode the response of *handover* in this task, which is that of a caller."""
        return handover.run(is_shared=len(self._waiters) > 1)

    def wait_again(self, waiter: Waiter) -> asyncio.Future[Outcome | Handover]:
        """Return the next outcome of a caller that ran a function: its result was an error."""
        waiter.outcome = waiter.loop.create_future()
        if self._is_resolved:
            self._pass_outcome(waiter)
        elif self._clock.monotonic() >= waiter.deadline:
            waiter.set_outcome(TIMED_OUT)
        return waiter.outcome

    def remove_waiter(self, waiter: Waiter) -> None:
        """Remove a caller; after the last one, cancel the task, at once or soon."""
        waiter.stop_timers()
        self._waiters.discard(waiter)
        if waiter.outcome.done() and not waiter.outcome.cancelled():
            outcome = waiter.outcome.result()
            if isinstance(outcome, Handover):
                outcome.give_back()
        # No loop is running if it was closed and the caller's coroutine is garbage collected.
        if not (self._waiters or self._is_resolved or running_loop() is None):
            self._abandon()
            if self._call.in_flight:
                self._cancel_soon()

    def cancel_unless_in_flight(self) -> None:
        """Cancel the task, unless an attempt is using a connection."""
        if not self._call.in_flight:
            self._cancel()

    def resolve(self, outcome: Outcome | None) -> None:
        """Give all callers the outcome; `None`: the task was cancelled, and so are they."""
        self._is_resolved, self._outcome = True, outcome
        self._call.on_queued = self._call.decode_in_caller = None  # breaks the reference cycle
        if self._cancel_timer is not None:
            self._cancel_timer.cancel()
        for waiter in self._waiters:
            self._pass_outcome(waiter)

    def begin_closing(self) -> None:
        """Allow no further attempt; fail the callers at once if nothing is in flight."""
        self._call.closing = True
        if not self._call.in_flight:
            self.resolve(self._call.closed_error())
            self.cancel_unless_in_flight()

    def abort(self) -> None:
        """Fail the callers, and cancel the task."""
        self.resolve(self._call.closed_error())
        self._cancel()

    def _pass_outcome(self, waiter: Waiter) -> None:
        if self._outcome is not None:
            waiter.set_outcome(self._outcome)
        else:
            waiter.outcome.cancel()

    def _start_timers(self, waiter: Waiter, now: float) -> None:
        call_later, options = self._clock.call_later, waiter.options
        timed_out = partial(waiter.set_outcome, TIMED_OUT)
        waiter.timers.append(call_later(max(waiter.deadline - now, 0.0), timed_out))
        if options.queue_timeout:
            queue_timed_out = partial(self._on_queue_timeout, waiter)
            waiter.timers.append(call_later(options.queue_timeout, queue_timed_out))

    def _on_queued(self, ahead: int, wait: float) -> None:
        for waiter in tuple(self._waiters):
            self._reject_if_too_slow(waiter, ahead, wait)
        self._abandon_if_all_rejected()

    def _on_queue_timeout(self, waiter: Waiter) -> None:
        if not self._call.was_sent:
            limit = waiter.options.queue_timeout or 0.0
            earliest, reason = self._call.earliest_send_at, f"queue_timeout is {limit:g} s"
            error = _queue_error(earliest - self._clock.monotonic(), "queue_timeout", reason)
            error.retry_after = max(earliest - waiter.called_at, limit)
            waiter.set_outcome(error)
            self._abandon_if_all_rejected()

    def _reject_if_too_slow(self, waiter: Waiter, ahead: int, wait: float) -> None:
        options, call = waiter.options, self._call
        limit, most = options.queue_timeout, options.max_queue
        option = reason = ""
        if limit is not None and (wait > limit or not limit):
            option, reason = "queue_timeout", f"queue_timeout is {limit:g} s"
        elif call.earliest_send_at >= waiter.deadline:
            option, reason = "timeout", f"timeout is {options.timeout:g} s"
        elif most is not None and ahead >= most and not call.was_sent:
            option, reason = "max_queue", f"{ahead} calls are queued, and max_queue is {most}"
        if reason and call.was_sent:  # a retry is queued: the caller gets the error it would retry
            waiter.set_outcome(call.final_error())
        elif reason:
            waiter.set_outcome(_queue_error(wait, option, reason))

    def _abandon_if_all_rejected(self) -> None:
        """End the call at once, before the rejected callers run: it could be sent meanwhile."""
        if self._waiters and all(waiter.outcome.done() for waiter in self._waiters):
            self._abandon()

    def _abandon(self) -> None:
        self._call.has_no_waiters = True
        self.cancel_unless_in_flight()

    def _cancel_soon(self) -> None:
        """Give the attempt that is in flight a little time, then cancel the task."""
        left = min(self._call.time_left(self._clock.monotonic()), ABANDONED_TIMEOUT)
        if left > 0:
            self._cancel_timer = self._clock.call_later(left, self._cancel)
        else:
            self._cancel()

    def _cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()


def _queue_error(wait: float, option: str, reason: str) -> RateLimitQueueError:
    wait = max(wait, 0.0)
    if wait:
        text = f"the next rate-limit token is available in {wait:.3g} s, but {reason}. "
        fix = f"Retry after that, increase {option}"
    else:
        text = f"no rate-limit token or connection is available, and {reason}. "
        fix = f"Increase {option}"
    return RateLimitQueueError(f"{text}{fix}, or make fewer calls.", retry_after=wait)
