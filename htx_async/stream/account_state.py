"""The live state of one account: its currencies, what is proven, and when REST is read next."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple

import attrs
import msgspec

from htx_async.errors import HTXError
from htx_async.models.account import Account
from htx_async.models.balance import AccountBalance, CurrencyBalance
from htx_async.models.balance_diff import BalanceChange, diff
from htx_async.models.balance_rows import BalanceEntry
from htx_async.models.decimals import total
from htx_async.models.enums import BalanceType
from htx_async.stream.merging import DELAY, CurrencyState, Numbers, Pushed, Read
from htx_async.stream.messages import TRADE, Amounts, Push

FIRST_REREAD, LAST_REREAD = 0.5, 3.0
"""Seconds until REST is read again while something is not proven; the delay doubles."""
_BEHIND = 2
"""Reads with a number that grows and is too small, after which the connection is renewed."""
_PUSHED_TYPES = (BalanceType.TRADE, BalanceType.FROZEN)
_ZERO = Amounts(Decimal(0), Decimal(0))

RESYNC, UNKNOWN = "resync", "unknown"
"""Causes of changes that REST has shown, and of pushes without one."""


class Loss(NamedTuple):
    """
    A change that REST has shown, and that was not pushed so far.

    Attributes:
        since: When the amounts before it were proven last.
        shown_at: When REST showed it.
        due_at: When it is certain that the push is not merely late.
    """

    currency: str
    amounts: Amounts
    seq: int | None
    since: float
    shown_at: float
    due_at: float


@attrs.define
class FollowedAccount:
    """
    The live state of *account*.

    Attributes:
        interval: Seconds between reads of REST.
        proven_at: Everything that is shown was right at some moment since then.
        is_merged: Whether all of it is proven on this connection.
        is_reading: Whether REST is being read.
        is_pending: Whether REST is read again soon, because something is not proven.
        read_at: When REST is read next.
        reads: Number of reads that have been merged.
        failure: Why the last read failed; `None`: it succeeded.
        losses: Changes that may still be pushed.
        is_behind: Whether REST contradicts a push for too long: the connection must be renewed.
    """

    account: Account
    interval: float
    proven_at: float = -math.inf
    is_merged: bool = False
    is_reading: bool = False
    is_pending: bool = False
    read_at: float = -math.inf
    reads: int = 0
    failure: HTXError | None = None
    losses: list[Loss] = attrs.field(factory=list[Loss])
    is_behind: bool = False
    _balance: AccountBalance | None = None
    _currencies: dict[str, CurrencyState] = attrs.field(factory=dict[str, CurrencyState])
    _rows: dict[str, tuple[BalanceEntry, ...]] = attrs.field(
        factory=dict[str, tuple[BalanceEntry, ...]]
    )
    _latest_reads: dict[str, Read] = attrs.field(factory=dict[str, Read])
    _reread_delay: float = FIRST_REREAD
    _reads_behind: int = 0

    @property
    def push_timeout(self) -> float:
        """Seconds after which a push that is missing is not merely late."""
        return min(max(self.interval, DELAY), 10.0)

    def restart(self, now: float) -> None:
        """Begin to merge with REST again, on a new subscription."""
        self.is_merged, self.is_behind, self.read_at = False, False, now
        self._reread_delay, self._reads_behind = FIRST_REREAD, 0

    def push(
        self, push: Push, now: float, connection: int, numbers: Numbers
    ) -> tuple[BalanceChange, ...]:
        """Apply a push and return the changes of what is shown."""
        if push.account_type != TRADE or push.amounts is None:
            self._read_within(FIRST_REREAD, now)  # only REST has these rows
            return ()
        self._forgive(push.currency, push.amounts, push.seq, numbers)
        pushed = Pushed(push.amounts, push.seq, now)
        state = self._currencies.get(push.currency)
        before = _ZERO if state is None else state.amounts
        if state is None:
            state = self._add(push.currency, connection)
        if state.push(pushed, connection, numbers):
            self._read_within(FIRST_REREAD, now)
        cause = push.cause or (UNKNOWN if self.is_merged else RESYNC)
        return self._changes(push.currency, before, state.amounts, cause, push.seq)

    def merge(
        self, balance: AccountBalance, sent_at: float, now: float, connection: int, numbers: Numbers
    ) -> tuple[BalanceChange, ...]:
        """Merge a balance that was requested at *sent_at*, and return what has changed."""
        self.failure, self._balance = None, balance
        self.reads += 1
        earlier_rows, self._rows = self._rows, _by_currency(balance.entries, self._currencies)
        changes: list[BalanceChange] = []
        is_complete, is_behind, was_merged = True, False, self.is_merged
        changed = {name for name, rows in self._rows.items() if rows != earlier_rows.get(name)}
        # Nearly all rows are those of the last audit: the event loop waits for this.
        reads = self._latest_reads = {
            name: _read_of(rows, sent_at, now)
            if name in changed
            else self._latest_reads[name].repeated(sent_at, now)
            for name, rows in self._rows.items()
        }
        for currency, known in self._currencies.items():
            known.compare(reads[currency], connection, numbers)
        for currency, read in reads.items():
            state = self._currencies.get(currency)
            if state is None:
                state = self._add(currency, connection)
                before, since = _ZERO, self.proven_at
                verdict = state.show_read(read, connection, now + DELAY, numbers)
            else:
                before, since = state.amounts, state.proven_at
                verdict = state.read(read, connection, numbers)
            is_behind |= verdict == "behind"
            is_complete &= verdict in ("proven", "replaced")
            if state.amounts is before and currency not in changed:
                continue
            seq = read.seq if numbers.are_comparable(state.key) else None
            seq = state.seq if state.is_pushed else seq
            if was_merged and verdict == "replaced" and not state.is_pushed:
                due_at = now + self.push_timeout
                self.losses.append(Loss(currency, read.amounts, seq, since, now, due_at))
            changes += self._changes(currency, before, state.amounts, RESYNC, seq)
            changes += self._other_changes(
                earlier_rows.get(currency, ()), self._rows[currency], seq
            )
        states = self._currencies.values()
        self.proven_at = min((state.proven_at for state in states), default=sent_at)
        self.is_merged |= all(state.connection == connection for state in states)
        self._schedule(sent_at, now, is_complete=is_complete, is_behind=is_behind)
        return tuple(changes)

    def fail(self, error: HTXError, now: float) -> None:
        """Note that REST could not be read."""
        self.failure = error
        self._reread(now)

    def take_overdue(self, now: float) -> list[Loss]:
        """Return the changes that were not pushed in time, and forget them."""
        overdue = [loss for loss in self.losses if loss.due_at <= now]
        self.losses = [loss for loss in self.losses if loss.due_at > now]
        return overdue

    def currency(self, currency: str) -> CurrencyBalance:
        """Return the live rows of a currency; `KeyError` if there is none."""
        return CurrencyBalance(currency, tuple(self._live_rows(currency)))

    def balance(self) -> AccountBalance:
        """Return the live state with all rows."""
        entries = itertools.chain.from_iterable(map(self._live_rows, self._currencies))
        last = self._balance
        state = self.account.state if last is None else last.state
        received_at = None if last is None else last.received_at
        account = self.account
        return AccountBalance(
            account.id, account.type, state, tuple(entries), received_at=received_at
        )

    def _add(self, currency: str, connection: int) -> CurrencyState:
        state = CurrencyState((self.account.id, currency), _ZERO, None, connection)
        return self._currencies.setdefault(currency, state)

    def _forgive(self, currency: str, amounts: Amounts, seq: int | None, numbers: Numbers) -> None:
        """Forget a loss whose push arrives after all."""
        if not self.losses:
            return
        comparable = numbers.are_comparable((self.account.id, currency))
        self.losses = [
            loss
            for loss in self.losses
            if loss.currency != currency
            or not (loss.amounts == amounts or (comparable and seq is not None and loss.seq == seq))
        ]

    def _changes(
        self, currency: str, before: Amounts, after: Amounts, cause: str, seq: int | None
    ) -> tuple[BalanceChange, ...]:
        if before == after:
            return ()
        account_id = self.account.id
        return tuple(
            BalanceChange(account_id, currency, kind, old, new, cause, seq)
            for kind, old, new in zip(_PUSHED_TYPES, before, after, strict=True)
            if old != new
        )

    def _other_changes(
        self, before: Iterable[BalanceEntry], after: Iterable[BalanceEntry], seq: int | None
    ) -> Iterator[BalanceChange]:
        """Yield the changes of rows that are not pushed."""
        old, new = (
            [row for row in group if row.type not in _PUSHED_TYPES] for group in (before, after)
        )
        if old != new:
            for change in diff(self.account.id, old, new):
                yield attrs.evolve(change, cause=RESYNC, seq=seq)

    def _live_rows(self, currency: str) -> Iterator[BalanceEntry]:
        """Yield REST's rows of a currency with the live amounts."""
        state = self._currencies[currency]
        live = dict(zip(_PUSHED_TYPES, state.amounts, strict=True))
        for row in self._rows.get(currency, ()):
            if row.type not in _PUSHED_TYPES:
                yield row
            elif row.type in live:
                amount = live.pop(row.type)
                is_same = row.balance == amount
                seq = row.seq_num if is_same else state.seq
                yield row if is_same else msgspec.structs.replace(row, balance=amount, seq_num=seq)
        for kind, amount in live.items():
            if amount or not self._rows.get(currency):
                yield BalanceEntry(currency, kind, amount, seq_num=state.seq)

    def _schedule(self, sent_at: float, now: float, *, is_complete: bool, is_behind: bool) -> None:
        self._reads_behind += is_behind
        self.is_behind = self._reads_behind >= _BEHIND
        self.is_pending = not (is_complete and self.is_merged)
        if not self.is_pending:
            self._reread_delay, self.read_at = FIRST_REREAD, sent_at + self.interval
        else:
            self._reread(now)

    def _reread(self, now: float) -> None:
        delay = min(self._reread_delay, self.interval)
        self.read_at = now + delay
        self._reread_delay = min(2 * self._reread_delay, LAST_REREAD)

    def _read_within(self, seconds: float, now: float) -> None:
        self.read_at = min(self.read_at, now + seconds)


def _by_currency(
    entries: Iterable[BalanceEntry], known: Iterable[str]
) -> dict[str, tuple[BalanceEntry, ...]]:
    """Return the rows of each currency; none of those that are *known*, and not listed."""
    rows: dict[str, list[BalanceEntry]] = {}
    for entry in entries:
        rows.setdefault(entry.currency, []).append(entry)
    for currency in known:
        rows.setdefault(currency, [])
    return {currency: tuple(group) for currency, group in rows.items()}


def _read_of(rows: Iterable[BalanceEntry], sent_at: float, now: float) -> Read:
    """Return what REST returned for a currency, in the terms of pushes."""
    pushed = [row for row in rows if row.type in _PUSHED_TYPES]
    trade, frozen = (
        total(row.balance for row in pushed if row.type == kind) for kind in _PUSHED_TYPES
    )
    numbers = {row.seq_num for row in pushed if row.seq_num is not None}
    seq = max(numbers, default=None)
    return Read(Amounts(trade, frozen), seq, len(numbers) > 1, sent_at, now)
