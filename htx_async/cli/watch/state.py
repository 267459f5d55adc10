"""What has moved in an account since the watch began: a fold over its balances and its faults."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

import attrs

from htx_async.clock import Clock
from htx_async.errors import (
    AccountNotFoundError,
    AuthenticationError,
    ClientClosedError,
    HTXError,
    InvalidInputError,
)
from htx_async.models.balance import AccountBalance
from htx_async.models.balance_diff import BalanceChange

KEPT = 500
"""Moves that are kept: more than any terminal has lines."""

FINAL = (InvalidInputError, ClientClosedError, AuthenticationError, AccountNotFoundError)
"""What time does not mend. All else is survived; HTX may block who asks on with a wrong key."""

_UNSUPPORTED = "base-argument-unsupported"
"""HTX's code for an account that cannot be asked for, such as an OTC account."""


@attrs.frozen
class Move:
    """A change, and when it was seen (seconds since 1970)."""

    at: float
    change: BalanceChange


@attrs.frozen
class Watched:
    """
    What was seen so far. Times are seconds since 1970.

    Attributes:
        began: When the watch began.
        balance: The latest balance; `None`: none was read yet.
        read_at: When that was read; 0: never.
        reads: How many reads succeeded.
        moves: What has moved, the newest first; the oldest are forgotten.
        changes: How many changes there were, those that are forgotten too.
        fresh: How many of them are new with the latest read.
        trouble: Why reads fail at present; `None`: they do not.
    """

    began: float
    balance: AccountBalance | None = None
    read_at: float = 0.0
    reads: int = 0
    moves: tuple[Move, ...] = ()
    changes: int = 0
    fresh: int = 0
    trouble: HTXError | None = None

    def read(self, balance: AccountBalance, at: float) -> Watched:
        """Return the same after a read that succeeded."""
        changes = () if self.balance is None else balance.changes(since=self.balance)
        moves = tuple(Move(at, change) for change in changes)
        return attrs.evolve(
            self,
            balance=balance,
            read_at=at,
            reads=self.reads + 1,
            moves=(*moves, *self.moves)[:KEPT],
            changes=self.changes + len(moves),
            fresh=min(len(moves), KEPT),
            trouble=None,
        )

    def failed(self, error: HTXError) -> Watched:
        """Return the same after a read that failed."""
        return attrs.evolve(self, fresh=0, trouble=error)


async def watch(
    read: Callable[[], Awaitable[AccountBalance]], every: float, clock: Clock
) -> AsyncGenerator[Watched]:
    """
    Yield what was seen after each read, without end: one begins every so many seconds at most.

    Raises:
        HTXError: A read failed for a reason that will not pass.
    """
    seen = Watched(clock.now())
    while True:
        next_at = clock.monotonic() + every
        seen = await _next(seen, read, clock)
        yield seen
        await clock.sleep(max(next_at - clock.monotonic(), 0.0))


async def _next(
    seen: Watched, read: Callable[[], Awaitable[AccountBalance]], clock: Clock
) -> Watched:
    try:
        return seen.read(await read(), clock.now())
    except FINAL:
        raise
    except HTXError as error:
        if error.code == _UNSUPPORTED:
            raise
        return seen.failed(error)
