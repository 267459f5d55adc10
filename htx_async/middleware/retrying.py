"""
Retries retryable errors, and recovers from clock skew and rotated credentials.

It comes before rate limiting and signing, so each attempt has its own token, time and signature;
and before parsing, because HTX reports errors in bodies with status 200.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import random
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from htx_async.auth.provider import CredentialStore
from htx_async.clock import MAX_UNCORRECTED_SKEW, PLAUSIBLE_EPOCH_MS, Clock, ServerClock
from htx_async.errors import (
    AuthenticationError,
    ClockError,
    HTXError,
    SignatureError,
)
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Handler, Request, Response

if TYPE_CHECKING:
    from htx_async.transports.base import Adapter

SERVER_TIME = Endpoint[int](
    "/v1/common/timestamp",
    RateLimit(10, per=1.0),  # HTX's rule for endpoints without a limit of their own, by IP address
    int,
    signed=False,
)
"""HTX, "Get Current Timestamp": HTX's wall-clock time, in milliseconds."""

_log = logging.getLogger("htx_async")


class Retrying(msgspec.Struct, frozen=True):
    """Middleware that makes the attempts of a call."""

    call_next: Handler
    clock: Clock
    server_clock: ServerClock
    credentials: CredentialStore
    adapter: Adapter
    jitter: Callable[[], float] = random
    _calibration: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)

    async def __call__(self, request: Request) -> Response:
        """Send *request* until it succeeds, or there is no further attempt."""
        if not self.adapter.is_prepared:
            await self.adapter.prepare()
        if self.credentials.current is None:
            await self.credentials.ensure()
        call, policy = request.call, request.options.retry
        has_recovered = False
        while True:
            try:
                response = await self.call_next(request)
                return replace(response, stats=call.stats(response.first_byte_at))
            except HTXError as error:
                failure = error.with_traceback(None)
            now = self.clock.monotonic()
            number, left = call.attempt_failed(failure, now), call.time_left(now)
            delay = policy.delay(number, failure, left, self.jitter())
            if delay is None and call.may_retry and not has_recovered:
                has_recovered, delay = True, await self._recover(request, failure)
            if delay is None or not call.may_retry:
                _log_exhaustion(request, failure)
                # Raised outside of `except`: the error must not be its own context.
                raise call.final_error()
            await self.clock.sleep(delay)

    async def _recover(self, request: Request, error: HTXError) -> float | None:
        """Calibrate the clock or refresh the credentials; return 0.0 if one of them changed."""
        signed_with = request.call.signed_with
        if not isinstance(error, AuthenticationError) or signed_with is None:
            return None
        if isinstance(error, ClockError):
            return await self._sync_clock(request, signed_with.at)
        # A v2 response does not name the clock: its date shows the skew, or the calibration.
        if isinstance(error, SignatureError) and self.server_clock.offset() is None:
            await self._sync_clock(request, signed_with.at)
        if not request.call.may_retry:
            return None
        skew = abs(self.server_clock.correction() - signed_with.correction)
        if skew > MAX_UNCORRECTED_SKEW:
            return 0.0
        try:
            return 0.0 if await self.credentials.refresh(signed_with.credentials) else None
        except HTXError as failure:
            error.add_note(f"the credentials were not refreshed: {failure}")
            return None

    async def _sync_clock(self, request: Request, since: float) -> float | None:
        """Calibrate with HTX's time, unless another call has done so after *since*."""
        calibration = replace(
            request,
            endpoint=SERVER_TIME,
            path=SERVER_TIME.path,
            params=(),
            is_internal=True,
            account_id=None,
        )
        async with self._calibration:
            if self.server_clock.calibrated_at >= since:
                return 0.0
            try:
                response = await self.call_next(calibration)
            except HTXError:
                return None
            if response.value not in PLAUSIBLE_EPOCH_MS:
                return None
            self.server_clock.calibrate(response.value / 1000, response.first_byte_at)
            return 0.0


def _log_exhaustion(request: Request, error: HTXError) -> None:
    """Log that retries did not help, without the text of the error, which HTX may have written."""
    number = len(request.call.failures)
    if error.retryable and number > 1 and request.call.may_retry:
        name = request.endpoint.name
        _log.warning("%s: gave up after %d attempts: %s", name, number, type(error).__name__)
