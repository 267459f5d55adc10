"""The status of one stream, and its events, derived from the accounts that it follows."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Final

import attrs

from htx_async.errors import HTXError
from htx_async.stream.account_state import FollowedAccount
from htx_async.stream.events import GapReason, StreamEvent, StreamStatus

BOUND_SLACK: Final = 15.0
"""Seconds for a REST read and its repetition, until REST and pushes agree."""

ToDatetime = Callable[[float], datetime]


@attrs.define
class Follower:
    """
    One stream: the accounts that it follows, and its status at the last update.

    Attributes:
        audit_interval: Seconds between reads of REST.
        emit: Called with each event.
        on_status: Called with each new status.
    """

    accounts: dict[int, FollowedAccount]
    audit_interval: float
    emit: Callable[[StreamEvent], object]
    on_status: Callable[[StreamStatus], object]
    to_datetime: ToDatetime
    status: StreamStatus = "connecting"
    _was_synced: bool = False
    _gap: tuple[datetime, GapReason] | None = None

    @property
    def bound(self) -> float:
        """Seconds that `age` is at most while the stream is synced."""
        return self.audit_interval + BOUND_SLACK

    @property
    def proven_at(self) -> float:
        """What is shown was right at some moment since then."""
        return min((account.proven_at for account in self.accounts.values()), default=-math.inf)

    @property
    def failure(self) -> HTXError | None:
        """Why REST could not be read last; `None`: it could, for all accounts."""
        failures = (account.failure for account in self.accounts.values())
        return next((failure for failure in failures if failure is not None), None)

    def status_at(self, phase: StreamStatus, now: float) -> StreamStatus:
        """Return the status in *phase*; `syncing` means that the stream is subscribed."""
        accounts = self.accounts.values()
        if phase != "syncing" or not all(account.is_merged for account in accounts):
            return phase
        return (
            "synced" if self.failure is None and now - self.proven_at <= self.bound else "suspect"
        )

    def update(self, phase: StreamStatus, now: float) -> None:
        """Emit the events of a change of the status."""
        before, self.status = self.status, self.status_at(phase, now)
        if self.status == before:
            return
        self.on_status(self.status)
        if self.status == "synced":
            self._was_synced = True
            if self._gap is not None:
                (since, reason), self._gap = self._gap, None
                until = self.to_datetime(now)
                self.emit(StreamEvent(kind="resynced", since=since, until=until, reason=reason))
            self.emit(StreamEvent(kind="synced"))
        elif self.status == "suspect":
            self.emit(StreamEvent(kind="stale", error=self.failure))

    def open_gap(self, since: float, reason: GapReason) -> None:
        """Report that changes may be missed from now on, unless that is known already."""
        if self._was_synced and self._gap is None:
            start = self.to_datetime(since)
            self._gap = start, reason
            self.emit(StreamEvent(kind="gap", since=start, reason=reason))

    def report_loss(self, since: float, until: float) -> None:
        """Report a push that was lost, and whose change is shown already."""
        start, end = self.to_datetime(since), self.to_datetime(until)
        self.emit(StreamEvent(kind="gap", since=start, until=end, reason="lost_push"))

    def refuse(self, error: HTXError) -> None:
        """Report that the stream does not reconnect."""
        self.emit(StreamEvent(kind="refused", error=error))
