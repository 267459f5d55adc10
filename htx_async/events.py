"""What happens to a read on its way, for whoever wants to watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypedDict

import attrs

from htx_async.ratelimit.queue import RateLimitStatus

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
A call begins; it joined a read that waits; a read has to wait for a token; it has one; an attempt
left; it was answered; HTX refused it; it failed without a usable answer; a call is over; HTX said
something that this version does not know.
"""

_log = logging.getLogger("htx_async")

if TYPE_CHECKING:

    class EventDetails(TypedDict, total=False):
        """What an event may tell besides what all of them do."""

        wait: float | None
        http_status: int | None
        error: str | None
        attempts: int | None
        base_url: str | None
        limits: RateLimitStatus | None
        clock_offset: float | None


@attrs.frozen(kw_only=True)
class Event:
    """
    One thing that happened. It holds no secret and no query.

    Attributes:
        kind: What happened.
        endpoint: Method and path, as HTX's pages write it.
        request_id: The number of the read: that of the call which began it; `started`: 0, not known yet.
        at: When, in seconds since 1970-01-01 UTC.
        wait: `queued`: seconds that it will take at least; `acquired`: seconds that it took;
            `finished`: seconds that the call waited in all.
        http_status: `response`, `api_error` and `finished`: the status of the answer.
        error: `api_error`, `failed` and `finished`: the name of the error's class.
        call_id: `started`, `coalesced` and `finished`: the number of the call.
        attempts: `finished`: how many requests left for it.
        base_url: `started`: where requests go.
        limits: `acquired`, and whenever an attempt is over: how things stand at the endpoint.
        clock_offset: `response` and `api_error`: the seconds that HTX's clock is ahead.
        unknown: `schema_drift`: what it is, such as `data.list[].new-field`. Never a value.
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


class SafeListener:
    """A listener whose exceptions are logged once, and reach no call."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._told = False

    def __call__(self, event: Event) -> None:
        """Tell the listener."""
        try:
            self._listener(event)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - its own affair
            if not self._told:
                self._told = True
                _log.exception("on_event raised; further errors of it are not logged")
