"""
Lets an attempt go when it has a token and a connection to go by, and hears what HTX says of it.

The token comes first: who waits for one must not keep others from a connection. The connection
slot is as important: without it, signed requests would queue inside the connection pool and
grow old there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Unpack

import msgspec

from htx_async.clock import Clock
from htx_async.errors import ConnectError, DeadlineExceededError, HTXError, RateLimitedError
from htx_async.events import Event, Kind, Listener
from htx_async.ratelimit.headers import RateLimitHeaders
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import Permit
from htx_async.request import Handler, Request, Response

if TYPE_CHECKING:
    from htx_async.events import EventDetails


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
        queue = self.budget.queue_for(request.endpoint, self.clock)
        request.call.asked = self.clock.monotonic()
        grant, slot = await self._granted(request, queue)
        try:
            now = self.clock.monotonic()
            _check_time(request, now)
            self._tell("acquired", request, queue, wait=request.call.granted(now))
        except BaseException:
            queue.release_unused(grant)
            self.slots.release_unused(slot)
            raise
        response = await self._attempt(request, queue, grant, slot)
        if response.error is not None:
            self._tell_failure(request, queue, response.error, response.status)
            raise response.error
        self._tell("response", request, queue, http_status=response.status)
        return response

    async def _granted(self, request: Request, queue: TokenQueue) -> tuple[Permit, Permit]:
        """Return a token and a slot."""
        flight = request.call

        def told(ahead: int, wait: float) -> None:
            self._tell("queued", request, wait=wait)
            flight.queued(ahead, wait, self.clock.monotonic())

        def until() -> float:
            return flight.until

        return await queue.acquire_with_slot(self.slots, told, until)

    async def _attempt(
        self, request: Request, queue: TokenQueue, grant: Permit, slot: Permit
    ) -> Response:
        request.call.departs(is_internal=request.is_internal)
        try:
            self._tell("sent", request)
            response = await self.send(request)
        except ConnectError as error:
            queue.release_unused(grant)
            self._tell_failure(request, queue, error)
            raise
        except BaseException as error:
            queue.release_at(grant, self.clock.monotonic())
            self._tell_failure(request, queue, error)
            raise
        else:
            queue.release_at(grant, response.first_byte_at)
            self._hear(queue, grant, response)
            return response
        finally:
            self.slots.release_at(slot, self.clock.monotonic())
            request.call.returned()

    def _hear(self, queue: TokenQueue, grant: Permit, response: Response) -> None:
        """Let HTX slow us down: it may count requests that are not ours."""
        headers, per = RateLimitHeaders.parse(response.headers), queue.bucket.limit.per
        seconds = headers.window_remaining(self.now(), per) if headers else per
        if headers is not None:
            queue.on_server_headers(grant, headers, seconds)
        if isinstance(response.error, RateLimitedError):
            if response.error.retry_after is None:
                response.error.retry_after = seconds
            queue.on_rate_limited(min(response.error.retry_after, per))

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
