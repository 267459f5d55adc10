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
        last: Where the last record that was returned is in the order of that page: its time in
            milliseconds, or its id; `None`: none was returned.
        last_keys: Keys of the records of that page that were returned and are there, too.
        skip: Keys of records at the edge of this window that the previous one has returned.
        edge: Keys of records at the edge of the next window that this one has returned.
    """

    list: str
    account_id: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    window: int = 0
    from_id: int | None = None
    last: int | None = None
    last_keys: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    edge: tuple[str, ...] = ()
