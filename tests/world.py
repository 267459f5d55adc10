"""A network and an HTX below the layers, on virtual time: jitter, faults, and what arrived."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Literal

import attrs

from htx_async.clock import Clock
from htx_async.errors import ConnectError, NoResponseError
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Request, Response

Fault = Literal["", "not sent", "cut"]


@attrs.frozen
class Trip:
    """What the network does to one request: seconds up and down, seconds to read, a fault."""

    up: float = 0.0
    down: float = 0.0
    read: float = 0.0
    fault: Fault = ""


@attrs.define
class World:
    """A `Send` that notes when each request arrived."""

    clock: Clock
    trips: Iterator[Trip] = attrs.field(factory=lambda: cycle([Trip()]))
    arrivals: list[float] = attrs.field(factory=list)
    paths: list[str] = attrs.field(factory=list)
    flying: int = 0
    most_flying: int = 0

    async def __call__(self, request: Request) -> Response:
        self.flying += 1
        self.most_flying = max(self.flying, self.most_flying)
        try:
            return await self._trip(request, next(self.trips))
        finally:
            self.flying -= 1

    async def _trip(self, request: Request, trip: Trip) -> Response:
        await self.clock.sleep(trip.up)
        if trip.fault == "not sent":
            text = "no connection"
            raise ConnectError(text)
        self.arrivals.append(self.clock.monotonic())
        self.paths.append(request.path)
        number = len(self.arrivals)
        await self.clock.sleep(trip.down)
        if trip.fault == "cut":
            text = "cut"
            raise NoResponseError(text)
        began = self.clock.monotonic()
        await self.clock.sleep(trip.read)
        data = json.dumps(number).encode()
        return Response(200, {}, data, began, value=number)


def endpoint(limit: int = 3, per: float = 1.0, path: str = "/v1/test") -> Endpoint[int]:
    """Return an endpoint whose model is the number that it answers."""
    return Endpoint(path, RateLimit(limit, per), int)


def most_in_a_window(arrivals: Iterable[float], per: float) -> int:
    """Return the most arrivals that any window of *per* seconds holds, its end not counted."""
    times = sorted(arrivals)
    ends = (bisect.bisect_left(times, start + per) for start in times)
    return max((end - index for index, end in enumerate(ends)), default=0)
