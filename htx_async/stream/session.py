"""
State machine of the connection that all streams of a client share. It does no I/O.

Each input returns an `Outcome`: what to send, which accounts to read by REST, and whether to
reconnect. Events go to the followers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import attrs

from htx_async.errors import HTXError
from htx_async.models.account import Account
from htx_async.models.balance import AccountBalance
from htx_async.models.balance_diff import BalanceChange
from htx_async.stream import messages
from htx_async.stream.account_state import FIRST_REREAD, FollowedAccount, Loss
from htx_async.stream.events import GapReason, StreamEvent, StreamStatus
from htx_async.stream.follower import Follower
from htx_async.stream.merging import Numbers
from htx_async.stream.messages import Ping, Push, Reply

STEP_TIMEOUT: Final = 10.0
"""Seconds that a handshake, the authentication or a subscription may take."""
_MAX_RESUBSCRIPTIONS = 2
"""Subscriptions that are renewed on one connection; then it is renewed itself."""
_RENEWABLE = (500, 2003)
"""Codes after which HTX needs a new subscription. HTX, "Subscribe": `system error`."""


@attrs.define
class Outcome:
    """
    What is to be done.

    Attributes:
        send: Messages to send, in order.
        audits: Ids of the accounts to read by REST.
        reconnect: Why the connection is to be renewed; empty: it is not.
        refusal: The error that HTX sent; it decides whether to reconnect.
    """

    send: list[str] = attrs.field(factory=list[str])
    audits: list[int] = attrs.field(factory=list[int])
    reconnect: str = ""
    refusal: Reply | None = None


@attrs.define
class Session:
    """
    The connection, the accounts, and the followers.

    Attributes:
        phase: The status of the connection; `syncing`: it is subscribed.
        next_at: When `tick` must be called, at the latest.
    """

    phase: StreamStatus = "connecting"
    next_at: float = math.inf
    accounts: dict[int, FollowedAccount] = attrs.field(factory=dict[int, FollowedAccount])
    _followers: list[Follower] = attrs.field(factory=list[Follower])
    _numbers: Numbers = attrs.field(factory=lambda: Numbers(math.inf))
    _connection: int = 0
    _subscribed_at: float = math.inf
    _step_ends_at: float = math.inf
    _received_at: float = -math.inf
    _pushed_at: float = -math.inf
    _resubscriptions: int = 0

    def follow(
        self, accounts: Iterable[Account], interval: float, now: float
    ) -> dict[int, FollowedAccount]:
        """Return the states of *accounts*, to be read at least every *interval* seconds."""
        states: dict[int, FollowedAccount] = {}
        for account in accounts:
            state = self.accounts.setdefault(
                account.id, FollowedAccount(account, interval, read_at=now)
            )
            states[account.id] = state
        return states

    def add(self, follower: Follower, now: float) -> Outcome:
        """Add a follower of accounts that `follow` returned."""
        self._followers.append(follower)
        self._set_intervals(now)
        return self.tick(now)

    def remove(self, follower: Follower) -> None:
        """Remove a follower, and the accounts that nobody else follows."""
        self._followers.remove(follower)
        followed = {key for each in self._followers for key in each.accounts}
        self.accounts = {key: state for key, state in self.accounts.items() if key in followed}
        self._set_intervals(math.inf)

    def connecting(self, now: float) -> None:
        """Note that a connection is being opened."""
        self._enter("connecting", now)

    def opened(self, now: float) -> None:
        """Note that a connection is open, and that the authentication is sent."""
        self._connection += 1
        self._numbers = Numbers(now)
        self._resubscriptions = 0
        self._received_at = self._pushed_at = now
        self._enter("authenticating", now, limit=STEP_TIMEOUT)

    def cut(self, now: float, reason: GapReason = "disconnected") -> None:
        """Note that the connection is lost."""
        self._open_gap(reason)
        for account in self.accounts.values():
            for loss in account.take_overdue(math.inf):  # its push cannot arrive any more
                self._emit_loss(account, loss)
        self._subscribed_at = math.inf
        self._enter("disconnected", now)

    def refuse(self, error: HTXError) -> None:
        """Note that HTX refused the key for good."""
        for follower in self._followers:
            follower.refuse(error)

    def receive(self, message: str | bytes, now: float) -> Outcome:
        """Take a message of HTX."""
        self._received_at = now
        outcome = Outcome()
        parsed = messages.parse(message)
        if isinstance(parsed, Push):
            self._pushed_at = now
            self._push(parsed, now)
        elif isinstance(parsed, Ping):
            outcome.send.append(messages.pong(parsed))
        elif isinstance(parsed, Reply):
            self._reply(parsed, outcome, now)
        else:  # it may have been a push
            self._audit_all(now + FIRST_REREAD)
        return outcome

    def merge(self, balance: AccountBalance, sent_at: float, now: float) -> Outcome:
        """Take the response of a REST read that was requested at *sent_at*."""
        account = self.accounts.get(balance.id)
        if account is None:
            return Outcome()
        account.is_reading = False
        if sent_at < self._subscribed_at:  # the pushes since then are not known
            account.read_at = now
            return self.tick(now)
        was_contradicted = self._numbers.is_contradicted
        changes = account.merge(balance, sent_at, now, self._connection, self._numbers)
        self._emit_changes(balance.id, changes)
        if self._numbers.is_contradicted and not was_contradicted:
            for follower in self._followers:
                follower.emit(StreamEvent(kind="contradiction"))
        outcome = self.tick(now)
        if account.is_behind:
            outcome.reconnect = "REST contradicts the stream"
        return outcome

    def fail(self, account_id: int, error: HTXError, now: float) -> Outcome:
        """Note that a REST read failed."""
        account = self.accounts.get(account_id)
        if account is not None:
            account.is_reading = False
            account.fail(error, now)
        return self.tick(now)

    def audit(self, account: FollowedAccount, now: float) -> Outcome:
        """Read an account now, unless it is being read."""
        account.read_at = min(account.read_at, now)
        return self.tick(now)

    def tick(self, now: float) -> Outcome:
        """Do what is due."""
        outcome = Outcome()
        if now >= self._step_ends_at:
            outcome.reconnect = f"no response to {self.phase} within {STEP_TIMEOUT:g} s"
            self._step_ends_at = math.inf
        for account in self.accounts.values():
            for loss in account.take_overdue(now):
                self._report_loss(account, loss, outcome, now)
        if self.phase == "syncing":
            for account in self.accounts.values():
                if account.read_at <= now and not account.is_reading:
                    account.is_reading = True
                    outcome.audits.append(account.account.id)
        self._update(now)
        self.next_at = min(self._deadlines(now), default=math.inf)
        return outcome

    def _reply(self, reply: Reply, outcome: Outcome, now: float) -> None:
        is_ok = reply.code == messages.OK
        is_topic = messages.is_topic(reply.channel)
        if is_ok and self.phase == "authenticating" and not is_topic:
            self._subscribe(outcome, now)
        elif is_ok and self.phase == "subscribing" and is_topic:
            self._subscribed_at = now
            for account in self.accounts.values():
                account.restart(now)
            self._enter("syncing", now)
            self.next_at = now
        elif not is_ok:
            can_renew = is_topic and reply.code in _RENEWABLE
            if can_renew and self._resubscriptions < _MAX_RESUBSCRIPTIONS:
                self._resubscribe(outcome, now)
            else:
                outcome.refusal = reply

    def _push(self, push: Push, now: float) -> None:
        account = self.accounts.get(push.account_id)
        if account is None:
            return
        changes = account.push(push, now, self._connection, self._numbers)
        self._emit_changes(push.account_id, changes)
        if self.phase == "syncing":
            self.next_at = (
                min(self.next_at, account.read_at) if not account.is_reading else self.next_at
            )

    def _audit_all(self, at: float) -> None:
        for account in self.accounts.values():
            account.read_at = min(account.read_at, at)
        self.next_at = min(self.next_at, at)

    def _report_loss(
        self, account: FollowedAccount, loss: Loss, outcome: Outcome, now: float
    ) -> None:
        self._emit_loss(account, loss)
        is_silent = self._pushed_at <= loss.shown_at
        if is_silent and self.phase == "syncing":
            if self._resubscriptions:
                outcome.reconnect = "the subscription is dead"
            else:
                self._resubscribe(outcome, now)

    def _subscribe(self, outcome: Outcome, now: float) -> None:
        outcome.send.append(messages.SUBSCRIBE)
        self._enter("subscribing", now, limit=STEP_TIMEOUT)

    def _resubscribe(self, outcome: Outcome, now: float) -> None:
        self._resubscriptions += 1
        self._open_gap("resubscribed")
        self._subscribed_at = math.inf
        self._subscribe(outcome, now)

    def _open_gap(self, reason: GapReason) -> None:
        for follower in self._followers:
            follower.open_gap(self._received_at, reason)
        for account in self.accounts.values():
            account.is_merged = False

    def _emit_loss(self, account: FollowedAccount, loss: Loss) -> None:
        for follower in self._followers:
            if account.account.id in follower.accounts:
                follower.report_loss(loss.since, loss.shown_at)

    def _emit_changes(self, account_id: int, changes: Iterable[BalanceChange]) -> None:
        for change in changes:
            event = StreamEvent(kind="changed", change=change)
            for follower in self._followers:
                if account_id in follower.accounts:
                    follower.emit(event)

    def _enter(self, phase: StreamStatus, now: float, *, limit: float = math.inf) -> None:
        self.phase, self._step_ends_at = phase, now + limit
        self._update(now)
        self.next_at = min(self.next_at, self._step_ends_at)

    def _update(self, now: float) -> None:
        for follower in self._followers:
            follower.update(self.phase, now)

    def _deadlines(self, now: float) -> Iterable[float]:
        yield self._step_ends_at
        for account in self.accounts.values():
            yield from (loss.due_at for loss in account.losses)
            if self.phase == "syncing" and not account.is_reading:
                yield account.read_at
        for follower in self._followers:
            if follower.status == "synced":
                yield max(follower.proven_at + follower.bound, now) + 0.001

    def _set_intervals(self, now: float) -> None:
        for key, account in self.accounts.items():
            intervals = [each.audit_interval for each in self._followers if key in each.accounts]
            account.interval = min(intervals, default=account.interval)
            account.read_at = min(account.read_at, now + account.interval)
