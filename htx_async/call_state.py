"""The state of one call: deadline, attempts, delivery and queue times."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from htx_async.auth.credentials import Credentials
from htx_async.errors import (
    ClientClosedError,
    DeadlineExceededError,
    Delivery,
    HTXError,
    NoResponseError,
    TransportError,
    with_attempts,
)

_request_ids = itertools.count(1)

_BLOCKED_LOOP = 0.1
"""Seconds after a deadline at which the event loop must have been blocked: it is seldom later."""

DecodeInCaller = Callable[[Callable[[], Any]], Awaitable[Any]]


class SigningContext(msgspec.Struct, frozen=True):
    """The credentials and clock correction of an attempt, and its time (monotonic seconds)."""

    credentials: Credentials
    correction: float
    at: float


class CallStats(msgspec.Struct, frozen=True):
    """
    Statistics of a call.

    Attributes:
        attempts: Number of attempts.
        queue_waits: Periods in which the call was queued (start, end), in monotonic seconds.
        failures: The errors of the attempts that failed.
    """

    attempts: int = 1
    queue_waits: tuple[tuple[float, float], ...] = ()
    failures: tuple[HTXError, ...] = ()

    def queue_time(self, called_at: float) -> float:
        """Return the seconds that a caller was queued that called at *called_at*."""
        return sum(max(end - max(start, called_at), 0.0) for start, end in self.queue_waits)


class CallState:
    """
    Mutable state of one call, which the middleware shares.

    Several coalesced callers may wait for it: `SharedCall` sets `deadline` and `has_no_waiters`.

    Attributes:
        request_id: Identifies the request in events; coalesced calls have the same.
        deadline: Latest deadline of its waiters, in monotonic seconds.
        attempt_deadline: When the attempt must be over, in monotonic seconds. No part of its
            request is sent after that, or its token could be in use by another request.
        has_no_waiters: Whether all callers have gone: another attempt would waste a token.
        closing: Whether the client is being closed: there is no further attempt.
        in_flight: Whether an attempt is using a connection.
        was_sent: Whether an attempt was started; later callers must not share its response.
        attempts: Number of attempts, calibrations of the clock not counted.
        failures: The errors of the attempts so far.
        failed_at: When the last of them failed, in monotonic seconds.
        delivery: Delivery of the last attempt.
        earliest_send_at: When the next attempt can be sent at the earliest, once that is known.
        queue_waits: Periods in which it waited for tokens and connections (monotonic seconds).
        signed_with: How the last attempt was signed.
        on_queued: Called with the number of calls ahead, and the expected delay in seconds.
        decode_in_caller: Lets the caller that wakes first decode a response; `None`: not possible.
        waits_for: What it needs before it is queued, and how to get that sooner; "": nothing.
    """

    __slots__ = (
        "_queued_since",
        "attempt_deadline",
        "attempts",
        "closing",
        "deadline",
        "decode_in_caller",
        "delivery",
        "earliest_send_at",
        "failed_at",
        "failures",
        "has_no_waiters",
        "in_flight",
        "on_queued",
        "queue_waits",
        "request_id",
        "signed_with",
        "waits_for",
        "was_sent",
    )

    def __init__(self) -> None:
        self.request_id: int = next(_request_ids)
        self.deadline: float = math.inf
        self.attempt_deadline: float = math.inf
        self.has_no_waiters: bool = False
        self.closing: bool = False
        self.in_flight: bool = False
        self.was_sent: bool = False
        self.attempts: int = 0
        self.failures: list[HTXError] = []
        self.failed_at: float = -math.inf
        self.delivery: Delivery = "not_sent"
        self.earliest_send_at: float = -math.inf
        self.queue_waits: list[tuple[float, float]] = []
        self.signed_with: SigningContext | None = None
        self.on_queued: Callable[[int, float], object] | None = None
        self.decode_in_caller: DecodeInCaller | None = None
        self.waits_for: str = ""
        self._queued_since: float | None = None

    @property
    def may_retry(self) -> bool:
        """Whether another attempt makes sense."""
        return not (self.has_no_waiters or self.closing)

    @property
    def needs_new_connection(self) -> bool:
        """Whether the last attempt had no response: other idle connections may be as dead."""
        return bool(self.failures) and isinstance(self.failures[-1], TransportError)

    def time_left(self, now: float) -> float:
        """Return the seconds until the deadline."""
        return self.deadline - now

    def queue_started(self, now: float) -> None:
        """Record that an attempt is queued from *now* on."""
        self._queued_since = now

    def queue_delayed(self, ahead: int, wait: float, now: float) -> None:
        """Record that *ahead* calls are queued before it, and that it waits at least *wait* s."""
        self.earliest_send_at = now + wait
        if self.on_queued is not None:
            self.on_queued(ahead, wait)

    def token_acquired(self, now: float) -> float:
        """
        Record the end of the queueing, and return its seconds.

        Raises:
            DeadlineExceededError: The deadline has passed: the event loop was late.
            CancelledError: All callers have gone.
        """
        if self.has_no_waiters:
            raise asyncio.CancelledError
        if now >= self.deadline:
            late = now - self.deadline
            if late >= _BLOCKED_LOOP:
                msg = (
                    f"the event loop was blocked until {late:.2g} s after the timeout, and the "
                    "request was not sent. Run blocking code in a thread."
                )
            else:
                msg = "the timeout passed while the call was queued. Increase timeout."
            raise DeadlineExceededError(msg, delivery=self.delivery)
        since = now if self._queued_since is None else self._queued_since
        self.queue_waits.append((since, now))
        self._queued_since = None
        return now - since

    def stats(self, now: float) -> CallStats:
        """Return the statistics until *now*."""
        waiting = [] if self._queued_since is None else [(self._queued_since, now)]
        return CallStats(self.attempts, (*self.queue_waits, *waiting), tuple(self.failures))

    def attempt_started(self, until: float, *, is_internal: bool) -> None:
        """
        Record that an attempt starts.

        Args:
            until: When it must be over, also if the deadline is later.
            is_internal: Whether it calibrates the clock.
        """
        self.attempt_deadline = min(self.deadline, until)
        self.was_sent = self.in_flight = True
        if not is_internal:
            self.attempts += 1
            self.delivery = "unknown"

    def attempt_finished(self) -> None:
        """Record that the attempt does not use its connection any more."""
        self.in_flight = False

    def attempt_failed(self, error: HTXError, now: float) -> int:
        """Record the error of an attempt, and return the number of failed attempts."""
        self.failures.append(error)
        self.failed_at = now
        self.delivery = error.delivery
        return len(self.failures)

    @property
    def _interrupts_attempt(self) -> bool:
        """Whether an attempt of the call is in flight, not only the calibration of the clock."""
        return self.in_flight and self.delivery == "unknown"

    def final_error(self) -> HTXError:
        """Return the error of the last attempt, with all failed attempts."""
        return with_attempts(self.failures[-1], self.failures[:-1])

    def deadline_error(
        self, endpoint: str, timeout: float, deadline: float
    ) -> DeadlineExceededError:
        """
        Return the error of a caller whose *timeout* has passed.

        It is the error of the last attempt, too, if the deadline (monotonic seconds) has ended it.
        """
        failures = self.failures
        is_attempt = self._interrupts_attempt
        if failures and isinstance(failures[-1], NoResponseError) and self.failed_at >= deadline:
            failures, is_attempt = failures[:-1], True
        text = f"no response within {timeout:g} s (timeout)"
        if failures:
            last = failures[-1]
            text = f"{text}. The last attempt failed with {type(last).__name__}: {last.args[0]}"
        elif self.was_sent:
            text = f"{text}. Check the network, or increase timeout."
        elif self.waits_for:
            text = f"{text}: the call was waiting for {self.waits_for}."
        else:
            text = f"{text}: the call was still queued. Increase timeout, or make fewer calls."
        error = DeadlineExceededError(text, endpoint=endpoint, delivery=self.delivery)
        return with_attempts(error, failures, is_attempt=is_attempt)

    def closed_error(self) -> ClientClosedError:
        """Return the error of the callers when the client is closed."""
        if self.in_flight:
            when = "while the request was in flight"
        else:
            when = "before the next attempt" if self.was_sent else "before the request was sent"
        text = f"the client was closed {when}. Close it after its last call has returned."
        error = ClientClosedError(text, delivery=self.delivery)
        return with_attempts(error, self.failures, is_attempt=self._interrupts_attempt)
