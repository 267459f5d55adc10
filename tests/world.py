"""A simulated network and exchange below the middleware, on virtual time."""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import cycle
from typing import Literal

import attrs

from htx_async.clock import Clock, ServerClock
from htx_async.errors import ConnectError, NoResponseError
from htx_async.events import EventEmitter, Listener
from htx_async.middleware.coalescing import RequestCoalescing
from htx_async.middleware.rate_limiting import RateLimiting
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Handler, Request, Response

Fault = Literal["", "not sent", "cut"]


@attrs.frozen
class Trip:
    """How the network treats one request: seconds up, down and for the body, and a fault."""

    up: float = 0.0
    down: float = 0.0
    read: float = 0.0
    fault: Fault = ""


@attrs.define
class World:
    """
    A `Handler` that records when each request arrived.

    *on_arrival* is called then, and returns the headers of the response.
    """

    clock: Clock
    trips: Iterator[Trip] = attrs.field(factory=lambda: cycle([Trip()]))
    on_arrival: Callable[[], Mapping[str, str]] = dict
    arrivals: list[float] = attrs.field(factory=list)
    paths: list[str] = attrs.field(factory=list)
    in_flight: int = 0
    max_in_flight: int = 0

    async def __call__(self, request: Request) -> Response:
        self.in_flight += 1
        self.max_in_flight = max(self.in_flight, self.max_in_flight)
        try:
            return await self._trip(request, next(self.trips))
        finally:
            self.in_flight -= 1

    async def _trip(self, request: Request, trip: Trip) -> Response:
        await self.clock.sleep(trip.up)
        if trip.fault == "not sent":
            text = "no connection"
            raise ConnectError(text)
        self.arrivals.append(self.clock.monotonic())
        self.paths.append(request.path)
        number, headers = len(self.arrivals), self.on_arrival()
        await self.clock.sleep(trip.down)
        if trip.fault == "cut":
            text = "cut"
            raise NoResponseError(text)
        first_byte_at = self.clock.monotonic()
        await self.clock.sleep(trip.read)
        data = json.dumps(number).encode()
        return Response(200, headers, data, first_byte_at, value=number)


def endpoint(limit: int = 3, per: float = 1.0, path: str = "/v1/test") -> Endpoint[int]:
    """Return an endpoint whose model is the number in its response."""
    return Endpoint(path, RateLimit(limit, per), int)


def most_in_a_window(arrivals: Iterable[float], per: float) -> int:
    """Return the maximum number of arrivals in any window of *per* seconds (end exclusive)."""
    times = sorted(arrivals)
    ends = (bisect.bisect_left(times, start + per) for start in times)
    return max((end - index for index, end in enumerate(ends)), default=0)


def rate_limited(
    handler: Handler,
    limiter: RateLimiter,
    clock: Clock,
    slots: ConnectionSlots | None = None,
    listener: Listener | None = None,
) -> RateLimiting:
    """Return the rate limiting middleware on top of *handler*."""
    slots, events = slots or ConnectionSlots(20), EventEmitter(listener, clock)
    return RateLimiting(handler, limiter, slots, clock, ServerClock(clock), events)


def coalesced(handler: Handler, clock: Clock) -> RequestCoalescing:
    """Return the coalescing middleware on top of *handler*."""
    return RequestCoalescing(handler, clock, EventEmitter(None, clock))
