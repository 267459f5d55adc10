"""What happens to a read on its way, for whoever wants to watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Literal

import attrs

Kind = Literal["waiting", "granted", "joined", "sent", "answered", "refused", "failed"]
"""
A read has to wait for a token; it has one; another caller joined a read that waits; an attempt
left; it was answered; HTX refused it; it failed without a usable answer.
"""

_log = logging.getLogger("htx_async")


@attrs.frozen(kw_only=True)
class Event:
    """
    One thing that happened. It holds no secret and no query.

    Attributes:
        kind: What happened.
        endpoint: Method and path, as HTX's pages write it.
        flight: The number of the read; who joins one has its number.
        at: When, in seconds since 1970-01-01 UTC.
        wait: `waiting`: seconds that it will take at least; `granted`: seconds that it took.
        http_status: `answered` and `refused`: the status of the answer.
        error: `refused` and `failed`: the name of the error's class.
    """

    kind: Kind
    endpoint: str
    flight: int
    at: float
    wait: float | None = None
    http_status: int | None = None
    error: str | None = None


Listener = Callable[[Event], object]


class Guarded:
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
