"""`htx.accounts.stream()`: balances that are pushed, and proven equal to REST."""

from __future__ import annotations

import asyncio
import logging
import math
import weakref
from collections.abc import AsyncIterator, Callable, Collection
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from htx_async import validation
from htx_async.clock import running_loop
from htx_async.errors import (
    ClientClosedError,
    DeadlineExceededError,
    EventLoopError,
    HTXError,
    InvalidInputError,
    copy_error,
)
from htx_async.models.account import Account
from htx_async.models.balance import AccountBalance, CurrencyBalance
from htx_async.models.balance_diff import BalanceChange
from htx_async.stream.account_state import FollowedAccount
from htx_async.stream.buffer import EventBuffer
from htx_async.stream.events import StreamEvent, StreamStatus
from htx_async.stream.filling import GapFiller
from htx_async.stream.follower import BOUND_SLACK, Follower
from htx_async.stream.hub import StreamHub
from htx_async.stream.observer import ObservedKind, Observer
from htx_async.stream.selection import Wanted, describe_account, matches, select, wanted_of
from htx_async.stream.shared import Accounts, SharedConnection

T = TypeVar("T")

_CLOSED: Final = "this stream is closed: create a new one"
_ENTERED: Final = "this stream was entered already: create another one"

_OTHER_LOOP: Final = (
    "this stream belongs to another event loop: create one client for each event loop"
)

_log: Final = logging.getLogger("htx_async")


class LiveAccount:
    """
    Live balances of one account of a stream.

    Attributes:
        account: The account.
    """

    account: Account

    def __init__(self, state: FollowedAccount) -> None:
        self.account = state.account
        self._state = state

    def __getitem__(self, currency: str) -> CurrencyBalance:
        """Return the amounts of a currency now; `KeyError` if HTX does not list it."""
        try:
            return self._state.currency(currency)
        except KeyError:
            pass
        return self.balance()[currency]  # its error has the details

    def balance(self) -> AccountBalance:
        """
        Return all rows now.

        Rows that are not pushed, such as `loan`, are those of the last audit, and `received_at` is
        the time of its response.
        """
        return self._state.balance()

    def __repr__(self) -> str:
        return f"LiveAccount({self.account!r})"


class LiveBalances:
    """
    Balances that HTX pushes, joined with REST. Create it by `htx.accounts.stream()`.

    Entering it by `async with` connects, and returns once everything is proven equal to REST. What
    is shown for a currency is never older than what was shown before.
    """

    def __init__(
        self,
        hub: StreamHub,
        accounts: Accounts,
        timeout: float,
        wanted: frozenset[Wanted] | None,
        *,
        audit_interval: float,
        buffer: int,
        fill: bool,
    ) -> None:
        self._hub = hub
        self._reads = accounts
        self._timeout = timeout
        self._wanted = wanted
        self._audit_interval = audit_interval
        self._buffer = buffer
        self._filler = GapFiller(accounts, hub.clock, self._deliver, buffer) if fill else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._shared: SharedConnection | None = None
        self._follower: Follower | None = None
        # Iterating a `WeakSet` would take a tenth of the CPU of a push.
        self._consumers: list[weakref.ref[EventBuffer[Any]]] = []
        self._observers: list[Observer] = []
        self._is_entered = False
        self._is_closed = False

    @property
    def status(self) -> StreamStatus:
        """Status of the stream, `synced` or why it is not."""
        if self._is_closed:
            return "closed"
        if self._follower is None or self._shared is None:
            return "connecting"
        return self._follower.status_at(self._shared.session.phase, self._hub.clock.monotonic())

    @property
    def synced(self) -> bool:
        """Whether all that is shown is proven, at most `bound` seconds ago."""
        return self.status == "synced"

    @property
    def age(self) -> float:
        """Seconds since the start of the REST read that last proved it, infinite if none did."""
        if self._follower is None:
            return math.inf
        return self._hub.clock.monotonic() - self._follower.proven_at

    @property
    def bound(self) -> float:
        """Seconds that `age` is at most while the stream is synced."""
        return self._audit_interval + BOUND_SLACK

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts that the stream follows."""
        return tuple(state.account for state in self._states)

    @property
    def _states(self) -> Collection[FollowedAccount]:
        return () if self._follower is None else self._follower.accounts.values()

    def __getitem__(self, account: Account | int | str) -> LiveAccount:
        """Return an account: by id, by type, by type and subtype (`margin:btcusdt`)."""
        return LiveAccount(self._find(account))

    def changes(self) -> AsyncIterator[BalanceChange]:
        """Return an iterator over the changes from now on; it ends when the stream closes."""
        return self._consume(lambda event: event.change)

    def events(self) -> AsyncIterator[StreamEvent]:
        """Return an iterator over all events from now on; it ends when the stream closes."""
        return self._consume(lambda event: event)

    async def verified(self, account: Account | int | str, *, max_age: float) -> AccountBalance:
        """
        Return the balance of an account once it is proven equal to REST.

        Args:
            account: One of the accounts of the stream.
            max_age: Seconds that the proof may be old when this is called. 0: REST is read always.

        Raises:
            KeyError: The stream does not follow this account.
            InvalidInputError: *max_age* is not a number of seconds.
            DeadlineExceededError: It was not proven within the client's `timeout`.
            ClientClosedError: The stream is closed.
            EventLoopError: The stream belongs to another event loop.
            HTXError: HTX refused the key.
        """
        validation.seconds(max_age, "max_age")
        self._check_loop()
        state = self._find(account)
        wanted_at = self._hub.clock.monotonic() - max_age
        reads = state.reads + 1 + state.is_reading if max_age == 0 else 0
        try:
            async with self._hub.clock.timeout(self._timeout):
                while True:
                    shared = self._open()
                    if shared.is_refused and shared.error is not None:
                        raise copy_error(shared.error)
                    is_recent = state.proven_at >= wanted_at and state.reads >= reads
                    if is_recent and state.is_merged:
                        return state.balance()
                    if not state.is_pending and state.failure is None:  # else it is read soon
                        shared.audit(state)
                    await shared.wait()
        except TimeoutError:
            pass
        raise DeadlineExceededError(self._late("the balance was not proven"))

    async def aclose(self) -> None:
        """
        Leave the stream. Its iterators end; the last stream closes the connection.

        Raises:
            EventLoopError: The stream belongs to another event loop: leave it there.
        """
        self._check_loop()
        was_closed, self._is_closed = self._is_closed, True
        if self._filler is not None:
            self._filler.release()
        for consumer in self._live_consumers():
            consumer.close()
        if self._shared is not None:
            if self._follower is not None and not was_closed:
                self._shared.session.remove(self._follower)
            if not was_closed:
                _log_status("closed")
            self._shared.notify()
        await self._hub.leave(self)
        if self._filler is not None:
            await self._filler.wait()

    async def __aenter__(self) -> Self:
        if self._is_closed or self._is_entered:
            raise ClientClosedError(_CLOSED if self._is_closed else _ENTERED)
        self._is_entered, self._loop = True, running_loop()
        try:
            await self._enter()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"LiveBalances(status={self.status!r}, accounts={len(self._states)})"

    async def _enter(self) -> None:
        """Connect, and wait until the stream is synced."""
        failure: HTXError | None = None
        try:
            async with self._hub.clock.timeout(self._timeout):
                selected = select(await self._reads.list(), self._wanted)
                if self._is_closed:
                    raise ClientClosedError(_CLOSED)
                self._shared = self._hub.join(self, self._reads, self._observe)
                self._follower = self._shared.follow(
                    selected, self._audit_interval, self._emit, _log_status
                )
                while not self.synced:
                    shared = self._open()
                    failure = shared.error
                    if failure is not None and (shared.is_refused or not failure.retryable):
                        break
                    await shared.wait()
                else:
                    return
        except TimeoutError:
            pass
        if failure is None and self._follower is not None:
            failure = self._follower.failure
        if failure is None:
            raise DeadlineExceededError(self._late("the stream was not synced"))
        raise copy_error(failure)

    def _open(self) -> SharedConnection:
        if self._is_closed or self._shared is None:
            raise ClientClosedError(_CLOSED)
        return self._shared

    def _check_loop(self) -> None:
        if self._loop not in (None, running_loop()):
            raise EventLoopError(_OTHER_LOOP)

    def _late(self, what: str) -> str:
        return f"{what} within {self._timeout:g} s (timeout): its status is {self.status}"

    def _emit(self, event: StreamEvent) -> None:
        self._observe("event", event)
        if self._filler is None:
            self._deliver(event)
        else:
            self._filler.put(event)

    def _deliver(self, event: StreamEvent) -> None:
        for consumer in self._live_consumers():
            consumer.put(event)

    def _live_consumers(self) -> list[EventBuffer[Any]]:
        consumers = [reference() for reference in self._consumers]
        return [consumer for consumer in consumers if consumer is not None]

    def _observe(self, kind: ObservedKind, data: Any) -> None:
        for observe in self._observers:
            observe(kind, data)

    def _consume(self, convert: Callable[[StreamEvent], T | None]) -> EventBuffer[T]:
        def on_overflow() -> None:
            self._emit(StreamEvent(kind="overflow"))

        consumer = EventBuffer(self._buffer, convert, on_overflow)
        self._consumers.append(weakref.ref(consumer, self._consumers.remove))
        if self._is_closed:
            consumer.close()
        return consumer

    def _find(self, account: object) -> FollowedAccount:
        """Return the state of an account; `KeyError`: there is none, or there are several."""
        try:
            wanted = wanted_of(account)
        except InvalidInputError as error:
            problem = str(error)
        else:
            states = [state for state in self._states if matches(state.account, wanted)]
            if len(states) == 1:
                return states[0]
            candidates = ", ".join(
                describe_account(each.account) for each in states or self._states
            )
            count = "several" if states else "no"
            problem = f"{count} accounts match; this stream has: {candidates or 'none'}"
        raise KeyError(problem)


def observe(stream: LiveBalances, observer: Observer) -> None:
    """Call *observer* with what happens to *stream* and its connection, until it is closed."""
    # Not a method: observers get amounts, and are not for users.
    stream._observers.append(observer)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def _log_status(status: StreamStatus) -> None:
    _log.info("live balances: %s", status)
