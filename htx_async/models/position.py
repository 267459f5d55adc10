"""How far a list has been read."""

from __future__ import annotations

from datetime import datetime

import attrs

from htx_async.models.base import Model

__all__ = ["Position"]


@attrs.frozen(repr=False)
class Position(Model):
    """
    How far a `RecordIterator` has read its list: store it, and pass it as `resume=`.

    It contains no secret. Which fields matter depends on the list; `start` and `end` are public.

    Attributes:
        list: The list with its filters, such as `history currency=usdt`.
        account_id: The account; `None`: not looked up yet, or the list is not that of an account.
        start: First time of the list, in UTC; `None`: the list has no times.
        end: Last time of the list, in UTC; if `end` was omitted, the time of the call.
        window: Number of the windows that were read completely.
        from_id: Identifies the page in the window; `None`: the first one.
        last: Key of the last record of that page that was returned; "": none was.
        last_time: Time of that record.
        repeats: Number of records of that page that had this key.
        skip: Keys of records at the edge of this window that the previous one has returned.
        edge: Keys of records at the edge of the next window that this one has returned.
    """

    list: str
    account_id: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    window: int = 0
    from_id: int | None = None
    last: str = ""
    last_time: datetime | None = None
    repeats: int = 0
    skip: tuple[str, ...] = ()
    edge: tuple[str, ...] = ()
