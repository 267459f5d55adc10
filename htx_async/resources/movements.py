"""
How the history and the ledger of an account, and deposits and withdrawals are read.

HTX, "Get Account History":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec4b85b-7773-11ed-9966-0242ac110003
HTX, "Get Account Ledger":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec501f7-7773-11ed-9966-0242ac110003
HTX, "Search for Existed Withdraws and Deposits":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec4f050-7773-11ed-9966-0242ac110003
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from typing import Final, Generic, TypeVar

import msgspec

from htx_async import validation
from htx_async.errors import DecodeError, InvalidInputError
from htx_async.models.movements import DepositWithdrawal, HistoryRecord, LedgerRecord
from htx_async.models.position import Position
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Page
from htx_async.resources.paging import Listing, RecordIterator
from htx_async.resources.raw import DEFAULT_LIMIT
from htx_async.resources.windows import (
    EPOCH,
    Retention,
    Window,
    plan_windows,
    range_in_milliseconds,
    range_of,
    sent_start,
    time_at,
    to_milliseconds,
)
from htx_async.validation import aware_datetime, enum_value, enum_values

R = TypeVar("R", bound=HistoryRecord | LedgerRecord)
Params = tuple[tuple[str, str], ...]

DEPOSITS_WITHDRAWALS: Final = Endpoint(
    "/v1/query/deposit-withdraw",
    RateLimit(20, per=2.0),  # "20times/2s", HTX's page of it
    tuple[DepositWithdrawal, ...],
)
PAGE_SIZE: Final = 500
"""Records of a page: the most that HTX's pages allow."""
_TYPES: Final = ("deposit", "withdraw")


class TimedList(msgspec.Struct, Generic[R], frozen=True):
    """
    A list of HTX that is read in windows of time.

    Attributes:
        name: Its name in positions.
        endpoint: Where its pages are requested.
        retention: Longest window, and age of a record, HTX's page of it.
        key: Returns what identifies a record.
        names: Parameters for the account, start, end, page size, currency, types and next page.
        is_of_account: Whether every record has the id of the account that was requested.
    """

    name: str
    endpoint: Endpoint[Page[R]]
    retention: Retention
    key: Callable[[R], str]
    names: tuple[str, str, str, str, str, str, str]
    is_of_account: bool


def _time(record: HistoryRecord | LedgerRecord) -> int:
    return to_milliseconds(record.transact_time)


def _history_key(record: HistoryRecord) -> str:
    return str(record.record_id)


def _ledger_key(record: LedgerRecord) -> str:
    # HTX's example has the transaction id 0 in all records. Both sides of a transfer between two
    # accounts may have one id; they differ by account and sign.
    parts = (_time(record), record.transact_id, record.account_id, record.currency)
    amount = f"{record.transact_amt:f}"
    return "/".join(map(str, (*parts, amount, record.transferer, record.transferee)))


HISTORY: Final = Endpoint(
    "/v1/account/history",
    RateLimit(5, per=2.0),  # "5times/2s", HTX's page of it
    Page[HistoryRecord],
)
LEDGER: Final = Endpoint(
    "/v2/account/ledger",
    DEFAULT_LIMIT,  # HTX's page of it states none
    Page[LedgerRecord],
)
HISTORY_LIST: Final = TimedList(
    "history",
    HISTORY,
    Retention("the history", timedelta(hours=1), timedelta(days=30)),
    _history_key,
    ("account-id", "start-time", "end-time", "size", "currency", "transact-types", "from-id"),
    is_of_account=True,
)
LEDGER_LIST: Final = TimedList(
    "ledger",
    LEDGER,
    Retention("the ledger", timedelta(days=10), timedelta(days=180)),
    _ledger_key,
    ("accountId", "startTime", "endTime", "limit", "currency", "transactTypes", "fromId"),
    is_of_account=False,
)


class TimedQuery(msgspec.Struct, Generic[R], frozen=True):
    """Arguments of a list with times, checked."""

    source: TimedList[R]
    now: Callable[[], float]
    currency: str | None
    types: str
    newest_first: bool
    position: Position
    windows: tuple[Window, ...]

    @classmethod
    def check(
        cls,
        source: TimedList[R],
        now: Callable[[], float],
        *,
        start: object,
        end: object,
        currency: str | None,
        types: Collection[str],
        newest_first: object,
        resume: object,
    ) -> TimedQuery[R]:
        """Check the arguments; raise `InvalidInputError` before anything is sent."""
        descending = validation.boolean(newest_first, "newest_first")
        if currency is not None:
            currency = enum_value(currency, "currency", "usdt")
        kinds = ",".join(sorted(enum_values(types, "types", "transfer")))
        text = _describe(source.name, currency=currency, types=kinds, newest_first=descending)
        position = resumed_position(resume, text)
        if resume is None:
            whole = range_of(start, end, now(), source.retention)
            position = Position(text, start=time_at(whole.start), end=time_at(whole.end))
        else:
            whole = _check_range(position, start, end, now())
        windows = plan_windows(whole, source.retention.window, newest_first=descending)
        return cls(source, now, currency, kinds, descending, position, windows)

    def listing(self, send: Callable[[Params, int], Awaitable[Page[R]]]) -> Listing[R]:
        """Return how the list is read; *send* gets the parameters and the account id."""
        starts: dict[int, int] = {}

        async def fetch(account_id: int | None, window: int, from_id: int | None) -> Page[R]:
            if from_id is None or window not in starts:  # HTX: no change in the next page
                kept = self.source.retention.kept
                starts[window] = sent_start(self.windows[window], self.now(), kept)
            params = self.params(account_id, window, starts[window], from_id)
            return await send(params, account_id or 0)

        edges = [each.start if self.newest_first else each.end for each in self.windows[:-1]]
        count, descending = len(self.windows), self.newest_first
        return Listing(count, fetch, self.source.key, _time, edges, descending)

    def params(
        self, account_id: int | None, window: int, start: int, from_id: int | None
    ) -> Params:
        """Return the parameters of a page in the window of this number."""
        end, types = self.windows[window].end, self.types or None
        values = (account_id, start, end, PAGE_SIZE, self.currency, types, from_id)
        # The ledger's page calls it deprecated: see `RecordIterator` for one that ignores it.
        sort = ("sort", "desc" if self.newest_first else "asc")
        return (sort, *_without_none(self.source.names, values))


def _without_none(names: Sequence[str], values: Sequence[object]) -> Params:
    pairs = zip(names, values, strict=True)
    return tuple((name, str(value)) for name, value in pairs if value is not None)


def deposits_and_withdrawals(
    send: Callable[[Params], Awaitable[tuple[DepositWithdrawal, ...]]],
    kind: str | None,
    currency: str | None,
    newest_first: object,
    resume: object,
) -> RecordIterator[DepositWithdrawal]:
    """Return an iterator of deposits, withdrawals or both. A type is read as a window is."""
    descending = validation.boolean(newest_first, "newest_first")
    if kind is not None and enum_value(kind, "type", "deposit") not in _TYPES:
        msg = f"type must be {' or '.join(_TYPES)}, or None for both: got another word"
        raise InvalidInputError(msg)
    if currency is not None:
        currency = enum_value(currency, "currency", "usdt")
    name = "deposits_and_withdrawals"
    text = _describe(name, type=kind, currency=currency, newest_first=descending)
    position = resumed_position(resume, text)
    kinds = _TYPES if kind is None else (kind,)

    async def fetch(_: int | None, window: int, from_id: int | None) -> Page[DepositWithdrawal]:
        direction = "next" if descending else "prev"
        params = _without_none(
            ("type", "direct", "size", "currency", "from"),
            (kinds[window], direction, PAGE_SIZE, currency, from_id),
        )
        return page_after(from_id, await send(params), newest_first=descending)

    listing: Listing[DepositWithdrawal] = Listing(
        len(kinds),
        fetch,
        lambda record: str(record.id),
        lambda record: record.id,
        newest_first=descending,
    )
    return RecordIterator(listing, position)


def page_after(
    from_id: int | None, records: tuple[DepositWithdrawal, ...], *, newest_first: bool
) -> Page[DepositWithdrawal]:
    """
    Return the records after the one with *from_id*, which ended the page before.

    HTX does not document whether that record is repeated, nor which page is the last. So the
    list ends with a page that contains nothing else.

    Raises:
        DecodeError: The records are not those after *from_id*.
    """
    new = tuple(record for record in records if record.id != from_id)
    if from_id is not None and any((record.id > from_id) == newest_first for record in new):
        msg = "the response cannot be decoded: the next page does not continue the list"
        raise DecodeError(msg, path="data[].id", endpoint=DEPOSITS_WITHDRAWALS.name)
    return Page(new, new[-1].id if new else None)


def _describe(name: str, **filters: str | bool | None) -> str:
    """Return the text that identifies a list: a position is of the list with the same one."""
    values = {key: value for key, value in filters.items() if value}
    return " ".join((name, *(f"{key}={value}".lower() for key, value in values.items())))


def resumed_position(resume: object, text: str) -> Position:
    """Return the position to begin with: *resume*, which must be of the list *text*."""
    if resume is None:
        return Position(text)
    position = validation.instance_of(resume, Position, "resume", "a Position")
    if position.list != text:
        other = f"{position.list!r:.200}, not of {text!r}"
        msg = f"resume is a position of {other}: pass the same arguments"
        raise InvalidInputError(msg)
    return position


def _check_range(position: Position, start: object, end: object, now: float) -> Window:
    """Return the range of a position; *start* and *end* must be those of the call it is from."""
    first = aware_datetime(start, "start")
    last = None if end is None else aware_datetime(end, "end")
    if position.start is None or position.end is None:
        msg = "resume has no start and end: pass the position of an iterator"
        raise InvalidInputError(msg)
    whole = Window(to_milliseconds(position.start), to_milliseconds(position.end))
    is_future = last is not None and last > EPOCH + timedelta(seconds=now)
    if last is not None and not is_future and to_milliseconds(last) != whole.end:
        msg = f"end must be that of the list that resume is from: omit it, or pass {position.end}"
        raise InvalidInputError(msg)
    if range_in_milliseconds(first, first).start == whole.start:
        return whole
    msg = f"start must be that of the list that resume is from: pass {position.start}"
    raise InvalidInputError(msg)
