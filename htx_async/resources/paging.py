"""
Lists that HTX returns in windows and pages: what is read next, and which records are new.

`PageReader` holds the rules and does no I/O; `RecordIterator` requests the pages.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, Self, TypeVar

import attrs

from htx_async.errors import DecodeError, InvalidInputError
from htx_async.models.position import Position
from htx_async.request import Page

R = TypeVar("R")

Progress = Callable[[int, int], object]
"""Called with the number of windows that were read, and that of all windows."""


@attrs.frozen
class Listing(Generic[R]):
    """
    How a list is read.

    Attributes:
        windows: Number of its windows.
        fetch: Requests a page: account id, number of the window, and what identifies the page.
        key: Returns what identifies a record.
        order: Returns a number by which the records are ordered: the time, or an id.
        edges: For each window but the last one, what it shares with the next one in that order.
        newest_first: Whether the records are in descending order.
    """

    windows: int
    fetch: Callable[[int | None, int, int | None], Awaitable[Page[R]]]
    key: Callable[[R], str]
    order: Callable[[R], int]
    edges: Sequence[int] = ()
    newest_first: bool = False

    def in_order(self, records: Sequence[R]) -> list[R]:
        """Return the records in the order of the list; those that are equal in it stay."""
        return sorted(records, key=self.order, reverse=self.newest_first)

    def is_later(self, order: int, last: int) -> bool:
        """Return whether *order* comes after *last*."""
        return order < last if self.newest_first else order > last


class PageReader(Generic[R]):
    """
    Takes the pages of a list, and returns each of their records once.

    Windows share their edges, so the records at an edge may be in both; and a list that is resumed
    begins with a page of which some records were returned. Records are counted, not only
    remembered: two may be equal.
    """

    def __init__(self, listing: Listing[R], position: Position) -> None:
        self._listing = listing
        self._start = position
        self._records: deque[R] = deque()
        self._next_id: int | None = None
        self.window: int = position.window
        self.from_id: int | None = position.from_id
        self._last, self._last_keys = position.last, list(position.last_keys)
        self._is_resuming = position.last is not None
        self._returned = Counter(position.last_keys)
        self._skip = Counter(position.skip)
        self._edge = list(position.edge)

    @property
    def is_done(self) -> bool:
        """Whether all windows were read, and all records taken."""
        return self.window >= self._listing.windows

    @property
    def position(self) -> Position:
        """Where the list continues, if it is resumed with the records that were not taken."""
        return attrs.evolve(
            self._start,
            window=self.window,
            from_id=self.from_id,
            last=self._last,
            last_keys=tuple(self._last_keys),
            skip=tuple(self._skip.elements()),
            edge=tuple(self._edge),
        )

    def feed(self, page: Page[R]) -> None:
        """Add the page that `window` and `from_id` identify."""
        self._next_id = page.next_id
        records = self._listing.in_order(page.records)
        if self._is_resuming:
            records = self._after_last(records)
        self._records.extend(records)
        if not records:
            self._end_page()

    def take(self) -> R | None:
        """Return the next record; `None`: the next page is needed, or the list is complete."""
        while self._records:
            record = self._records.popleft()
            is_new = self._advance(record)
            if not self._records:
                self._end_page()
            if is_new:
                return record
        return None

    def drop(self) -> None:
        """Forget the records that were not taken."""
        self._records.clear()

    def _after_last(self, records: Sequence[R]) -> list[R]:
        """
        Return the records after the last one that was returned.

        What has been added before it meanwhile is not returned: it would be out of order. The
        record may now be in a later page of its window.
        """
        assert self._last is not None
        listing, remaining = self._listing, list[R]()
        for record in records:
            order, key = listing.order(record), listing.key(record)
            if order == self._last and self._returned[key] > 0:
                self._returned[key] -= 1
            elif order == self._last or listing.is_later(order, self._last):
                remaining.append(record)
                self._is_resuming &= order == self._last
        return remaining

    def _advance(self, record: R) -> bool:
        """Advance to a record, and return whether it is new."""
        listing = self._listing
        key, order = listing.key(record), listing.order(record)
        if order != self._last:
            self._last, self._last_keys = order, []
        self._last_keys.append(key)
        if self.window < len(listing.edges) and order == listing.edges[self.window]:
            self._edge.append(key)
        if self._skip[key] > 0:
            self._skip[key] -= 1
            return False
        return True

    def _end_page(self) -> None:
        self.from_id = self._next_id
        if self.from_id is None:
            self.window += 1
            self._skip, self._edge = Counter(self._edge), []
            self._is_resuming = False
        self._last_keys = list(self._returned.elements()) if self._is_resuming else []
        self._last = self._last if self._is_resuming else None


class RecordIterator(AsyncIterator[R]):
    """
    Asynchronous iterator of the records of a list.

    It is lazy: a page is requested when the records before it were taken, by an ordinary call with
    the client's limits, retries and `timeout`. If a page fails, the next step requests it again.
    A cancelled step loses nothing, and nothing runs between two steps. One task at a time may
    use it.
    """

    def __init__(
        self,
        listing: Listing[R],
        position: Position,
        find_account: Callable[[], Awaitable[int]] | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        self._listing = listing
        self._reader = PageReader(listing, position)
        self._account_id: int | None = position.account_id
        self._find_account = find_account
        self._on_progress = on_progress
        self._reported = position.window
        self._is_running = self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        if self._is_running:
            msg = "the iterator is used by another task: create one for each task"
            raise InvalidInputError(msg)
        self._is_running = True
        try:
            return await self._next()
        finally:
            self._is_running = False

    @property
    def position(self) -> Position:
        """Place after the last record that was returned, at which the list continues."""
        return attrs.evolve(self._reader.position, account_id=self._account_id)

    async def collect(self) -> tuple[R, ...]:
        """
        Return all remaining records.

        Raises:
            HTXError: A page failed. `position` is after the last page that did not: its records
                are lost, so iterate if you want to resume.
        """
        return tuple([record async for record in self])

    async def aclose(self) -> None:
        """End the iteration. Its `position` remains."""
        self._is_closed = True
        self._reader.drop()

    async def _next(self) -> R:
        reader = self._reader
        while not self._is_closed:
            record = reader.take()
            if record is not None:
                return record
            self._report()
            if reader.is_done:
                break
            page = await self._read_page(reader.window, reader.from_id)
            reader.feed(page)
        raise StopAsyncIteration

    def _report(self) -> None:
        while self._reported < self._reader.window:
            self._reported += 1
            if self._on_progress is not None:
                self._on_progress(self._reported, self._listing.windows)

    async def _read_page(self, window: int, from_id: int | None) -> Page[R]:
        """Return a page in the order of the list: all of a window that HTX sorts otherwise."""
        page = await self._fetch(window, from_id)
        if from_id is not None or page.next_id is None or self._is_sorted(page.records):
            return page
        records = list(page.records)
        while page.next_id is not None:
            page = await self._fetch(window, page.next_id)
            records += page.records
        return Page(tuple(records))

    async def _fetch(self, window: int, from_id: int | None) -> Page[R]:
        if self._find_account is not None:
            account_id = await self._find_account()
            if self._account_id not in (None, account_id):
                msg = f"resume is a position of account {self._account_id}, not of {account_id}"
                raise InvalidInputError(msg)
            self._account_id, self._find_account = account_id, None
        page = await self._listing.fetch(self._account_id, window, from_id)
        if from_id is not None and page.next_id == from_id:
            msg = "the response cannot be decoded: the next page is the same one"
            raise DecodeError(msg, path="next-id")
        return page

    def _is_sorted(self, records: Sequence[R]) -> bool:
        """Return whether a page that is not the only one shows the order of the list."""
        orders = list(map(self._listing.order, records))
        if len(set(orders)) <= 1:
            return False  # the next page may be before or after it
        return orders == sorted(orders, reverse=self._listing.newest_first)
