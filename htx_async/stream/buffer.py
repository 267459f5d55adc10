"""Buffers of consumers: bounded, and conflated when a consumer is slow."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable
from decimal import Decimal
from typing import Generic, TypeVar

import attrs

from htx_async.stream.events import StreamEvent

T = TypeVar("T")


class EventBuffer(AsyncIterator[T], Generic[T]):
    """
    The events for one consumer, from its creation on; it ends when the stream is closed.

    It holds at most *limit* events. Then it is conflated, until it is empty again: the changes of a
    row become one, from the first amount before to the last amount after it, and only the last one
    is kept of each other kind.

    Args:
        limit: Events that are kept one by one.
        convert: Returns what the consumer gets of an event; `None`: nothing.
        on_overflow: Called when it is conflated.
    """

    def __init__(
        self,
        limit: int,
        convert: Callable[[StreamEvent], T | None],
        on_overflow: Callable[[], object],
    ) -> None:
        self._limit = limit
        self._convert = convert
        self._on_overflow = on_overflow
        # Each event, and the first amount of the changes that it continues.
        # To remove the first item of a `dict` that was long takes a scan of it.
        self._events: OrderedDict[Hashable, tuple[StreamEvent, Decimal | None]] = OrderedDict()
        self._numbers = itertools.count()
        self._is_conflated = False
        self._is_closed = False
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: StreamEvent) -> None:
        """Add an event. It never waits."""
        if self._is_closed or self._convert(event) is None:
            return
        overflows = not self._is_conflated and len(self._events) >= self._limit
        if overflows:
            self._is_conflated = True
            events, self._events = self._events, OrderedDict()
            for earlier, _ in events.values():
                self._merge(earlier)
        if self._is_conflated:
            self._merge(event)
        else:
            self._events[next(self._numbers)] = event, None
        self._ready.set()
        if overflows:
            self._on_overflow()

    def close(self) -> None:
        """End the iteration after the events that are in the buffer."""
        self._is_closed = True
        self._ready.set()

    async def __anext__(self) -> T:
        while not self._events:
            if self._is_closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        _, (event, before) = self._events.popitem(last=False)
        self._is_conflated &= bool(self._events)
        if before is not None and event.change is not None:
            event = attrs.evolve(event, change=attrs.evolve(event.change, before=before))
        item = self._convert(event)
        assert item is not None, "put has checked it"
        return item

    def _merge(self, event: StreamEvent) -> None:
        """Add an event in place of those that it continues."""
        change = event.change
        if change is None:
            self._events.pop(event.kind, None)
            self._events[event.kind] = event, None
            return
        key = change.account_id, change.currency, change.type
        _, before = self._events.pop(key, (None, None))
        self._events[key] = event, change.before if before is None else before
