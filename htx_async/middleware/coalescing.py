"""
Each read flies in a task of its own, and its callers only wait for it.

So a caller can leave at any moment, by cancellation or because its time is over, without
reaching into the connection pool: what is with the network is read to its end. httpx's pool
loses connections for good where that is not so.

And callers who ask for the same while a read still waits for its token share it. Nobody joins a
read that has left: what a caller gets was asked for after it asked.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Collection, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from htx_async.call_state import Flight, Waiter
from htx_async.errors import (
    ClientClosedError,
    DeadlineExceededError,
    EventLoopError,
    HTXError,
    NoResponseError,
    with_attempt_notes,
)
from htx_async.events import Event, Kind, Listener
from htx_async.middleware.alarms import Alarms

if TYPE_CHECKING:
    from htx_async.clock import Clock
    from htx_async.events import EventDetails
    from htx_async.request import Handler, Request, Response

GRACE = 5.0
"""Seconds that closing waits for what has left."""
LAST_MOMENT = 1.0
"""Seconds that it then takes to cut it off, and once more for what will not be cut off."""
MOMENT = 0.001
"""Seconds by which two timers of one deadline may go off apart."""

_LATE = TimeoutError()
"""What a caller is told whose time is over; its error is made when it wakes."""

_CLOSED = "this client is closed: make a new one"
_OTHER_LOOP = "this client belongs to another event loop: make one client for each loop"


class Sharing:
    """The layer in which callers wait."""

    def __init__(
        self, send: Handler, clock: Clock, listener: Listener | None = None, base_url: str = ""
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._send = send
        self._clock = clock
        self._listener = listener
        self._base_url = base_url
        self._flights: set[Flight] = set()
        self._open: dict[Hashable, Flight] = {}
        self._alarms = Alarms(clock)
        self._closed = False

    async def __call__(self, request: Request) -> Response:
        """Let *request* fly, or join one that is equal, and wait as long as the caller wants."""
        self._check_loop(request.endpoint.name)
        number = request.call.number
        if self._listener is None:
            return await self._call(request, *self._board(request, number))
        # First of all: whatever is sent for this call is sent in the listener's context.
        self._tell("started", request, number, 0, base_url=self._base_url)
        flight, waiter = self._board(request, number)
        try:
            response = await self._call(request, flight, waiter)
        except BaseException as error:
            status = error.http_status if isinstance(error, HTXError) else None
            self._tell_returned(request, number, flight, waiter, status, type(error).__name__)
            raise
        self._tell_returned(request, number, flight, waiter, response.status)
        return response

    async def _call(self, request: Request, flight: Flight, waiter: Waiter) -> Response:
        outcome: Response | Exception
        try:
            outcome = await self._wait(flight, waiter)
        finally:
            flight.leave(waiter)
            if flight.abandoned and flight.out:
                self._end_in_time(flight)
        if outcome is _LATE or (isinstance(outcome, NoResponseError) and self._is_late(waiter)):
            # Told only now: what became of it may have changed since. Or the attempt was ended by
            # the same deadline, a moment before its caller.
            outcome = _deadline_exceeded(request, flight)
        if isinstance(outcome, HTXError):
            raise _copy(outcome, request.endpoint.name)
        if isinstance(outcome, Exception):  # no error of ours: a fault in this package, say
            raise outcome
        return outcome

    async def _wait(self, flight: Flight, waiter: Waiter) -> Response | Exception:
        end = partial(waiter.settle, _LATE)
        lose_patience = partial(flight.lose_patience, waiter)
        options, alarms = waiter.options, self._alarms
        try:
            alarms.set(options.timeout, end, waiter.since)
            if options.queue_timeout:
                alarms.set(options.queue_timeout, lose_patience, waiter.since)
            return await waiter.done
        finally:
            alarms.unset(options.timeout, end)
            if options.queue_timeout:
                alarms.unset(options.queue_timeout, lose_patience)

    def _end_in_time(self, flight: Flight) -> None:
        """Let what nobody waits for any more arrive, but no later than they would have waited."""
        left = flight.until - self._clock.monotonic()
        if left > 0:
            flight.timer = self._clock.call_later(left, flight.end)
        else:
            flight.end()

    def _is_late(self, waiter: Waiter) -> bool:
        return self._clock.monotonic() >= waiter.since + waiter.options.timeout - MOMENT

    def _check_loop(self, endpoint: str) -> None:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ClientClosedError(_CLOSED, endpoint=endpoint)
        if self.loop is None:
            self.loop = loop
        elif self.loop is not loop:
            raise EventLoopError(_OTHER_LOOP, endpoint=endpoint)

    def _board(self, request: Request, number: int) -> tuple[Flight, Waiter]:
        """Join an equal read that still waits, or start the request's own."""
        now, options = self._clock.monotonic(), request.options
        key = request.key if options.coalesce and options.queue_timeout != 0 else None
        flight = self._open.get(key)
        if flight is not None and flight.is_open:
            self._tell("coalesced", request, number, flight.number)
            return flight, flight.join(options, now)
        flight = request.call
        waiter = flight.join(options, now)
        self._flights.add(flight)
        if key is not None:
            self._open[key] = flight

        def lost(_: object) -> None:
            self._land(flight, key, None)

        # Last: a loop with eager tasks runs it at once.
        name = f"htx_async {request.path}"
        flight.task = waiter.loop.create_task(self._fly(request, key, lost), name=name)
        # A task that is cancelled before its first step never runs.
        flight.task.add_done_callback(lost)
        return flight, waiter

    async def _fly(self, request: Request, key: Hashable, lost: Callable[[object], None]) -> None:
        outcome: Response | Exception
        if request.call.task is not None:  # from now on it says itself how it ends
            request.call.task.remove_done_callback(lost)
        try:
            outcome = await self._send(request)
        except HTXError as error:
            outcome = error.with_traceback(None)
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            outcome = error
        except BaseException:
            self._land(request.call, key, None)
            raise
        # Here, not when the task is done: those who wait go on a turn of the loop sooner.
        self._land(request.call, key, outcome)

    def _land(self, flight: Flight, key: Hashable, outcome: Response | Exception | None) -> None:
        self._flights.discard(flight)
        if self._open.get(key) is flight:
            del self._open[key]
        flight.land(outcome)

    def _tell(
        self, kind: Kind, request: Request, call: int, flight: int, **facts: Unpack[EventDetails]
    ) -> None:
        if self._listener is not None:
            name, at = request.endpoint.name, self._clock.now()
            self._listener(
                Event(kind=kind, endpoint=name, request_id=flight, at=at, call_id=call, **facts)
            )

    def _tell_returned(  # noqa: PLR0917 - what is known of a call
        self,
        request: Request,
        number: int,
        flight: Flight,
        waiter: Waiter,
        status: int | None,
        error: str | None = None,
    ) -> None:
        wait = flight.waited(waiter.since, self._clock.monotonic())
        self._tell(
            "finished",
            request,
            number,
            flight.number,
            wait=wait,
            attempts=flight.attempts,
            http_status=status,
            error=error,
        )

    def refuse(self) -> None:
        """Refuse new reads from now on; raise if what is under way is another loop's."""
        self._closed = True
        if self.loop not in (None, asyncio.get_running_loop()):
            raise EventLoopError(_OTHER_LOOP)

    async def see_off(self) -> None:
        """End the reads that still wait, and let what has left arrive, for `GRACE`."""
        pairs = [(flight, flight.task) for flight in self._flights if flight.task is not None]
        tasks = [task for _, task in pairs]
        for flight, _ in pairs:
            flight.is_last = True
            if not flight.out:
                flight.land(_closed(flight, "before this read could leave"))
                flight.cancel_unless_out()
        try:
            await self._wait_for(tasks, GRACE)
        finally:
            for flight, task in pairs:
                flight.land(_closed(flight, "while this read was on its way"))
                (flight.stop or task.cancel)()
            self._alarms.stop()
            await self._wait_for(tasks, LAST_MOMENT)
            for task in tasks:
                task.cancel()
            await self._wait_for(tasks, LAST_MOMENT)

    async def _wait_for(self, tasks: Collection[asyncio.Task[Any]], seconds: float) -> None:
        """Wait until all *tasks* have ended, but no longer than *seconds*."""
        if not all(task.done() for task in tasks):
            try:
                async with self._clock.timeout(seconds):
                    await asyncio.wait(tasks)
            except TimeoutError:
                pass


def _closed(flight: Flight, when: str) -> ClientClosedError:
    error = ClientClosedError(f"the client was closed {when}", delivery=flight.delivery)
    return with_attempt_notes(error, flight.failures)


def _copy(error: HTXError, endpoint: str) -> HTXError:
    """Return a copy of *error* for one of those who wait: what it adds is not on the others'."""
    copied = copy.copy(error)
    copied.endpoint = error.endpoint or endpoint
    if notes := getattr(error, "__notes__", None):
        copied.__notes__ = list(notes)
    return copied


def _deadline_exceeded(request: Request, flight: Flight) -> DeadlineExceededError:
    seconds = request.options.timeout
    text = f"no answer within {seconds:g} s (timeout)"
    if flight.failures:
        text = f"{text}: the last attempt failed with {type(flight.failures[-1]).__name__}"
    elif not flight.left:
        text = f"{text}: it still waited for a token"
    error = DeadlineExceededError(text, endpoint=request.endpoint.name, delivery=flight.delivery)
    return with_attempt_notes(error, flight.failures)
