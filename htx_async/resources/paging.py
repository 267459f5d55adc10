"""
Lists that HTX returns in windows and pages: what is read next, and which records are new.

`PageReader` holds the rules and does no I/O; `RecordIterator` requests the pages.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

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
        time: Returns the time by which the records are ordered; `None`: HTX's order is kept.
        edges: For each window, the time that it shares with the next one.
        newest_first: Whether the newest record is the first.
    """

    windows: int
    fetch: Callable[[int | None, int, int | None], Awaitable[Page[R]]]
    key: Callable[[R], str]
    time: Callable[[R], datetime] | None = None
    edges: Sequence[datetime] = ()
    newest_first: bool = False


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
        self._counts: Counter[str] = Counter()
        self.window = position.window
        self.from_id = position.from_id
        self._last, self._last_time = position.last, position.last_time
        self._repeats = position.repeats
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
            last_time=self._last_time,
            repeats=self._repeats,
            skip=tuple(self._skip.elements()),
            edge=tuple(self._edge),
        )

    def feed(self, page: Page[R]) -> None:
        """Add the page that `window` and `from_id` identify."""
        self._next_id = page.next_id
        self._records.extend(self._after_last(page.records))
        if not self._records:
            self._end_page()

    def take(self) -> R | None:
        """Return the next record; `None`: the next page is needed, or the list is complete."""
        while self._records:
            record = self._records.popleft()
            is_new = self._count(record)
            if not self._records:
                self._end_page()
            if is_new:
                return record
        return None

    def drop(self) -> None:
        """Forget the records that were not taken."""
        self._records.clear()
        self._counts.clear()

    def _after_last(self, records: Sequence[R]) -> Sequence[R]:
        """Return the records of a page after the last one that was returned."""
        if not self._last:
            return records
        seen: Counter[str] = Counter()
        for index, record in enumerate(records, 1):
            seen[key := self._listing.key(record)] += 1
            if key == self._last and seen[key] == self._repeats:
                self._counts = seen
                return records[index:]
        time, last_time = self._listing.time, self._last_time
        if time is None or last_time is None:
            return records
        # HTX does not keep that record any more: what is older was returned, too.
        if self._listing.newest_first:
            return [record for record in records if time(record) < last_time]
        return [record for record in records if time(record) > last_time]

    def _count(self, record: R) -> bool:
        """Advance to a record, and return whether it is new."""
        key, time = self._listing.key(record), self._listing.time
        self._counts[key] += 1
        self._last, self._repeats = key, self._counts[key]
        if time is not None:
            self._last_time = time(record)
            is_last_window = self.window >= len(self._listing.edges)
            if not is_last_window and self._last_time == self._listing.edges[self.window]:
                self._edge.append(key)
        if self._skip[key] > 0:
            self._skip[key] -= 1
            return False
        return True

    def _end_page(self) -> None:
        if self._next_id is None:
            self.window += 1
            self._skip, self._edge = Counter(self._edge), []
        self.from_id, self._next_id = self._next_id, None
        self._last, self._last_time, self._repeats = "", None, 0
        self._counts.clear()


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
        self._account_id = position.account_id
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
        """Where the list continues: after the last record that was returned."""
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
        if from_id is not None or self._is_sorted(page):
            return page
        records = list(page.records)
        while page.next_id is not None:
            page = await self._fetch(window, page.next_id)
            records += page.records
        whole = Page(tuple(records))
        if self._is_sorted(whole):
            return whole
        records.reverse()  # so that records of the same time are reversed, too
        key: Any = self._listing.time
        return Page(tuple(sorted(records, key=key, reverse=self._listing.newest_first)))

    async def _fetch(self, window: int, from_id: int | None) -> Page[R]:
        if self._account_id is None and self._find_account is not None:
            self._account_id = await self._find_account()
        page = await self._listing.fetch(self._account_id, window, from_id)
        if from_id is not None and page.next_id == from_id:
            msg = "the response cannot be decoded: the next page is the same one"
            raise DecodeError(msg, path="next-id")
        return page

    def _is_sorted(self, page: Page[R]) -> bool:
        """Return whether the first page of a window, or all of it, is in the order of the list."""
        if self._listing.time is None:
            return True
        times = list(map(self._listing.time, page.records))
        if page.next_id is not None and len(set(times)) <= 1:
            return False  # the order is not known: the next page may be older, or newer
        return times == sorted(times, reverse=self._listing.newest_first)
