"""Events of a call, for logging, metrics and tests."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

import attrs

from htx_async.clock import Clock
from htx_async.errors import InvalidInputError
from htx_async.ratelimit.queue import RateLimitStatus
from htx_async.validation import describe

Kind = Literal[
    "started",
    "coalesced",
    "queued",
    "acquired",
    "sent",
    "response",
    "api_error",
    "failed",
    "finished",
    "schema_drift",
]
"""
A call started; it was coalesced with an identical queued call; an attempt is queued for a token; it
acquired one; an attempt starts; it got a response; HTX returned an error; it failed without a
usable response; a call finished; a response has fields or values that this version does not know.
"""

_log = logging.getLogger("htx_async")

if TYPE_CHECKING:

    class EventDetails(TypedDict, total=False):
        """Attributes of an event that not all kinds have."""

        wait: float | None
        http_status: int | None
        error: str | None
        call_id: int | None
        attempts: int | None
        base_url: str | None
        limits: RateLimitStatus | None
        clock_offset: float | None
        unknown: str | None


@attrs.frozen(kw_only=True)
class Event:
    """
    Something that happened to a call. It contains no secret and no query.

    Attributes:
        kind: What happened.
        endpoint: Method and path as HTX documents them.
        request_id: Identifies the request; coalesced calls share one. `started`: 0, not known yet.
        at: When, in seconds since 1970-01-01 UTC.
        wait: Seconds. `queued`: the least expected; `acquired`: of this attempt; `finished`: in
            all.
        http_status: `response`, `api_error` and `finished`: HTTP status.
        error: `api_error`, `failed` and `finished`: name of the error class.
        call_id: `started`, `coalesced` and `finished`: identifies the call.
        attempts: `finished`: number of attempts that were sent for it.
        base_url: `started`: where requests are sent.
        limits: `acquired`, and whenever an attempt is over: state of the rate limit.
        clock_offset: `response` and `api_error`: seconds that HTX's clock is ahead.
        unknown: `schema_drift`: for example `data.list[].new-field`. Never a value, except an
            unknown member of an enumeration.
    """

    kind: Kind
    endpoint: str
    request_id: int
    at: float
    wait: float | None = None
    http_status: int | None = None
    error: str | None = None
    call_id: int | None = None
    attempts: int | None = None
    base_url: str | None = None
    limits: RateLimitStatus | None = None
    clock_offset: float | None = None
    unknown: str | None = None


Listener = Callable[[Event], object]


def check_listener(listener: object) -> None:
    """Raise `InvalidInputError` if *listener* is not a function, or an async one."""
    is_async = inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(
        getattr(listener, "__call__", None)  # noqa: B004 - the method itself
    )
    if is_async or isinstance(listener, type) or not callable(listener):
        got = "an async function: it would never run" if is_async else describe(listener)
        msg = f"on_event must be a function of an Event that is not async, got {got}"
        raise InvalidInputError(msg)


class SafeListener:
    """A listener whose exceptions are logged once, and never reach a call."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._has_failed = False

    def __call__(self, event: Event) -> None:
        """Call the listener."""
        try:
            self._listener(event)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - a listener may raise anything
            if not self._has_failed:
                self._has_failed = True
                _log.exception("on_event raised; further errors of it are not logged")


class EventEmitter:
    """Creates events and passes them to the listener of a client, if it has one."""

    def __init__(self, listener: Listener | None, clock: Clock) -> None:
        self.is_enabled: bool = listener is not None
        self._listener = SafeListener(listener) if listener is not None else None
        self._clock = clock

    def emit(
        self, kind: Kind, endpoint: str, request_id: int, **details: Unpack[EventDetails]
    ) -> None:
        """Pass an event to the listener."""
        if self._listener is not None:
            at = self._clock.now()
            event = Event(kind=kind, endpoint=endpoint, request_id=request_id, at=at, **details)
            self._listener(event)
