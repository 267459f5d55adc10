"""Lists in windows and pages: every record once and in order, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
from bisect import insort
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from htx_async import (
    DecodeError,
    HistoryRecord,
    InvalidInputError,
    NoResponseError,
    Position,
    RecordIterator,
    TransactType,
)
from htx_async.request import Page
from htx_async.resources.paging import Listing
from htx_async.resources.windows import (
    Retention,
    Window,
    plan_windows,
    range_of,
    sent_start,
    time_at,
    to_milliseconds,
)
from tests.virtual import DAY

NOW_MS = int(DAY * 1000)
KEPT = Retention("the list", timedelta(milliseconds=7), timedelta(days=30))


def record(time: int, number: int) -> HistoryRecord:
    """Return a record at *time* (ms after `DAY`)."""
    amount = Decimal(number)
    kind = TransactType.TRADE
    return HistoryRecord(1, "usdt", number, amount, kind, amount, amount, time_at(NOW_MS + time))


def ms(each: HistoryRecord) -> int:
    return to_milliseconds(each.transact_time) - NOW_MS


@attrs.define
class Server:
    """
    A list of HTX: records by time, those of one time as they were added.

    *excludes_end*: whether a window ends before its end. *sorts*: whether it heeds `sort`, or
    returns the newest first. *key*: what identifies a record.
    """

    records: list[HistoryRecord]
    windows: tuple[Window, ...]
    size: int = 3
    newest_first: bool = False
    excludes_end: bool = False
    sorts: bool = True
    requests: list[tuple[int, int | None]] = attrs.field(factory=list)

    def add(self, each: HistoryRecord) -> None:
        insort(self.records, each, key=ms)

    async def fetch(self, _: int | None, number: int, from_id: int | None) -> Page[HistoryRecord]:
        self.requests.append((number, from_id))
        window = self.windows[number]
        last = window.end - self.excludes_end * (window.end != self.end)
        rows = [row for row in self.records if window.start <= ms(row) + NOW_MS <= last]
        if self.newest_first or not self.sorts:
            rows.reverse()
        ids = [row.record_id for row in rows]
        first = 0 if from_id is None else ids.index(from_id)
        following = ids[first + self.size] if len(ids) > first + self.size else None
        return Page(tuple(rows[first : first + self.size]), following)

    @property
    def end(self) -> int:
        return max((window.end for window in self.windows), default=0)

    def listing(self, key: Callable[[HistoryRecord], str] | None = None) -> Listing[HistoryRecord]:
        edges = [each.start if self.newest_first else each.end for each in self.windows[:-1]]
        return Listing(
            len(self.windows),
            self.fetch,
            key or (lambda each: str(each.record_id)),
            lambda each: to_milliseconds(each.transact_time),
            edges,
            self.newest_first,
        )

    def iterator(self, position: Position | None = None, **options: Any) -> Any:
        return RecordIterator(self.listing(), position or Position("list"), **options)


def server(times: list[int], start: int = -30, end: int = 0, **options: Any) -> Server:
    """Return a server with a record at each of *times*; windows have 7 ms."""
    whole = Window(NOW_MS + start, NOW_MS + end)
    newest_first = options.get("newest_first", False)
    windows = plan_windows(whole, KEPT.window, newest_first=newest_first)
    rows = [record(time, number) for number, time in enumerate(sorted(times), 1)]
    return Server(rows, windows, **options)


TIMES = st.integers(-30, 0)
STEPS = st.lists(st.none() | st.just("resume") | TIMES, max_size=25)
"""Before each record: nothing, resume the list from its position as JSON, or add a record."""


@example(  # a page of equal times from a server that ignores `sort`, and a resumed one
    times=[0, 0],
    steps=["resume", -1],
    size=1,
    newest_first=False,
    excludes_end=False,
    sorts=False,
)
@example(  # records of the time of the position are in two pages
    times=[0, -3, -3],
    steps=[None, "resume", -2, -3],
    size=2,
    newest_first=True,
    excludes_end=False,
    sorts=True,
)
@given(
    times=st.lists(TIMES | st.sampled_from([-23, -16, -9, -30, 0]), max_size=30),
    steps=STEPS,
    size=st.integers(1, 5),
    newest_first=st.booleans(),
    excludes_end=st.booleans(),
    sorts=st.booleans(),
)
def test_iterator_returns_each_record_once_in_order(
    times: list[int],
    steps: list[int | str | None],
    size: int,
    newest_first: bool,
    excludes_end: bool,
    sorts: bool,
) -> None:
    """Also with equal times at the edges of windows, new records meanwhile, and when resumed."""
    source = server(
        times, size=size, newest_first=newest_first, excludes_end=excludes_end, sorts=sorts
    )
    original = list(source.records)

    async def read() -> list[HistoryRecord]:
        iterator, records = source.iterator(), []
        remaining = iter(steps)
        async for each in iterator:
            records.append(each)
            step = next(remaining, None)
            if step == "resume":
                position = Position.from_json(iterator.position.to_json())
                return records + await resumed(position, list(remaining))
            if isinstance(step, int):
                source.add(record(step, len(source.records) + 1))
        return records

    async def resumed(position: Position, further: list[int | str | None]) -> list[HistoryRecord]:
        iterator, records = source.iterator(position), []
        for step in further:
            if isinstance(step, int):
                source.add(record(step, len(source.records) + 1))
            elif step == "resume":
                iterator = source.iterator(iterator.position)
            else:
                each = await anext(iterator, None)
                if each is None:
                    break
                records.append(each)
        return records + [each async for each in iterator]

    records = asyncio.run(read())
    numbers = [each.record_id for each in records]
    assert len(numbers) == len(set(numbers))
    assert {each.record_id for each in original} <= set(numbers)
    assert [ms(each) for each in records] == sorted(map(ms, records), reverse=newest_first)


@given(
    times=st.lists(TIMES, max_size=25),
    copies=st.integers(1, 3),
    stops=st.integers(0, 30),
    size=st.integers(1, 5),
)
def test_iterator_returns_equal_records_as_often_as_there_are(
    times: list[int], copies: int, stops: int, size: int
) -> None:
    """In the ledger several records may have the same key. The list is resumed once."""
    source = server(times * copies, size=size)
    listing = source.listing(key=lambda each: str(ms(each)))

    async def read() -> list[HistoryRecord]:
        iterator = RecordIterator(listing, Position("list"))
        records = [each for _ in range(stops) if (each := await anext(iterator, None))]
        return records + list(await RecordIterator(listing, iterator.position).collect())

    records = asyncio.run(read())
    assert [each.record_id for each in records] == [each.record_id for each in source.records]


def test_windows_cover_the_range_and_share_edges() -> None:
    assert plan_windows(Window(0, 20), KEPT.window, newest_first=False) == (
        Window(0, 7),
        Window(7, 14),
        Window(14, 20),
    )
    assert plan_windows(Window(0, 14), KEPT.window, newest_first=True) == (
        Window(7, 14),
        Window(0, 7),
    )
    assert plan_windows(Window(5, 5), KEPT.window, newest_first=False) == (Window(5, 5),)
    assert plan_windows(Window(6, 5), KEPT.window, newest_first=False) == ()


@pytest.mark.parametrize(("start", "end"), [(0, 0), (0, 1), (3, 7), (0, 7), (0, 8), (1, 99)])
def test_windows_are_at_most_as_long_as_htx_accepts(start: int, end: int) -> None:
    windows = plan_windows(Window(start, end), KEPT.window, newest_first=False)
    assert all(0 <= window.end - window.start <= 7 for window in windows)
    assert (windows[0].start, windows[-1].end) == (start, end)


def test_range_is_rounded_inwards_to_milliseconds() -> None:
    """HTX's times are milliseconds: a record before `start` must not be included."""
    start = time_at(NOW_MS - 10) + timedelta(microseconds=1)
    end = time_at(NOW_MS - 5) + timedelta(microseconds=999)
    assert range_of(start, end, DAY, KEPT) == Window(NOW_MS - 9, NOW_MS - 5)
    exact = time_at(NOW_MS - 10)
    assert range_of(exact, exact, DAY, KEPT) == Window(NOW_MS - 10, NOW_MS - 10)


def test_range_without_end_ends_now() -> None:
    start = time_at(NOW_MS - 10)
    later = time_at(NOW_MS + 10**9)
    for end in (None, later):
        assert range_of(start, end, DAY, KEPT) == Window(NOW_MS - 10, NOW_MS)


def test_range_beyond_what_htx_keeps_names_the_limit() -> None:
    earliest = time_at(NOW_MS) - KEPT.kept
    assert range_of(earliest, None, DAY, KEPT).start == to_milliseconds(earliest)
    # Computed a moment ago.
    assert range_of(earliest - timedelta(minutes=1), None, DAY, KEPT).end == NOW_MS
    with pytest.raises(
        InvalidInputError,
        match=r"^start must be within the last 30 days, for which HTX keeps the list: got "
        r"2023-10-15 22:12:19 UTC, the earliest is 2023-10-15 22:13:20 UTC$",
    ):
        range_of(earliest - timedelta(seconds=61), None, DAY, KEPT)


@pytest.mark.parametrize(("end", "limit"), [(-20, "end"), (None, "now"), (10**6, "now")])
def test_range_that_begins_after_its_end_is_rejected(end: int | None, limit: str) -> None:
    start = time_at(NOW_MS - 10) if limit == "end" else time_at(NOW_MS + 10)
    with pytest.raises(InvalidInputError, match=f"^start must not be later than {limit}: got"):
        range_of(start, None if end is None else time_at(NOW_MS + end), DAY, KEPT)


def test_start_that_htx_no_longer_keeps_is_moved() -> None:
    """The first window of 30 days is too old when its request arrives; the others are not."""
    earliest = NOW_MS - int(KEPT.kept.total_seconds() * 1000)
    assert sent_start(Window(earliest, NOW_MS), DAY, KEPT.kept) == earliest
    assert sent_start(Window(earliest - 1, NOW_MS), DAY, KEPT.kept) == earliest + 5000
    assert sent_start(Window(earliest - 9, earliest - 2), DAY, KEPT.kept) == earliest - 2


async def test_iterator_is_lazy_and_holds_one_page() -> None:
    source = server(list(range(-30, 0)), size=3)
    iterator = source.iterator()
    assert source.requests == []
    for _ in range(3):
        await anext(iterator)
    assert source.requests == [(0, None)]
    await anext(iterator)
    assert source.requests == [(0, None), (0, 4)]


async def test_iterator_reports_windows_after_their_last_record() -> None:
    source = server([-29, -28, 0])
    progress: list[Any] = []
    iterator = source.iterator(on_progress=lambda *numbers: progress.append(numbers))
    async for each in iterator:
        progress.append(ms(each))  # noqa: PERF401 - the callback appends, too
    assert progress == [-29, -28, (1, 5), (2, 5), (3, 5), (4, 5), 0, (5, 5)]


async def test_resumed_iterator_reports_the_remaining_windows() -> None:
    source = server([-29, 0])
    iterator = source.iterator()
    await anext(iterator)
    progress: list[Any] = []
    on_progress = lambda *numbers: progress.append(numbers)  # noqa: E731 - shorter
    assert len(await source.iterator(iterator.position, on_progress=on_progress).collect()) == 1
    assert progress == [(2, 5), (3, 5), (4, 5), (5, 5)]


async def test_iterator_at_its_end_stays_there() -> None:
    source = server([-1])
    iterator = source.iterator()
    assert len(await iterator.collect()) == 1
    sent = len(source.requests)
    assert await iterator.collect() == ()
    assert await source.iterator(iterator.position).collect() == ()
    assert len(source.requests) == sent


async def test_closed_iterator_ends_and_keeps_its_position() -> None:
    source = server([-29, -28, -27])
    async with aclosing(source.iterator()) as iterator:
        await anext(iterator)
    assert await iterator.collect() == ()
    remaining = await source.iterator(iterator.position).collect()
    assert [ms(each) for each in remaining] == [-28, -27]


async def test_page_that_failed_is_requested_again() -> None:
    source = server([-29, -28, -27, -26])
    iterator = source.iterator()
    for _ in range(3):
        await anext(iterator)
    fetch = source.fetch

    async def fail(*_: Any) -> Any:
        raise NoResponseError("cut")  # noqa: EM101 - a test

    object.__setattr__(iterator._listing, "fetch", fail)
    for _ in range(2):
        with pytest.raises(NoResponseError):
            await anext(iterator)
    object.__setattr__(iterator._listing, "fetch", fetch)
    assert ms(await anext(iterator)) == -26


async def test_cancelled_step_loses_nothing() -> None:
    source = server([-29, -28])
    iterator = source.iterator()
    entered, fetch = asyncio.Event(), source.fetch

    async def stuck(*_: Any) -> Any:
        entered.set()
        await asyncio.Event().wait()

    object.__setattr__(iterator._listing, "fetch", stuck)
    step = asyncio.ensure_future(anext(iterator))
    await entered.wait()
    with pytest.raises(InvalidInputError, match="used by another task"):
        await anext(iterator)
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    object.__setattr__(iterator._listing, "fetch", fetch)
    assert len(await iterator.collect()) == 2


@pytest.mark.parametrize("newest_first", [False, True])
async def test_resumed_iterator_ends_where_htx_keeps_no_more(newest_first: bool) -> None:
    """The record at its position may have been removed: the older ones have been, too."""
    source = server([-29, -28, -27, -26], size=10, newest_first=newest_first)
    iterator = source.iterator()
    for _ in range(2):
        await anext(iterator)
    del source.records[:2]
    remaining = await source.iterator(iterator.position).collect()
    assert [ms(each) for each in remaining] == ([] if newest_first else [-27, -26])


async def test_next_page_that_is_the_same_one_is_an_error() -> None:
    """Else the iterator would read it for ever."""

    async def fetch(*_: Any) -> Page[HistoryRecord]:
        return Page((record(-2, 1), record(-1, 2)), 7)

    listing = Listing(1, fetch, lambda each: str(each.record_id), ms)
    iterator = RecordIterator(listing, Position("list"))
    for _ in range(2):
        await anext(iterator)
    with pytest.raises(DecodeError, match="the next page is the same one"):
        await anext(iterator)


def test_position_is_small_and_plain() -> None:
    """A position in a page has the keys of one time, whatever the size of the page."""
    source = server([-29] * 100 + [-28] * 300, size=500)

    async def read() -> Position:
        iterator = source.iterator()
        for _ in range(102):
            await anext(iterator)
        position: Position = iterator.position
        return position

    position = asyncio.run(read())
    assert (position.window, position.last) == (0, NOW_MS - 28)
    assert position.last_keys == ("101", "102")
    assert len(json.dumps(position.to_dict())) < 400
    assert Position.from_dict(json.loads(position.to_json())) == position
