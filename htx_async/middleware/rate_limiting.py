"""
Acquires a rate-limit token and a connection slot before every attempt.

The token comes first: a call that waits for a token must not keep others from a connection. The
slot is needed as well: without it, signed requests would queue in the connection pool and their
timestamps would grow old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import msgspec

from htx_async.clock import Clock, ServerClock
from htx_async.errors import APIError, ConnectError, RateLimitedError
from htx_async.events import EventEmitter, Kind
from htx_async.ratelimit.headers import RateLimitHeaders
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.queue import TokenQueue
from htx_async.ratelimit.token_bucket import Permit
from htx_async.request import Handler, Request, Response

if TYPE_CHECKING:
    from htx_async.events import EventDetails


class RateLimiting(msgspec.Struct, frozen=True):
    """Middleware that keeps HTX's rate limits. *slots* has a token for each connection."""

    call_next: Handler
    rate_limiter: RateLimiter
    slots: TokenQueue
    clock: Clock
    server_clock: ServerClock
    events: EventEmitter

    async def __call__(self, request: Request) -> Response:
        """Wait for a token and a slot, send, and return the response or raise its error."""
        queue = self.rate_limiter.queue_for(request.endpoint, self.clock)
        request.call.queue_started(self.clock.monotonic())
        permit, slot = await self._acquire(request, queue)
        try:
            queued = request.call.token_granted(self.clock.monotonic())
            self._emit("acquired", request, queue, wait=queued)
        except BaseException:
            queue.release_unused(permit)
            self.slots.release_unused(slot)
            raise
        response = await self._attempt(request, queue, permit, slot)
        if response.error is not None:
            self._emit_failure(request, queue, response.error, response.status)
            raise response.error
        self._emit("response", request, queue, http_status=response.status)
        return response

    async def _acquire(self, request: Request, queue: TokenQueue) -> tuple[Permit, Permit]:
        """Return a token and a connection slot."""
        call = request.call

        def on_wait(ahead: int, wait: float) -> None:
            self._emit("queued", request, wait=wait)
            call.queue_delayed(ahead, wait, self.clock.monotonic())

        def deadline() -> float:
            return call.deadline

        return await queue.acquire_with_slot(self.slots, on_wait, deadline)

    async def _attempt(
        self, request: Request, queue: TokenQueue, permit: Permit, slot: Permit
    ) -> Response:
        request.call.attempt_started(is_internal=request.is_internal)
        try:
            self._emit("sent", request)
            response = await self.call_next(request)
        except ConnectError as error:
            queue.release_unused(permit)
            self._emit_failure(request, queue, error)
            raise
        except BaseException as error:
            queue.release_at(permit, self.clock.monotonic())
            self._emit_failure(request, queue, error)
            raise
        else:
            queue.release_at(permit, response.first_byte_at)
            self._apply_headers(queue, permit, response)
            return response
        finally:
            self.slots.release_at(slot, self.clock.monotonic())
            request.call.attempt_finished()

    def _apply_headers(self, queue: TokenQueue, permit: Permit, response: Response) -> None:
        """Slow down as the response says: HTX may have counted requests that are not ours."""
        headers, per = RateLimitHeaders.parse(response.headers), queue.bucket.limit.per
        seconds = per
        if headers is not None:
            seconds = headers.window_remaining(self.server_clock.now(), per)
            queue.on_server_headers(permit, headers, seconds)
        if isinstance(response.error, RateLimitedError):
            if response.error.retry_after is None:
                response.error.retry_after = seconds
            queue.on_rate_limited(min(response.error.retry_after, per))

    def _emit_failure(
        self,
        request: Request,
        queue: TokenQueue,
        error: BaseException,
        http_status: int | None = None,
    ) -> None:
        kind: Kind = "api_error" if isinstance(error, APIError) else "failed"
        self._emit(kind, request, queue, http_status=http_status, error=type(error).__name__)

    def _emit(
        self,
        kind: Kind,
        request: Request,
        queue: TokenQueue | None = None,
        **details: Unpack[EventDetails],
    ) -> None:
        if not self.events.is_enabled:
            return
        if queue is not None:
            details["limits"] = queue.status()
        if kind in ("response", "api_error"):
            details["clock_offset"] = self.server_clock.offset()
        self.events.emit(kind, request.endpoint.name, request.id, **details)
