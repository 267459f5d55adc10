"""Time ranges, divided into the windows that HTX accepts. Pure rules; times are milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from htx_async.errors import InvalidInputError
from htx_async.validation import aware_datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FORMAT = "%Y-%m-%d %H:%M:%S UTC"
_CLOCK_TOLERANCE = timedelta(minutes=1)
"""A start that was computed a moment ago, or by another clock, is just outside the range."""
_MARGIN = 5_000
"""Milliseconds until the request arrives, and that HTX's clock may be ahead."""


class Window(msgspec.Struct, frozen=True):
    """Time from *start* to *end*, both included, in milliseconds since 1970."""

    start: int
    end: int


class Retention(msgspec.Struct, frozen=True):
    """
    Limits of a list.

    Attributes:
        name: What HTX keeps, for messages.
        window: Longest window of one request.
        kept: How long HTX keeps a record.
    """

    name: str
    window: timedelta
    kept: timedelta


def range_of(start: object, end: object, now: float, retention: Retention) -> Window:
    """
    Return the range from *start* to *end* (`None`: now), rounded inwards to milliseconds.

    Raises:
        InvalidInputError: A time is not an aware datetime, they are in the wrong order, or HTX
            keeps nothing from *start* any more.
    """
    first, present = aware_datetime(start, "start"), EPOCH + timedelta(seconds=now)
    last = present if end is None else aware_datetime(end, "end")
    earliest = present - retention.kept
    if first < earliest - _CLOCK_TOLERANCE:
        msg = (
            f"start must be within the last {retention.kept.days} days, for which HTX keeps "
            f"{retention.name}: got {first:{_FORMAT}}, the earliest is {earliest:{_FORMAT}}"
        )
        raise InvalidInputError(msg)
    last, limit = (last, "end") if last < present else (present, "now")  # no record is newer
    if first > last:
        got = f"got {first:{_FORMAT}}, {limit} is {last:{_FORMAT}}"
        msg = f"start must not be later than {limit}: {got}"
        raise InvalidInputError(msg)
    return range_in_milliseconds(first, last)


def range_in_milliseconds(first: datetime, last: datetime) -> Window:
    """Return the whole milliseconds from *first* to *last*."""
    return Window(-((EPOCH - first) // _MILLISECOND), to_milliseconds(last))


def plan_windows(whole: Window, length: timedelta, *, newest_first: bool) -> tuple[Window, ...]:
    """
    Return the windows of a range, in the order in which they are read.

    Neighbours share an edge, so that no record is lost if HTX excludes one end of a window. A
    range without a whole millisecond has no windows.
    """
    if whole.start > whole.end:
        return ()
    step = length // _MILLISECOND
    starts = range(whole.start, max(whole.end, whole.start + 1), step)
    windows = tuple(Window(start, min(start + step, whole.end)) for start in starts)
    return windows[::-1] if newest_first else windows


def sent_start(window: Window, now: float, kept: timedelta) -> int:
    """
    Return the start of a window as it is sent at *now* (seconds since 1970).

    HTX rejects a start that it does not keep any more, as the first one of a long range soon is.
    """
    earliest = int(now * 1000) - kept // _MILLISECOND
    if window.start >= earliest:
        return window.start
    return min(earliest + _MARGIN, window.end)


def to_milliseconds(time: datetime) -> int:
    """Return the milliseconds from 1970 to *time*, rounded down."""
    return (time - EPOCH) // _MILLISECOND


def time_at(milliseconds: int) -> datetime:
    """Return the time that is *milliseconds* after 1970, in UTC."""
    return EPOCH + timedelta(milliseconds=milliseconds)
