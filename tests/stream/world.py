"""
An exchange, a network and a REST replica on simulated time, for the session.

Everything is random: changes, lost, late, reordered and repeated pushes, cuts that are noticed
late, REST reads that are behind, and serial numbers that are equal, different, or begin again.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

import attrs

from htx_async import (
    Account,
    AccountBalance,
    AccountState,
    AccountType,
    BalanceEntry,
    BalanceType,
)
from htx_async.stream.events import StreamEvent
from htx_async.stream.follower import Follower
from htx_async.stream.session import Outcome, Session

Counters = Literal["equal", "differ", "restart"]
Key = tuple[int, str]

ACCOUNTS = tuple(
    Account(number, AccountType(kind), "", AccountState.WORKING)
    for number, kind in ((1, "spot"), (2, "super-margin"))
)
CURRENCIES = ("usdt", "btc", "eth")
CHANGES_FOR, RUNS_FOR = 120.0, 165.0


@attrs.frozen
class Setting:
    """
    How hostile the world is. Probabilities, and seconds.

    Attributes:
        counters: Whether the serial numbers of REST and pushes are the same ones.
        lag: How far REST is behind at most.
    """

    counters: Counters
    lag: float = 3.0
    loss: float = 0.03
    duplicate: float = 0.02
    reorder: float = 0.03
    rate: float = 1.5
    cut_every: float = 50.0
    audit_interval: float = 10.0


@attrs.frozen
class State:
    """The amounts of a currency from a moment on, with the numbers of the stream and of REST."""

    at: float
    trade: Decimal
    frozen: Decimal
    seq: int
    rest_seq: int


@attrs.define
class Report:
    """What a run has shown."""

    backwards: int = 0
    wrong_while_synced: int = 0
    synced_for: float = 0.0
    is_right: bool = False
    is_synced: bool = False
    unreported: list[str] = attrs.field(factory=list)
    false_alarms: list[str] = attrs.field(factory=list)
    events: list[tuple[float, StreamEvent]] = attrs.field(factory=list)

    @property
    def share(self) -> float:
        """The part of the time in which the stream was synced."""
        return self.synced_for / RUNS_FOR


def to_datetime(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


class World:
    """One history. `run` returns the report."""

    def __init__(self, setting: Setting, seed: int, *, audits: bool = True) -> None:
        self.random = random.Random(seed)  # noqa: S311 - not a secret
        self.setting = setting
        self.audits = audits
        self.session = Session()
        self.report = Report()
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._values = itertools.count(1)
        self._is_open = False
        self._connection = 0
        self._cuts: list[tuple[float, bool]] = []
        self._lost: list[tuple[float, Key]] = []
        self._undelivered: list[float] = []
        self._delivered: list[tuple[float, Key]] = []
        self._last_checked = 0.0
        self._shown: dict[Key, int] = {}
        self.history: dict[Key, list[State]] = {
            (account.id, currency): [self._state(0.0, self._number(), None)]
            for account in ACCOUNTS
            for currency in CURRENCIES
        }
        states = self.session.follow(ACCOUNTS, setting.audit_interval, 0.0)
        self.follower = Follower(
            states, setting.audit_interval, self._record, lambda _: None, to_datetime
        )
        self.session.add(self.follower, 0.0)

    def run(self) -> Report:
        """Run the history to its end."""
        self._at(0.0, self._connect)
        self._at(self.random.expovariate(self.setting.rate), self._change)
        self._at(self.random.expovariate(1 / self.setting.cut_every), self._cut)
        while self._queue:
            due = min(self._queue[0][0], self.session.next_at)
            if due > RUNS_FOR:
                break
            self._check_until(due)
            self.now = max(self.now, due)
            if self._queue[0][0] <= self.session.next_at:
                heapq.heappop(self._queue)[2]()
            else:
                self._apply(self.session.tick(self.now))
        self._check_until(RUNS_FOR)
        self._check_end()
        return self.report

    def _at(self, at: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (max(at, self.now), next(self._order), action))

    def _record(self, event: StreamEvent) -> None:
        self.report.events.append((self.now, event))

    def _number(self) -> int:
        return self.random.randrange(1, 30)

    def _state(self, at: float, seq: int, before: State | None) -> State:
        rest_seq = seq
        if self.setting.counters == "differ":
            step = self.random.randrange(1, 3)
            rest_seq = self._number() if before is None else before.rest_seq + step
        value = next(self._values)
        return State(at, Decimal(value), Decimal(self.random.randrange(3)), seq, rest_seq)

    # The exchange.

    def _change(self) -> None:
        if self.now < CHANGES_FOR:
            self._at(self.now + self.random.expovariate(self.setting.rate), self._change)
            key = self.random.choice(list(self.history))
            last = self.history[key][-1]
            self.history[key].append(self._state(self.now, last.seq + 1, last))
            self._push(key, "order.match")

    def _push(self, key: Key, cause: str | None) -> None:
        state, setting = self.history[key][-1], self.setting
        if not self._is_open:
            self._undelivered.append(state.at)
            return
        is_quiet = self.now > CHANGES_FOR  # the end of a history is right only if pushes are
        if self.random.random() < setting.loss and not is_quiet:
            self._lost.append((self.now, key))
            self._undelivered.append(state.at)
            return
        delay = self.random.uniform(0.02, 0.3)
        if self.random.random() < setting.reorder:
            delay = self.random.uniform(0.3, 2.5)
        text, connection = _push_text(key, state, cause), self._connection
        self._at(self.now + delay, lambda: self._deliver(key, text, connection, state.at))
        if self.random.random() < setting.duplicate:
            late = self.now + delay + self.random.uniform(0.0, 2.0)
            self._at(late, lambda: self._deliver(key, text, connection, None))

    def _deliver(self, key: Key, text: str, connection: int, of: float | None) -> None:
        if self._is_open and connection == self._connection:
            self._delivered.append((self.now, key))
            self._apply(self.session.receive(text, self.now))
        elif of is not None:
            self._undelivered.append(of)

    # The connection.

    def _connect(self) -> None:
        self.session.connecting(self.now)
        self._at(self.now + self.random.uniform(0.05, 0.3), self._open)

    def _open(self) -> None:
        self.session.opened(self.now)
        self._connection += 1
        reply = '{"action": "req", "code": 200, "ch": "auth", "data": {}}'
        connection = self._connection
        self._at(self.now + 0.1, lambda: self._answer(reply, connection))

    def _answer(self, text: str, connection: int) -> None:
        if connection == self._connection:
            self._apply(self.session.receive(text, self.now))

    def _subscribe(self) -> None:
        connection = self._connection
        reply = '{"action": "sub", "code": 200, "ch": "accounts.update#2", "data": {}}'
        self._answer(reply, connection)
        self._is_open = True
        for key in self.history:
            self._push(key, None)

    def _cut(self) -> None:
        if self.now < CHANGES_FOR and self._is_open:
            self._is_open = False
            self._at(self.now + self.random.choice((0.0, self.random.uniform(0, 12))), self._notice)
        self._at(self.now + self.random.expovariate(1 / self.setting.cut_every), self._cut)

    def _notice(self) -> None:
        if self.setting.counters == "restart" and self.random.random() < 0.5:
            for key, states in self.history.items():
                numbered = attrs.evolve(states[-1], seq=1, rest_seq=1, at=self.now)
                self.history[key].append(numbered)
        self._cuts.append((self.now, self.follower._was_synced and self.follower._gap is None))
        self.session.cut(self.now)
        self._connection += 1  # what is under way is lost
        self._at(self.now + self.random.uniform(0.25, 2.0), self._connect)

    # REST.

    def _apply(self, outcome: Outcome) -> None:
        for text in outcome.send:
            if "sub" in text:
                self._at(self.now + self.random.uniform(0.02, 0.2), self._subscribe)
        for account_id in outcome.audits:
            if self.audits or not self.session.accounts[account_id].is_merged:
                self._read(account_id)
        if outcome.reconnect:
            self._is_open = False
            self._at(self.now, self._notice)

    def _read(self, account_id: int) -> None:
        sent_at, jitter = self.now, self.random.uniform(0.0, 0.1)
        states = [
            (
                key[1],
                self._state_at(key, sent_at + jitter - self.random.uniform(0, self.setting.lag)),
            )
            for key in self.history
            if key[0] == account_id
        ]
        entries = tuple(
            BalanceEntry(currency, kind, amount, seq_num=state.rest_seq)
            for currency, state in states
            for kind, amount in (
                (BalanceType.TRADE, state.trade),
                (BalanceType.FROZEN, state.frozen),
            )
        )
        account = ACCOUNTS[account_id - 1]
        balance = AccountBalance(account.id, account.type, account.state, entries)
        arrives_at = sent_at + 0.1 + self.random.uniform(0.0, 1.4)
        self._at(arrives_at, lambda: self._apply(self.session.merge(balance, sent_at, self.now)))

    def _state_at(self, key: Key, at: float) -> State:
        states = self.history[key]
        return states[max(bisect.bisect_right(states, at, key=lambda state: state.at) - 1, 0)]

    # The oracles.

    def _check_until(self, until: float) -> None:
        if self.follower.status_at(self.session.phase, self.now) == "synced":
            age = self.now - self.follower.proven_at
            if age > self.follower.bound:
                self.report.wrong_while_synced += 1
            end = min(until, self.follower.proven_at + self.follower.bound)
            self.report.synced_for += max(end - self._last_checked, 0.0)
            self._check_shown(age)
        else:
            self._check_shown(None)
        self._last_checked = until

    def _check_shown(self, age: float | None) -> None:
        for key, states in self.history.items():
            account = self.session.accounts[key[0]]
            if key[1] not in account._currencies:
                continue
            shown = account.currency(key[1])
            index = int(shown.trade)
            if index == 0:
                continue
            if index < self._shown.get(key, 0):
                self.report.backwards += 1
            self._shown[key] = max(index, self._shown.get(key, 0))
            # Values are unique, and grow: the value is that of the last state with this amount.
            following = next((state for state in states if int(state.trade) > index), None)
            if age is None or following is None:
                continue
            if following.at < self.now - age - self.setting.lag - 1e-6:
                self.report.wrong_while_synced += 1

    def _check_end(self) -> None:
        report = self.report
        report.is_synced = self.follower.status_at(self.session.phase, RUNS_FOR) == "synced"
        report.is_right = all(
            (shown := self.session.accounts[key[0]].currency(key[1])).trade == states[-1].trade
            and shown.frozen == states[-1].frozen
            for key, states in self.history.items()
        )
        gaps = [(at, event) for at, event in report.events if event.kind == "gap"]
        cuts = [at for at, event in gaps if event.until is None]
        for at, is_reported in self._cuts:
            if is_reported and at not in cuts:
                report.unreported.append(f"cut at {at}")
        for at, key in self._lost:
            if self._is_only_a_read_left(at, key) and not any(
                event.reason == "lost_push" and at <= reported <= at + 45
                for reported, event in gaps
            ):
                report.unreported.append(f"push lost at {at}")
        for at, event in gaps:
            if event.reason == "lost_push":
                assert event.since is not None
                assert event.until is not None
                earliest = event.since.timestamp() - self.setting.lag - 3
                if not any(
                    earliest <= lost <= event.until.timestamp() for lost in self._undelivered
                ):
                    report.false_alarms.append(f"{at}: {event}")

    def _is_only_a_read_left(self, at: float, key: Key) -> bool:
        """Return whether no push and no new connection replaced the change for long enough."""
        end = at + 40
        is_replaced = any(at < when <= end and other == key for when, other in self._delivered)
        is_cut = any(at - 20 < when <= end for when, _ in self._cuts)
        changed = any(at < state.at <= end for state in self.history[key])
        return at > 20 and end < RUNS_FOR and not is_replaced and not is_cut and not changed


def _push_text(key: Key, state: State, cause: str | None) -> str:
    data = {
        "currency": key[1],
        "accountId": key[0],
        "balance": str(state.trade + state.frozen),
        "available": str(state.trade),
        "changeType": cause,
        "accountType": "trade",
        "changeTime": None if cause is None else int(state.at * 1000),
        "seqNum": state.seq,
    }
    return json.dumps({"action": "push", "ch": "accounts.update#2", "data": data})
