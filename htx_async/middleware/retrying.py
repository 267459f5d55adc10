"""
Retries retryable errors, and recovers from clock skew and rotated credentials.

It comes before rate limiting and signing, so each attempt has its own token, time and signature;
and before parsing, because HTX reports errors in bodies with status 200.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from random import random
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from htx_async.auth.credentials import Credentials
from htx_async.auth.provider import CredentialStore
from htx_async.call_state import SigningContext
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

_SETTINGS = (
    "a thread that reads certificates and proxy settings. If the threads of the event loop are in "
    "use, set a larger default executor"
)
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
        call, has_recovered = request.call, False
        if not self.adapter.is_prepared:
            call.waits_for = _SETTINGS
            await self.adapter.prepare()
        while True:
            try:
                if request.endpoint.signed and self.credentials.current is None:
                    call.waits_for = "the credentials provider. Increase timeout, or make it faster"
                    await self.credentials.ensure()
                call.waits_for = ""
                response = await self.call_next(request)
                return replace(response, stats=call.stats(response.first_byte_at))
            except HTXError as error:
                failure = error.with_traceback(None)
            number = call.attempt_failed(failure, self.clock.monotonic())
            delay = self._delay(request, number, failure)
            if delay is None and call.may_retry and not has_recovered:
                has_recovered = True
                delay = 0.0 if await self._recover(request, failure) else None
            if delay is None or not call.may_retry:
                self._advise(request, failure)
                _log_exhaustion(request, failure)
                # Raised outside of `except`: the error must not be its own context.
                raise call.final_error()
            await self.clock.sleep(delay)

    def _delay(self, request: Request, attempt: int, error: HTXError) -> float | None:
        left = request.call.time_left(self.clock.monotonic())
        return request.options.retry.delay(attempt, error, left, self.jitter())

    def _advise(self, request: Request, error: HTXError) -> None:
        """Add what the client knows to an error of the clock or the credentials."""
        advice = ""
        if isinstance(error, ClockError):
            advice = self.server_clock.advice()
        elif isinstance(error, AuthenticationError):
            advice = self.credentials.advice(request.options.refresh_interval)
        if advice:
            error.args = (f"{error.args[0]} {advice}",)

    async def _recover(self, request: Request, error: HTXError) -> bool:
        """Calibrate the clock or refresh the credentials; return whether one of them changed."""
        signed_with = request.call.signed_with
        if not isinstance(error, AuthenticationError) or signed_with is None:
            return False
        if isinstance(error, ClockError):
            return await self._sync_clock(request, signed_with.at)
        # A v2 response does not name the clock: its date shows the skew, or the calibration.
        if isinstance(error, SignatureError) and self._is_clock_doubtful(signed_with):
            await self._sync_clock(request, signed_with.at)
        if not request.call.may_retry:
            return False
        skew = abs(self.server_clock.correction() - signed_with.correction)
        return skew > MAX_UNCORRECTED_SKEW or await self._refresh(
            request, error, signed_with.credentials
        )

    def _is_clock_doubtful(self, signed_with: SigningContext) -> bool:
        """Return whether the rejected time was not confirmed: by a response, or HTX's time."""
        clock = self.server_clock
        is_stale = clock.observed_at < signed_with.at
        return is_stale or (signed_with.correction != 0 and clock.calibrated_at == -math.inf)

    async def _refresh(self, request: Request, error: HTXError, rejected: Credentials) -> bool:
        """Call the provider, as often as the retry policy allows; return whether they changed."""
        call, interval = request.call, request.options.refresh_interval
        attempt = len(call.failures)
        while True:
            try:
                return await self.credentials.refresh(rejected, interval)
            except HTXError as provider_error:
                failure = provider_error.with_traceback(None)
            delay = self._delay(request, attempt, failure)
            if delay is None or not call.may_retry:
                error.retryable = failure.retryable
                error.add_note(f"the credentials were not refreshed: {failure}")
                for note in getattr(failure, "__notes__", ()):
                    error.add_note(note)
                return False
            attempt += 1
            await self.clock.sleep(delay)

    async def _sync_clock(self, request: Request, since: float) -> bool:
        """
        Calibrate with HTX's time, unless another call has done so after *since*.

        Return whether the clock is calibrated.
        """
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
                return True
            try:
                response = await self.call_next(calibration)
            except HTXError:
                return False
            if response.value not in PLAUSIBLE_EPOCH_MS:
                return False
            self.server_clock.calibrate(response.value / 1000, response.first_byte_at)
            return True


def _log_exhaustion(request: Request, error: HTXError) -> None:
    """Log that retries did not help, without the text of the error, which HTX may have written."""
    number = len(request.call.failures)
    if error.retryable and number > 1 and request.call.may_retry:
        name = request.endpoint.name
        _log.warning("%s: gave up after %d attempts: %s", name, number, type(error).__name__)
