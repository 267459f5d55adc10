"""
What happened during a gap, by HTX's account history.

REST shows the result of a gap only. `explain` divides a difference that was found after a gap into
the changes that HTX's history contains, so that `before` and `after` stay unbroken.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol

import attrs

from htx_async.clock import Clock
from htx_async.errors import HTXError
from htx_async.models.balance_diff import BalanceChange
from htx_async.models.decimals import difference
from htx_async.models.enums import BalanceType
from htx_async.models.movements import HistoryRecord
from htx_async.stream.events import StreamEvent

RESYNC: Final = "resync"
LONGEST_GAP: Final = timedelta(hours=1)
"""Longest gap that is filled: HTX's window of the history."""
MARGIN: Final = timedelta(seconds=5)
"""How far HTX's clock may be behind that of the client."""
TIMEOUT: Final = 10.0
"""Seconds after which changes are delivered as they are."""

_PUSHED = (BalanceType.TRADE, BalanceType.FROZEN)
_Key = tuple[int, str]


class History(Protocol):
    """The read of `htx.accounts` that fills gaps."""

    def history(self, account: int, *, start: datetime) -> AsyncIterable[HistoryRecord]:
        """Return the changes of an account's balances."""
        ...


def explain(change: BalanceChange, records: Sequence[HistoryRecord]) -> list[BalanceChange]:
    """
    Return the steps from `before` to `after` of a change that was found after a gap.

    Args:
        change: The change.
        records: Records of its account and currency from the time of the gap, in their order.
    """
    if change.type not in _PUSHED:
        return [change]
    amounts = [_amount(record, change.type) for record in records]
    # What was pushed before the gap is in the history, too: the steps begin after it.
    start = max((i + 1 for i, amount in enumerate(amounts) if amount == change.before), default=0)
    steps: list[BalanceChange] = []
    before = change.before
    for record, amount in zip(records[start:], amounts[start:], strict=True):
        if amount != before:
            cause = str(record.transact_type) or RESYNC
            steps.append(attrs.evolve(change, before=before, after=amount, cause=cause, seq=None))
            before = amount
    if before == change.after:
        steps[-1] = attrs.evolve(steps[-1], seq=change.seq)
    else:  # the history has no orders that were placed or cancelled
        steps.append(attrs.evolve(change, before=before))
    return steps


def _amount(record: HistoryRecord, kind: BalanceType) -> Decimal:
    """Return what a record shows: HTX names the total and the available amount."""
    if kind == BalanceType.TRADE:
        return record.avail_balance
    return difference(record.acct_balance, record.avail_balance)


class GapFiller:
    """
    Holds the changes of a gap back until the history was read, then delivers them in order.

    What the stream shows is not delayed. If the history cannot be read in time, or the gap is too
    long, the changes are delivered as they are.

    Args:
        history: Reads the history.
        clock: Source of time.
        deliver: Called with each event.
        limit: Events that are held back at most.
    """

    def __init__(
        self,
        history: History,
        clock: Clock,
        deliver: Callable[[StreamEvent], object],
        limit: int,
    ) -> None:
        self._history = history
        self._clock = clock
        self._deliver = deliver
        self._limit = limit
        self._held: list[StreamEvent] = []
        self._is_holding = False
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, event: StreamEvent) -> None:
        """Deliver an event, or hold it back."""
        if event.kind == "refused" or len(self._held) >= self._limit:
            self.release()
        if not self._is_holding:
            self._deliver(event)
            self._is_holding = event.kind == "gap" and event.until is None
            return
        self._held.append(event)
        if event.kind == "resynced" and self._task is None:
            self._task = asyncio.create_task(self._fill(event), name="htx_async gap")
            self._tasks.add(self._task)
            self._task.add_done_callback(self._tasks.discard)

    def release(self) -> None:
        """Deliver what is held back as it is, and end the read."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._deliver_all(self._take(), ())

    async def wait(self) -> None:
        """Wait until reads that were ended have ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _fill(self, gap: StreamEvent) -> None:
        changes = [event.change for event in self._held if event.change is not None]
        account_ids = {change.account_id for change in changes if change.cause == RESYNC}
        records: list[HistoryRecord] = []
        try:
            async with self._clock.timeout(TIMEOUT):
                for account_id in account_ids:
                    records += await self._read(account_id, gap)
        except (HTXError, TimeoutError):
            records = []  # a part of the records would explain a part of a change
        self._task = None
        held = self._take()
        end = held.index(gap) + 1
        self._deliver_all(held[:end], records)
        for event in held[end:]:
            self.put(event)  # there may be another gap

    async def _read(self, account_id: int, gap: StreamEvent) -> list[HistoryRecord]:
        if gap.since is None or gap.until is None or gap.until - gap.since > LONGEST_GAP:
            return []
        history = self._history.history(account_id, start=gap.since - MARGIN)
        return [record async for record in history]

    def _take(self) -> list[StreamEvent]:
        held, self._held, self._is_holding = self._held, [], False
        return held

    def _deliver_all(self, events: Iterable[StreamEvent], records: Iterable[HistoryRecord]) -> None:
        by_key = defaultdict[_Key, list[HistoryRecord]](list)
        for record in records:
            by_key[record.account_id, record.currency].append(record)
        explained = set[tuple[int, str, str]]()
        for event in events:
            change = event.change
            if change is None or change.cause != RESYNC:
                self._deliver(event)
                continue
            row = change.account_id, change.currency, change.type
            # Only the first difference of a row is that of the gap.
            steps = [] if row in explained else by_key[change.account_id, change.currency]
            explained.add(row)
            for step in explain(change, steps):
                self._deliver(attrs.evolve(event, change=step))
