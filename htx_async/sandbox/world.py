"""Data of a sandbox over time: tests change it, REST shows it, and streams push its changes."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Literal, get_args

import attrs

from htx_async.clock import Clock
from htx_async.sandbox import changes
from htx_async.sandbox.changes import Amount, BalanceUpdate
from htx_async.sandbox.records import HistoryRow, SandboxAccount, SandboxUser
from htx_async.sandbox.state import SandboxState
from htx_async.sandbox.validation import check_choice, check_range

Counters = Literal["equal", "differ"]

_MAX_STATES = _MAX_HISTORY = 1000


class World:
    """
    State of a sandbox, its history, and the numbers of its changes.

    *counters*: whether a stream numbers changes as REST does. With "differ", it counts the changes
    of each currency from 0 by itself.
    """

    def __init__(self, users: tuple[SandboxUser, ...], counters: Counters, clock: Clock) -> None:
        check_choice("counters", counters, get_args(Counters))
        self._clock = clock
        self._counters_differ = counters == "differ"
        self._counted: Counter[tuple[int, str]] = Counter()
        # Not `monotonic()`: the clock may need a running loop.
        self._history = deque([(-math.inf, SandboxState(users))], maxlen=_MAX_STATES)
        self.on_update: Callable[[int, BalanceUpdate], object] = _ignore

    @property
    def state(self) -> SandboxState:
        """Return the present state."""
        return self._history[-1][1]

    def state_at(self, at: float, currencies: Collection[str] | None = None) -> SandboxState:
        """
        Return the state at a time in monotonic seconds; the latest 1000 states are known.

        *currencies*: those whose rows are of that time, the others are of now; `None`: all.
        """
        states = (state for since, state in reversed(self._history) if since <= at)
        state = next(states, self._history[0][1])
        return state if currencies is None else self.state.with_rows_of(state, currencies)

    def number_of(self, account: SandboxAccount, currency: str) -> int:
        """Return the serial number of a currency on a stream."""
        if self._counters_differ:
            return self._counted[account.id, currency]
        return changes.seq_of(account, currency)

    def change_balance(
        self,
        account: object,
        currency: str,
        amounts: Mapping[str, Amount | None],
        *,
        cause: str,
        seq: int | None = None,
    ) -> None:
        """Set the *amounts* that are not `None`, by row type, and notify the streams."""
        texts = {
            name: changes.amount_text(amount, name)
            for name, amount in amounts.items()
            if amount is not None
        }
        if seq is not None:
            check_range("seq", seq, 0)
        old, user = self.state.find(account)
        new = changes.with_balance(old, currency, texts, seq)
        key = old.id, currency
        self._counted[key] = self._counted[key] + 1 if seq is None else seq
        now = int(self._clock.now() * 1000)
        number = self.number_of(new, currency)
        updates = tuple(
            changes.updates_between(old, new, currency, texts, now, seq=number, cause=cause)
        )
        changed = changes.with_account(user, new)
        rows = changes.history_between(old, new, currency, cause, now, _next_record_id(user))
        history = (*user.history, *rows)[-_MAX_HISTORY:]
        self._replace(user, attrs.evolve(changed, history=history))
        for update in updates:
            self.on_update(user.uid, update)

    def set_points(self, amount: Amount, group_id: int) -> None:
        """Set the points of the first user in one group."""
        check_range("group_id", group_id, 0)
        user = self.state.first_user
        text = changes.amount_text(amount, "amount")
        points = changes.with_points(user.points, text, group_id, self._clock.now())
        self._replace(user, attrs.evolve(user, points=points))
        for account in user.accounts:
            if str(account.id) == points.account_id:
                amounts = {"trade": points.acct_balance}
                self.change_balance(account, changes.POINTS_CURRENCY, amounts, cause="other")

    def add_account(self, type: str, subtype: str) -> SandboxAccount:
        """Add an account without a balance to the first user, and return it."""
        user = self.state.first_user
        account = SandboxAccount(self.state.next_account_id, type, subtype)
        self._replace(user, changes.with_account(user, account))
        return account

    def add_movement(
        self, account: object, currency: str, amount: Amount, type: str, at: datetime | None
    ) -> HistoryRow:
        """Add a row to the history of an account, and return it."""
        known, user = self.state.find(account)
        balance, available = changes.totals(known, currency)
        row = HistoryRow(
            known.id,
            _next_record_id(user),
            currency,
            changes.amount_text(amount, "amount"),
            type,
            int((self._clock.now() if at is None else at.timestamp()) * 1000),
            available,
            balance,
        )
        self._replace(user, attrs.evolve(user, history=(*user.history, row)))
        return row

    def _replace(self, old: SandboxUser, new: SandboxUser) -> None:
        self._history.append((self._clock.monotonic(), self.state.replace(old, new)))


def _next_record_id(user: SandboxUser) -> int:
    return 1 + max((row.record_id for row in user.history), default=10**17)


def _ignore(_uid: int, _update: BalanceUpdate) -> None:
    """Do nothing: nobody follows the changes."""
