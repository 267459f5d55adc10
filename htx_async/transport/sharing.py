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
from collections.abc import Hashable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import attrs

from htx_async.errors import ClientClosedError, DeadlineExceededError, Fate, HTXError, told
from htx_async.events import Event, Listener
from htx_async.transport.flight import Flight, Waiter

if TYPE_CHECKING:
    from htx_async.clock import Clock
    from htx_async.transport.request import Request, Response, Send

GRACE = 5.0
"""Seconds that closing waits for what has left."""

_CLOSED = "this client is closed: make a new one"
_OTHER_LOOP = "this client serves another event loop: make one client for each loop"


class Sharing:
    """The layer in which callers wait."""

    def __init__(self, send: Send, clock: Clock, listener: Listener | None = None) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._send = send
        self._clock = clock
        self._listener = listener
        self._flights: set[Flight] = set()
        self._open: dict[Hashable, Flight] = {}
        self._closed = False

    async def __call__(self, request: Request) -> Response:
        """Let *request* fly, or join one that is equal, and wait as long as the caller wants."""
        self._check_loop(request.endpoint.name)
        flight, waiter = self._board(request)
        outcome: Response | Exception
        try:
            outcome = await self._wait(flight, waiter)
        except TimeoutError:
            outcome = _deadline_exceeded(request, flight)
        finally:
            flight.leave(waiter)
        if isinstance(outcome, HTXError):
            error = copy.copy(outcome)
            error.endpoint = error.endpoint or request.endpoint.name
            raise error
        if isinstance(outcome, Exception):  # no error of ours: a fault in this package, say
            raise outcome
        return outcome

    async def _wait(self, flight: Flight, waiter: Waiter) -> Response | Exception:
        timer: asyncio.TimerHandle | None = None
        if patience := waiter.options.max_wait:
            timer = self._clock.call_later(patience, partial(flight.lose_patience, waiter))
        try:
            async with self._clock.timeout(waiter.options.timeout):
                return await waiter.done
        finally:
            if timer is not None:
                timer.cancel()

    def _check_loop(self, endpoint: str) -> None:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ClientClosedError(_CLOSED, endpoint=endpoint)
        if self.loop is None:
            self.loop = loop
        elif self.loop is not loop:
            raise ClientClosedError(_OTHER_LOOP, endpoint=endpoint)

    def _board(self, request: Request) -> tuple[Flight, Waiter]:
        """Join an equal read that still waits, or start one."""
        now, options = self._clock.monotonic(), request.options
        key = request.key if options.share and options.max_wait != 0 else None
        flight = self._open.get(key)
        if flight is not None and flight.is_open:
            self._tell_joined(request, flight)
            return flight, flight.join(options, now)
        flight = Flight()
        waiter = flight.join(options, now)
        self._flights.add(flight)
        if key is not None:
            self._open[key] = flight
        # Last: a loop with eager tasks runs it at once.
        flight.task = asyncio.get_running_loop().create_task(
            self._fly(attrs.evolve(request, flight=flight), key), name=f"htx_async {request.path}"
        )
        return flight, waiter

    async def _fly(self, request: Request, key: Hashable) -> None:
        flight = request.flight
        outcome: Response | Exception | None = None
        try:
            outcome = await self._send(request)
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            outcome = error.with_traceback(None) if isinstance(error, HTXError) else error
        finally:
            self._flights.discard(flight)
            if self._open.get(key) is flight:
                del self._open[key]
            flight.land(outcome)

    def _tell_joined(self, request: Request, flight: Flight) -> None:
        if self._listener is not None:
            at, endpoint = self._clock.now(), request.endpoint.name
            self._listener(Event(kind="joined", endpoint=endpoint, flight=flight.number, at=at))

    async def aclose(self) -> None:
        """Refuse new reads, end those that still wait, let what has left arrive for `GRACE`."""
        self._closed = True
        flights = tuple(self._flights)
        tasks = [flight.task for flight in flights if flight.task is not None]
        for flight in flights:
            flight.is_last = True
            if not flight.out:
                flight.land(ClientClosedError("the client was closed before this read could leave"))
                flight.cancel_unless_out()
        try:
            if tasks:
                async with self._clock.timeout(GRACE):
                    await asyncio.wait(tasks)
        except TimeoutError:
            pass
        finally:
            await _end(flights, tasks)


async def _end(flights: Iterable[Flight], tasks: Iterable[asyncio.Task[None]]) -> None:
    text = "the client was closed while this read was on its way"
    for flight in flights:
        flight.land(ClientClosedError(text, fate="unknown"))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _deadline_exceeded(request: Request, flight: Flight) -> DeadlineExceededError:
    seconds = request.options.timeout
    text = f"no answer within {seconds:g} s (timeout)"
    fate: Fate = "not_sent"
    if flight.departures > len(flight.failures):
        fate = "unknown"
    elif flight.failures:
        last = flight.failures[-1]
        text, fate = f"{text}: the last attempt failed with {type(last).__name__}", last.fate
    else:
        text = f"{text}: it still waited for a token"
    error = DeadlineExceededError(text, endpoint=request.endpoint.name, fate=fate)
    return told(error, flight.failures)
