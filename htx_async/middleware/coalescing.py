"""
Coalesces identical queued calls into one request.

Each request runs in a task of its own, and callers only wait for it. So a caller can leave at any
time, because it is cancelled or its deadline passes, without interrupting a request that others
wait for.

A call may share a request that was not sent yet, never one in flight: what a call returns was
requested after the call was made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Hashable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from htx_async.clock import running_loop
from htx_async.errors import (
    ClientClosedError,
    EventLoopError,
    HTXError,
    NoResponseError,
    copy_error,
)
from htx_async.middleware.shared_call import TIMED_OUT, Handover, SharedCall, Waiter

if TYPE_CHECKING:
    from htx_async.clock import Clock
    from htx_async.events import EventEmitter
    from htx_async.request import Handler, Request, Response

CLOSE_TIMEOUT = 5.0
"""Seconds that closing waits for requests in flight."""
CANCEL_TIMEOUT = 1.0
"""Seconds that closing then waits for cancelled tasks."""
TIMER_SLACK = 0.001
"""Seconds by which two timers for the same deadline may differ."""

_NO_LOOP = (
    "there is no asyncio event loop here: use asyncio.run(). "
    "trio is not supported; with anyio use the backend asyncio"
)
_CLOSED = "this client is closed: create a new one"
_OTHER_LOOP = "this client belongs to another event loop: create one client for each event loop"


class RequestCoalescing:
    """Middleware in which the callers wait, each with its own deadline."""

    def __init__(
        self, call_next: Handler, clock: Clock, events: EventEmitter, base_url: str = ""
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._call_next = call_next
        self._clock = clock
        self._events = events
        self._base_url = base_url
        self._calls: set[SharedCall] = set()
        self._queued: dict[Hashable, SharedCall] = {}
        self._is_closed = False
        self._has_sent = False

    @property
    def is_unclosed(self) -> bool:
        """Whether a request was sent, and the client was not closed."""
        has_sent = self._has_sent or any(shared.request.call.was_sent for shared in self._calls)
        return has_sent and not self._is_closed

    async def __call__(self, request: Request) -> Response:
        """Send *request*, or share an identical queued one, and wait until the deadline."""
        name, call_id = request.endpoint.name, request.id
        self.check_usable(name)
        if not self._events.is_enabled:
            return await self._wait(request, *self._join_or_start(request, call_id))
        # Before the task is created: its context is that of the listener.
        self._events.emit("started", name, 0, call_id=call_id, base_url=self._base_url)
        shared, waiter = self._join_or_start(request, call_id)
        try:
            response = await self._wait(request, shared, waiter)
        except BaseException as error:
            status = error.http_status if isinstance(error, HTXError) else None
            self._emit_finished(shared, waiter, call_id, status, type(error).__name__)
            raise
        self._emit_finished(shared, waiter, call_id, response.status)
        return response

    def check_usable(self, endpoint: str | None = None) -> None:
        """Raise if the client is closed, or belongs to another event loop."""
        loop = running_loop()
        if loop is None:
            raise EventLoopError(_NO_LOOP, endpoint=endpoint)
        if self._is_closed:
            raise ClientClosedError(_CLOSED, endpoint=endpoint)
        if self.loop is None:
            self.loop = loop
        elif self.loop is not loop:
            raise EventLoopError(_OTHER_LOOP, endpoint=endpoint)

    def stop_accepting(self) -> None:
        """Reject new calls from now on; raise in another event loop than that of open calls."""
        self._is_closed = True
        if self.loop not in (None, running_loop()):
            raise EventLoopError(_OTHER_LOOP)

    async def drain(self) -> None:
        """End queued calls, and wait `CLOSE_TIMEOUT` for requests in flight before an abort."""
        calls = [shared for shared in self._calls if shared.task is not None]
        tasks = [shared.task for shared in calls if shared.task is not None]
        for shared in calls:
            shared.begin_closing()
        try:
            await self._wait_for(tasks, CLOSE_TIMEOUT)
        finally:
            for shared in calls:
                shared.abort()
            await self._wait_for(tasks, CANCEL_TIMEOUT)

    async def _wait(self, request: Request, shared: SharedCall, waiter: Waiter) -> Response:
        try:
            outcome = await waiter.outcome
            while isinstance(outcome, Handover):
                response = shared.run_handover(outcome)
                if response.error is None:
                    stats = shared.request.call.stats(response.first_byte_at)
                    return replace(response, stats=stats)
                outcome = await shared.wait_again(waiter)
        finally:
            shared.remove_waiter(waiter)
        name = request.endpoint.name
        aborted = isinstance(outcome, NoResponseError) and self._past_deadline(waiter)
        if outcome is TIMED_OUT or aborted:
            # Made now: the delivery may have changed since the deadline passed.
            deadline = waiter.deadline - TIMER_SLACK
            call = shared.request.call
            outcome = call.deadline_error(name, waiter.options.timeout, deadline)
        if isinstance(outcome, HTXError):
            raise _copy_error(outcome, name)
        if isinstance(outcome, Exception):  # not ours: a fault in this package
            raise outcome
        return outcome

    def _past_deadline(self, waiter: Waiter) -> bool:
        return self._clock.monotonic() >= waiter.deadline - TIMER_SLACK

    def _join_or_start(self, request: Request, call_id: int) -> tuple[SharedCall, Waiter]:
        """Join an identical queued call, or start a task for *request*."""
        now, options = self._clock.monotonic(), request.options
        key = request.key if options.coalesce and options.queue_timeout != 0 else None
        shared = self._queued.get(key)
        if shared is not None and shared.is_open:
            request_id = shared.request.id
            self._events.emit("coalesced", request.endpoint.name, request_id, call_id=call_id)
            return shared, shared.add_waiter(options, now, request.started_at)
        shared = SharedCall(request, self._clock)
        if not self._events.is_enabled:  # else the events of the attempt would come too late
            request.call.decode_in_caller = shared.decode_in_caller
        waiter = shared.add_waiter(options, now, request.started_at)
        self._calls.add(shared)
        if key is not None:
            self._queued[key] = shared
        run = self._run(shared, key)
        try:
            # The task is created last: an eager event loop runs it immediately.
            shared.task = waiter.loop.create_task(run, name=f"htx_async {request.path}")
        except BaseException:
            run.close()
            self._finish(shared, key, None)
            raise
        # A task that is cancelled before its first step never runs.
        shared.task.add_done_callback(lambda _: self._finish(shared, key, None))
        return shared, waiter

    async def _run(self, shared: SharedCall, key: Hashable) -> None:
        outcome: Response | Exception
        try:
            outcome = await self._call_next(shared.request)
        except HTXError as error:
            outcome = error.with_traceback(None)
        except Exception as error:  # noqa: BLE001 - every waiter gets it, whatever it is
            outcome = error
        except BaseException:
            self._finish(shared, key, None)
            raise
        # Not in the done callback, so that the callers continue one iteration of the loop earlier.
        self._finish(shared, key, outcome)

    def _finish(
        self, shared: SharedCall, key: Hashable, outcome: Response | Exception | None
    ) -> None:
        self._calls.discard(shared)
        self._has_sent = self._has_sent or shared.request.call.was_sent
        if self._queued.get(key) is shared:
            del self._queued[key]
        shared.resolve(outcome)

    def _emit_finished(
        self,
        shared: SharedCall,
        waiter: Waiter,
        call_id: int,
        status: int | None,
        error: str | None = None,
    ) -> None:
        stats = shared.request.call.stats(self._clock.monotonic())
        self._events.emit(
            "finished",
            shared.request.endpoint.name,
            shared.request.id,
            call_id=call_id,
            wait=stats.queue_time(waiter.called_at),
            attempts=stats.attempts,
            http_status=status,
            error=error,
        )

    async def _wait_for(self, tasks: Collection[asyncio.Task[Any]], seconds: float) -> None:
        """Wait until all *tasks* have ended, for at most *seconds*."""
        if not all(task.done() for task in tasks):
            try:
                async with self._clock.timeout(seconds):
                    await asyncio.wait(tasks)
            except TimeoutError:
                pass


def _copy_error(error: HTXError, endpoint: str) -> HTXError:
    """Return a copy of *error* for one caller."""
    copied = copy_error(error)
    copied.endpoint = error.endpoint or endpoint
    return copied
