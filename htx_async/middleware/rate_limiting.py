"""
Lets an attempt go when it has a token and a connection to go by, and hears what HTX says of it.

The token comes first: who waits for one must not keep others from a connection. The connection
slot is as important: without it, signed requests would queue inside the connection pool and
grow old there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Unpack

import msgspec

from htx_async.clock import Clock
from htx_async.errors import ConnectError, DeadlineExceededError, HTXError, RateLimitedError
from htx_async.events import Event, Kind, Listener
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.queue import Heard, TokenQueue
from htx_async.ratelimit.token_bucket import Grant
from htx_async.request import Handler, Request, Response

if TYPE_CHECKING:
    from htx_async.events import EventDetails

REMAIN = "x-hb-ratelimit-requests-remain"
EXPIRE = "x-hb-ratelimit-requests-expire"
"""HTX, "Rate limiting rule". The unit of the second is not documented: see `ends_in`."""

_NUMBER = re.compile(r"[0-9]{1,15}")
_EPOCH_MILLISECONDS, _EPOCH_SECONDS = 1e12, 1e9


def heard(headers: Mapping[str, str]) -> Heard | None:
    """Return what the headers say of the limit; `None`: nothing."""
    remain, expire = headers.get(REMAIN, "").strip(), headers.get(EXPIRE, "").strip()
    if not remain and not expire:
        return None
    return Heard(int(remain) if _NUMBER.fullmatch(remain) else None, expire or None)


def ends_in(expire: str | None, now: float, per: float) -> float:
    """
    Return in how many seconds HTX's window ends, between 0 and *per*.

    *now* is HTX's time of day in seconds. The unit of *expire* is told by its size: the time of
    day in milliseconds or in seconds, or milliseconds from now. Not told, it is *per*.
    """
    if expire is None or not _NUMBER.fullmatch(expire):
        return per
    value = float(expire)
    if value >= _EPOCH_MILLISECONDS:
        seconds = value / 1000 - now
    else:
        seconds = value - now if value >= _EPOCH_SECONDS else value / 1000
    return min(max(seconds, 0.0), per)


def _check_time(request: Request, now: float) -> None:
    """Let nothing leave that nobody waits for any more, however late the loop woke us."""
    if request.call.abandoned:
        raise asyncio.CancelledError
    if request.call.is_over(now):
        text = "the time was over before it could leave"
        raise DeadlineExceededError(text, delivery=request.call.delivery)


class Limiting(msgspec.Struct, frozen=True):
    """
    The layer that waits.

    *slots* has a token for each connection; *now* tells HTX's time, *offset* how far it is ahead.
    """

    send: Handler
    budget: RateLimiter
    slots: TokenQueue
    clock: Clock
    now: Callable[[], float]
    listener: Listener | None = None
    offset: Callable[[], float | None] = lambda: None

    async def __call__(self, request: Request) -> Response:
        """Wait for a token and a slot, send, and return or raise what came."""
        queue = self.budget.queue(request.endpoint, self.clock)
        request.call.asked = self.clock.monotonic()
        grant, slot = await self._granted(request, queue)
        try:
            now = self.clock.monotonic()
            _check_time(request, now)
            self._tell("acquired", request, queue, wait=request.call.granted(now))
        except BaseException:
            queue.give_back(grant)
            self.slots.give_back(slot)
            raise
        response = await self._attempt(request, queue, grant, slot)
        if response.error is not None:
            self._tell_failure(request, queue, response.error, response.status)
            raise response.error
        self._tell("response", request, queue, http_status=response.status)
        return response

    async def _granted(self, request: Request, queue: TokenQueue) -> tuple[Grant, Grant]:
        """Return a token and a slot. A token that has grown old before the slot is exchanged."""
        flight = request.call

        def told(ahead: int, wait: float) -> None:
            self._tell("queued", request, wait=wait)
            flight.queued(ahead, wait, self.clock.monotonic())

        def until() -> float:
            return flight.until

        grant = await queue.acquire(told, until)
        while True:
            try:
                slot = await self.slots.acquire(told)
            except BaseException:
                queue.give_back(grant)
                raise
            if queue.is_good(grant, flight.until):
                return grant, slot
            self.slots.give_back(slot)
            grant = await queue.acquire(told, until, grant)

    async def _attempt(
        self, request: Request, queue: TokenQueue, grant: Grant, slot: Grant
    ) -> Response:
        request.call.departs(is_internal=request.is_internal)
        try:
            self._tell("sent", request)
            response = await self.send(request)
        except ConnectError as error:
            queue.give_back(grant)
            self._tell_failure(request, queue, error)
            raise
        except BaseException as error:
            queue.settle(grant, self.clock.monotonic())
            self._tell_failure(request, queue, error)
            raise
        else:
            queue.settle(grant, response.first_byte_at)
            self._hear(queue, grant, response)
            return response
        finally:
            self.slots.settle(slot, self.clock.monotonic())
            request.call.returned()

    def _hear(self, queue: TokenQueue, grant: Grant, response: Response) -> None:
        """Let HTX slow us down: it may count requests that are not ours."""
        said, per = heard(response.headers), queue.bucket.limit.per
        if said is None and response.error is None:
            return
        expire = said.expire if said else None
        seconds = ends_in(expire, self.now(), per)
        if said is not None:
            queue.hear(grant, said, seconds)
        if isinstance(response.error, RateLimitedError):
            if response.error.retry_after is None:
                response.error.retry_after = seconds
            queue.refused(min(response.error.retry_after, per))

    def _tell_failure(
        self,
        request: Request,
        queue: TokenQueue,
        error: BaseException,
        http_status: int | None = None,
    ) -> None:
        if self.listener is not None:
            refused = isinstance(error, HTXError) and error.delivery == "answered"
            kind: Kind = "api_error" if refused else "failed"
            name = type(error).__name__
            self._tell(kind, request, queue, http_status=http_status, error=name)

    def _tell(
        self,
        kind: Kind,
        request: Request,
        queue: TokenQueue | None = None,
        **facts: Unpack[EventDetails],
    ) -> None:
        if self.listener is None:
            return
        if queue is not None:
            facts["limits"] = queue.status()
        if kind in ("response", "api_error"):
            facts["clock_offset"] = self.offset()
        name, number, at = request.endpoint.name, request.call.number, self.clock.now()
        self.listener(Event(kind=kind, endpoint=name, request_id=number, at=at, **facts))
