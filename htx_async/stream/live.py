"""`htx.accounts.stream()`: balances that are pushed, and proven equal to REST."""

from __future__ import annotations

import functools
import importlib.util
import logging
import math
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from htx_async import validation
from htx_async.auth.provider import CredentialStore
from htx_async.clock import Clock, ServerClock
from htx_async.errors import (
    AccountNotFoundError,
    ClientClosedError,
    DeadlineExceededError,
    HTXError,
    InvalidInputError,
    copy_error,
)
from htx_async.models.account import Account
from htx_async.models.balance import AccountBalance, CurrencyBalance
from htx_async.models.balance_diff import BalanceChange
from htx_async.models.enums import AccountType
from htx_async.stream.account_state import FollowedAccount
from htx_async.stream.buffer import EventBuffer
from htx_async.stream.events import StreamEvent, StreamStatus
from htx_async.stream.follower import BOUND_SLACK, Follower
from htx_async.stream.observer import ObservedKind, Observer
from htx_async.stream.shared import Accounts, Settings, SharedConnection
from htx_async.stream.sockets import OpenSocket, Socket
from htx_async.validation import Origin

T = TypeVar("T")

_NOT_FOLLOWED = frozenset({AccountType.OTC, AccountType.POINT})
"""Types that are followed only if they are named: REST has no balance of the first, and HTX does
not document pushes of the second."""
_CLOSED: Final = "this stream is closed: create a new one"

_log: Final = logging.getLogger("htx_async")


class StreamHub:
    """
    The streams of one client, which share one connection.

    Args:
        origin: HTX's address.
        clock: Source of time.
        server_clock: HTX's time.
        credentials: The credentials of the client.
        open_socket: Opens a connection; `None`: one of websockets.
    """

    def __init__(
        self,
        origin: Origin,
        clock: Clock,
        server_clock: ServerClock,
        credentials: CredentialStore,
        open_socket: OpenSocket | None = None,
    ) -> None:
        self.clock: Clock = clock
        opener = open_socket or functools.partial(_open_websocket, origin)
        self.settings: Settings = Settings(origin, clock, server_clock, credentials, opener)
        self._streams: dict[LiveBalances, Observer] = {}
        self._shared: SharedConnection | None = None

    def join(self, stream: LiveBalances, accounts: Accounts, observe: Observer) -> SharedConnection:
        """Add a stream, and return the connection that it shares."""
        self._streams[stream] = observe
        if self._shared is None:
            self._shared = SharedConnection(self.settings, accounts, self._observe)
        return self._shared

    async def leave(self, stream: LiveBalances) -> None:
        """Remove a stream; the last one closes the connection."""
        self._streams.pop(stream, None)
        if not self._streams and self._shared is not None:
            shared, self._shared = self._shared, None
            await shared.aclose()

    async def aclose(self) -> None:
        """Close all streams: their iterators end."""
        for stream in tuple(self._streams):
            await stream.aclose()

    def _observe(self, kind: ObservedKind, data: Any) -> None:
        for observe in self._streams.values():
            observe(kind, data)


async def _open_websocket(origin: Origin) -> Socket:
    from htx_async.stream import connection  # noqa: PLC0415 - an extra

    return await connection.open_websocket(origin)


class LiveAccount:
    """
    Live balances of one account of a stream.

    Attributes:
        account: The account.
    """

    def __init__(self, state: FollowedAccount) -> None:
        self.account: Account = state.account
        self._state = state

    def __getitem__(self, currency: str) -> CurrencyBalance:
        """Return the amounts of a currency now; `KeyError` if HTX does not list it."""
        try:
            return self._state.currency(currency)
        except KeyError:
            pass
        return self.balance()[currency]  # its error says more

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
        wanted: frozenset[tuple[str, str] | int] | None,
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
        self._fill = fill
        self._shared: SharedConnection | None = None
        self._follower: Follower | None = None
        self._consumers: weakref.WeakSet[EventBuffer[Any]] = weakref.WeakSet()
        self._observers: list[Observer] = []
        self._is_closed = False

    @property
    def status(self) -> StreamStatus:
        """The state of the stream: `synced`, or why it is not."""
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
        """Seconds since the start of the REST read that last proved it; infinite: none did."""
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
            HTXError: HTX refused the key.
        """
        validation.seconds(max_age, "max_age")
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
                    if not state.is_pending:
                        shared.audit(state)
                    await shared.wait()
        except TimeoutError:
            pass
        raise DeadlineExceededError(self._late("the balance was not proven"))

    async def aclose(self) -> None:
        """Leave the stream. Its iterators end; the last stream closes the connection."""
        was_closed, self._is_closed = self._is_closed, True
        for consumer in tuple(self._consumers):
            consumer.close()
        if self._shared is not None:
            if self._follower is not None and not was_closed:
                self._shared.session.remove(self._follower)
            if not was_closed:
                _log_status("closed")
            self._shared.notify()
        await self._hub.leave(self)

    async def __aenter__(self) -> Self:
        if self._is_closed or self._shared is not None:
            raise ClientClosedError(_CLOSED)
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
                selected = _select(await self._reads.list(), self._wanted)
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
        if failure is None:
            raise DeadlineExceededError(self._late("the stream was not synced"))
        raise copy_error(failure)

    def _open(self) -> SharedConnection:
        if self._is_closed or self._shared is None:
            raise ClientClosedError(_CLOSED)
        return self._shared

    def _late(self, what: str) -> str:
        return f"{what} within {self._timeout:g} s (timeout): its status is {self.status}"

    def _emit(self, event: StreamEvent) -> None:
        self._observe("event", event)
        for consumer in tuple(self._consumers):
            consumer.put(event)
        if self._fill and event.kind == "resynced":
            self._fill_gap(event)

    def _fill_gap(self, gap: StreamEvent) -> None:
        """
        TO BE JOINED with `accounts.history`: deliver what happened during *gap*.

        It is to read the history of each account from `gap.since` to `gap.until`, if that is less
        than an hour, in a task that `aclose` ends. Nothing is delivered so far.
        """

    def _observe(self, kind: ObservedKind, data: Any) -> None:
        for observe in self._observers:
            observe(kind, data)

    def _consume(self, convert: Callable[[StreamEvent], T | None]) -> EventBuffer[T]:
        def on_overflow() -> None:
            self._emit(StreamEvent(kind="overflow"))

        consumer = EventBuffer(self._buffer, convert, on_overflow)
        self._consumers.add(consumer)
        if self._is_closed:
            consumer.close()
        return consumer

    def _find(self, account: object) -> FollowedAccount:
        """Return the state of an account; `KeyError`: there is none, or there are several."""
        try:
            wanted = _wanted_of(account)
        except InvalidInputError as error:
            problem = str(error)
        else:
            states = [state for state in self._states if _matches(state.account, wanted)]
            if len(states) == 1:
                return states[0]
            candidates = ", ".join(_describe(each.account) for each in states or self._states)
            count = "several" if states else "no"
            problem = f"{count} accounts match; this stream has: {candidates or 'none'}"
        raise KeyError(problem)


def observe(stream: LiveBalances, observer: Observer) -> None:
    """Call *observer* with what happens to *stream* and its connection, until it is closed."""
    stream._observers.append(observer)  # noqa: SLF001 - not for users: it gets amounts


def check_accounts(accounts: object) -> frozenset[tuple[str, str] | int] | None:
    """Return what the argument `accounts` names; `None`: all."""
    if accounts is None:
        return None
    if isinstance(accounts, str | int | Account):
        return frozenset({_wanted_of(accounts)})
    got = validation.describe(accounts)
    if not isinstance(accounts, Collection) or isinstance(accounts, bytes | Mapping):
        msg = f"accounts must be an account or a collection of them, got {got}"
        raise InvalidInputError(msg)
    items = cast("Collection[object]", accounts)
    if not items:
        msg = "accounts must not be empty: pass None for all accounts"
        raise InvalidInputError(msg)
    return frozenset(map(_wanted_of, items))


def check_extra() -> None:
    """Raise `InvalidInputError` if the library for WebSocket is not installed."""
    if importlib.util.find_spec("websockets") is None:
        msg = 'live balances need the package websockets: pip install "htx-async[stream]"'
        raise InvalidInputError(msg)


def _wanted_of(account: object) -> tuple[str, str] | int:
    """Return a type and subtype, or an id."""
    if (name := validation.account_name(account, "accounts")) is not None:
        return name
    key = account.id if isinstance(account, Account) else account
    return int(validation.numeric_id(key, "accounts"))


def _matches(account: Account, wanted: tuple[str, str] | int) -> bool:
    if isinstance(wanted, int):
        return account.id == wanted
    return account.type == wanted[0] and wanted[1] in ("", account.subtype)


def _select(
    accounts: Iterable[Account], wanted: frozenset[tuple[str, str] | int] | None
) -> list[Account]:
    """Return the accounts to follow."""
    accounts = tuple(accounts)
    if wanted is None:
        selected = [account for account in accounts if account.type not in _NOT_FOLLOWED]
        missing: Iterable[object] = () if selected else ("any that has balances",)
    else:
        selected = [each for each in accounts if any(_matches(each, name) for name in wanted)]
        missing = [name for name in wanted if not any(_matches(each, name) for each in accounts)]
    for name in missing:
        text = ":".join(filter(None, name)) if isinstance(name, tuple) else str(name)
        candidates = ", ".join(map(_describe, accounts)) or "none"
        msg = f"no account is {text}. Accounts of this user: {candidates}"
        raise AccountNotFoundError(msg)
    return selected


def _log_status(status: StreamStatus) -> None:
    _log.info("live balances: %s", status)


def _describe(account: Account) -> str:
    return f"{account.id} ({account.type} {account.subtype}".rstrip() + ")"
