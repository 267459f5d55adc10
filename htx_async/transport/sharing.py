"""
Each read flies in a task of its own, and its caller only waits for it.

So a caller can leave at any moment, by cancellation or because its time is over, without
reaching into the connection pool: what is with the network is read to its end. httpx's pool
loses connections for good where that is not so.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from htx_async.errors import ClientClosedError, DeadlineExceededError, HTXError
from htx_async.transport.flight import Flight

if TYPE_CHECKING:
    from htx_async.clock import Clock
    from htx_async.options import Options
    from htx_async.transport.request import Request, Response, Send

GRACE = 5.0
"""Seconds that closing waits for what has left."""

_CLOSED = "this client is closed: make a new one"
_OTHER_LOOP = "this client serves another event loop: make one client for each loop"


class Sharing:
    """The layer in which callers wait."""

    def __init__(self, send: Send, clock: Clock) -> None:
        self._send = send
        self._clock = clock
        self._flights: set[Flight] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def __call__(self, request: Request) -> Response:
        """Let *request* fly, and wait for it as long as its caller wants."""
        self._check_loop(request.endpoint.name)
        flight, waiter = self._start(request, request.options)
        try:
            async with self._clock.timeout(request.options.timeout):
                outcome = await waiter
        except TimeoutError:
            outcome = _deadline_exceeded(request, flight)
        finally:
            flight.leave(waiter)
        if isinstance(outcome, HTXError):
            raise copy.copy(outcome)
        return outcome

    def _check_loop(self, endpoint: str) -> None:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ClientClosedError(_CLOSED, endpoint=endpoint)
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ClientClosedError(_OTHER_LOOP, endpoint=endpoint)

    def _start(
        self, request: Request, options: Options
    ) -> tuple[Flight, asyncio.Future[Response | HTXError]]:
        flight = Flight()
        waiter = flight.join(self._clock.monotonic() + options.timeout)
        self._flights.add(flight)
        flight.task = asyncio.get_running_loop().create_task(
            self._fly(attrs.evolve(request, flight=flight)), name=f"htx_async {request.path}"
        )
        return flight, waiter

    async def _fly(self, request: Request) -> None:
        outcome: Response | HTXError | None = None
        try:
            outcome = await self._send(request)
        except HTXError as error:
            outcome = error.with_traceback(None)
        finally:
            self._flights.discard(request.flight)
            request.flight.land(outcome)

    async def aclose(self) -> None:
        """Refuse new reads, end those that still wait, let what has left arrive for `GRACE`."""
        self._closed = True
        flights = tuple(self._flights)
        tasks = [flight.task for flight in flights if flight.task is not None]
        for flight in flights:
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
    return DeadlineExceededError(
        text if flight.left else f"{text}: it still waited for a token",
        endpoint=request.endpoint.name,
        fate="unknown" if flight.left else "not_sent",
    )
