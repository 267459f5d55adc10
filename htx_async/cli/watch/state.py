"""State of `htx-async watch --poll`, updated with each balance or error."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

import attrs

from htx_async import (
    AccountBalance,
    AccountNotFoundError,
    AuthenticationError,
    BalanceChange,
    ClientClosedError,
    Clock,
    HTXError,
    InvalidInputError,
)

MAX_CHANGES = 500
"""Changes that are kept: more than a terminal has lines."""

_FATAL = (InvalidInputError, ClientClosedError, AuthenticationError, AccountNotFoundError)

_UNSUPPORTED = "base-argument-unsupported"
"""HTX's code for an account whose balance it does not report, such as an OTC account."""


def is_fatal(error: HTXError) -> bool:
    """
    Return whether *error* ends the watch, because later calls would raise it again.

    HTX may block an address that keeps using an invalid key.
    """
    return isinstance(error, _FATAL) or error.code == _UNSUPPORTED


@attrs.frozen
class TimedChange:
    """A change, and when it was received (seconds since 1970)."""

    at: float
    change: BalanceChange


@attrs.frozen
class WatchState:
    """
    Balance, changes and error at one moment. Times are seconds since 1970.

    Attributes:
        started_at: When the watch started.
        balance: The latest balance; `None` before the first one.
        updated_at: When it was received; 0 before the first one.
        updates: Number of balances received.
        changes: The latest changes, newest first, at most `MAX_CHANGES`.
        change_count: Number of all changes.
        new_count: Number of `changes` that came with the latest balance.
        last_error: Error of the latest call; `None` if it succeeded.
    """

    started_at: float
    balance: AccountBalance | None = None
    updated_at: float = 0.0
    updates: int = 0
    changes: tuple[TimedChange, ...] = ()
    change_count: int = 0
    new_count: int = 0
    last_error: HTXError | None = None

    def with_balance(self, balance: AccountBalance, at: float) -> WatchState:
        """Return the state after a call that returned *balance*."""
        changes = () if self.balance is None else balance.changes(since=self.balance)
        timed = tuple(TimedChange(at, change) for change in changes)
        return attrs.evolve(
            self,
            balance=balance,
            updated_at=at,
            updates=self.updates + 1,
            changes=(*timed, *self.changes)[:MAX_CHANGES],
            change_count=self.change_count + len(timed),
            new_count=min(len(timed), MAX_CHANGES),
            last_error=None,
        )

    def with_error(self, error: HTXError) -> WatchState:
        """Return the state after a call that raised *error*."""
        return attrs.evolve(self, new_count=0, last_error=error)


async def watch(
    fetch: Callable[[], Awaitable[AccountBalance]], every: float, clock: Clock
) -> AsyncGenerator[WatchState]:
    """
    Call *fetch* at most once every *every* seconds, and yield the state after each call.

    Raises:
        HTXError: A call failed with an error that a later call would raise again.
    """
    state = WatchState(clock.now())
    while True:
        next_at = clock.monotonic() + every
        state = await _next(state, fetch, clock)
        yield state
        await clock.sleep(max(next_at - clock.monotonic(), 0.0))


async def _next(
    state: WatchState, fetch: Callable[[], Awaitable[AccountBalance]], clock: Clock
) -> WatchState:
    try:
        return state.with_balance(await fetch(), clock.now())
    except HTXError as error:
        if is_fatal(error):
            raise
        return state.with_error(error)
