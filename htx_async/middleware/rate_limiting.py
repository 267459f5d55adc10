"""
Acquires a rate-limit token and a connection slot, together, before every attempt.

A call that waits for a token must not keep others from a connection, nor hold a token while it
waits for one: then signed requests would queue in the connection pool, and grow old.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Unpack

import msgspec

from htx_async.clock import Clock, ServerClock
from htx_async.errors import APIError, ConnectError, RateLimitedError
from htx_async.events import EventEmitter, Kind
from htx_async.ratelimit.headers import RateLimitHeaders
from htx_async.ratelimit.limiter import RateLimiter
from htx_async.ratelimit.queue import Token, TokenQueue
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.request import Handler, Request, Response

if TYPE_CHECKING:
    from htx_async.events import EventDetails

_log = logging.getLogger("htx_async")

MAX_BLOCK = 300.0
"""Seconds for which a 429 blocks an endpoint at most, whatever `Retry-After` contains."""
_SHOWN_WAIT = 0.001
"""Seconds in the queue from which the log contains them."""


class RateLimiting(msgspec.Struct, frozen=True):
    """Middleware that keeps HTX's rate limits."""

    call_next: Handler
    rate_limiter: RateLimiter
    slots: ConnectionSlots
    clock: Clock
    server_clock: ServerClock
    events: EventEmitter

    async def __call__(self, request: Request) -> Response:
        """Wait for a token and a slot, send, and return the response or raise its error."""
        call, queue = request.call, self.rate_limiter.queue_for(request.endpoint, self.clock)

        def on_wait(ahead: int, wait: float) -> bool:
            self._emit("queued", request, wait=wait)
            call.queue_delayed(ahead, wait, self.clock.monotonic())
            return not call.has_no_waiters

        call.queue_started(self.clock.monotonic())
        try:
            async with queue.token(self.slots, request.options.attempt_timeout, on_wait) as token:
                queued = call.token_acquired(self.clock.monotonic())
                self._emit("acquired", request, queue, wait=queued)
                response = await self._attempt(request, queue, token)
        except BaseException as error:
            if call.in_flight:
                self._on_result(request, queue, error)
            raise
        finally:
            call.attempt_finished()
        self._on_result(request, queue, response.error, response.status)
        if response.error is not None:
            raise response.error
        return response

    async def _attempt(self, request: Request, queue: TokenQueue, token: Token) -> Response:
        request.call.attempt_started(token.permit.until, is_internal=request.is_internal)
        token.is_unused = False
        self._emit("sent", request)
        try:
            response = await self.call_next(request)
        except ConnectError:
            token.is_unused = True
            raise
        token.first_byte_at = response.first_byte_at
        self._apply_headers(request, queue, token, response)
        return response

    def _apply_headers(
        self, request: Request, queue: TokenQueue, token: Token, response: Response
    ) -> None:
        """Apply the headers of the response: HTX may have counted requests of other programs."""
        headers, per = RateLimitHeaders.parse(response.headers), queue.bucket.limit.per
        seconds = per
        if headers is not None:
            now = self.server_clock.now()
            seconds = headers.window_remaining(now, per)
            queue.on_server_headers(token.permit, headers, now)
        if isinstance(response.error, RateLimitedError):
            retry_after = response.error.retry_after
            block = min(seconds if retry_after is None else retry_after, MAX_BLOCK)
            name = request.endpoint.name
            _log.warning("%s: rate limited (429): no request for %.1f s", name, block)
            queue.on_rate_limited(block)

    def _on_result(
        self,
        request: Request,
        queue: TokenQueue,
        error: BaseException | None,
        http_status: int | None = None,
    ) -> None:
        """Emit the event of an attempt that is over, and log it."""
        name = None if error is None else type(error).__name__
        if self.events.is_enabled:
            failure: Kind = "api_error" if isinstance(error, APIError) else "failed"
            kind: Kind = "response" if error is None else failure
            self._emit(kind, request, queue, http_status=http_status, error=name)
        if _log.isEnabledFor(logging.DEBUG):
            self._log_attempt(request, name, http_status)

    def _log_attempt(self, request: Request, error: str | None, http_status: int | None) -> None:
        """Log an attempt: never a query, which is signed, nor a part of the response."""
        status = None if http_status is None else f"HTTP {http_status}"
        queued_at, sent_at = request.call.queue_waits[-1]
        queued = sent_at - queued_at
        _log.debug(
            "%s %s: %s: %s in %.3f s%s",
            request.endpoint.method,
            request.path,
            "clock" if request.is_internal else f"attempt {request.call.attempts}",
            " ".join(filter(None, (status, error))),
            self.clock.monotonic() - sent_at,
            f", queued {queued:.3f} s" if queued >= _SHOWN_WAIT else "",
        )

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
