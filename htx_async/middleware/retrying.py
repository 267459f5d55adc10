"""
Repeats what may succeed a little later, and mends what can be mended: the clock, rotated keys.

It stands above the limit and the signature, so every attempt has its own token, its own time
and its own signature; and above the envelope, since HTX tells its errors in bodies with status
200.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from htx_async.auth.provider import CredentialStore
from htx_async.clock import MAX_UNCORRECTED_SKEW, PLAUSIBLE_EPOCH_MS, Clock, ServerClock
from htx_async.errors import (
    AuthenticationError,
    ClockError,
    HTXError,
    SignatureError,
    with_attempt_notes,
)
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Handler, Request, Response

TIMESTAMP = Endpoint[int](
    "/v1/common/timestamp",
    RateLimit(10, per=1.0),  # HTX's rule for endpoints without one of their own, by IP address
    int,
    signed=False,
)
"""HTX, "Get Current Timestamp": its time of day, in milliseconds."""


def _random() -> Callable[[], float]:
    from random import random  # noqa: PLC0415 - a client brings it anyway

    return random


class Retrying(msgspec.Struct, frozen=True):
    """The layer that tries again."""

    send: Handler
    clock: Clock
    time: ServerClock
    keys: CredentialStore
    jitter: Callable[[], float] = msgspec.field(default_factory=_random)
    _measuring: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)

    async def __call__(self, request: Request) -> Response:
        """Handler *request* until it succeeds, or more attempts make no sense."""
        await self.keys.ensure()
        flight, policy = request.call, request.options.retry
        attempt, mended = 0, False
        while True:
            attempt += 1
            outcome = await self._attempt(request)
            if isinstance(outcome, Response):
                waits = tuple(flight.waits)
                return replace(outcome, attempts=flight.attempts, queue_waits=waits)
            flight.failed(outcome)
            left = flight.until - self.clock.monotonic()
            delay = policy.delay(attempt, outcome, left, self.jitter())
            if delay is None and not (mended or flight.is_last or flight.abandoned):
                mended, delay = True, await self._mended(request, outcome)
            if delay is None or flight.is_last:
                raise with_attempt_notes(outcome, flight.failures[:-1])
            await self.clock.sleep(delay)

    async def _attempt(self, request: Request) -> Response | HTXError:
        try:
            return await self.send(request)
        except HTXError as error:
            return error.with_traceback(None)

    async def _mended(self, request: Request, error: HTXError) -> float | None:
        """Mend what HTX did not like, if that can be done; return 0.0 if it was."""
        signed = request.call.signed_with
        if not isinstance(error, AuthenticationError) or signed is None:
            return None
        if isinstance(error, ClockError):
            return await self._measured(request, signed.at)
        # v2 answers do not name the clock: their date tells that it was off, or HTX if asked.
        if isinstance(error, SignatureError) and self.time.offset() is None:
            await self._measured(request, signed.at)
        if abs(self.time.correction() - signed.correction) > MAX_UNCORRECTED_SKEW:
            return 0.0
        try:
            return 0.0 if await self.keys.refresh(signed.credentials) else None
        except HTXError as failure:
            error.add_note(f"no other keys: {failure}")
            return None

    async def _measured(self, request: Request, since: float) -> float | None:
        """Ask HTX what o'clock it is, unless another read has done that meanwhile."""
        path = TIMESTAMP.path
        asked = replace(request, endpoint=TIMESTAMP, path=path, params=(), is_internal=True)
        async with self._measuring:
            if self.time.calibrated_at >= since:
                return 0.0
            answer = await self._attempt(asked)
            if isinstance(answer, HTXError):
                return None
            milliseconds = answer.value
            if milliseconds not in PLAUSIBLE_EPOCH_MS:
                return None
            self.time.calibrate(milliseconds / 1000, answer.first_byte_at)
            return 0.0
