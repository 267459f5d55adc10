"""State of `htx-async watch` on a stream, updated with each event, and the connecting to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import attrs

from htx_async import AccountBalance, Clock, HTXClient, HTXError, LiveBalances, StreamEvent
from htx_async.cli.watch.state import MAX_CHANGES, TimedChange, is_fatal
from htx_async.stream.events import StreamStatus

RETRY_DELAY = 1.0
"""Seconds until a stream that was not synced within the timeout is opened again."""


@attrs.frozen
class LiveState:
    """
    Status, changes and event of a stream at one moment. Times are seconds since 1970.

    Attributes:
        started_at: When the watch started.
        at: When the event happened.
        balance: The account as it was before the stream was opened; `None`: not known yet.
        status: Status of the stream.
        age: Seconds since everything that is shown was proven equal to REST.
        bound: What `age` is at most while the stream is synced.
        event: What has happened; `None`: the stream could not be opened, see `error`.
        changes: The latest changes, newest first, at most `MAX_CHANGES`.
        change_count: Number of all changes.
        gap_count: Number of gaps.
        error: Why the stream is not synced; `None`: it is, or the reason is not known.
    """

    started_at: float
    at: float = 0.0
    balance: AccountBalance | None = None
    status: StreamStatus = "connecting"
    age: float = 0.0
    bound: float = 0.0
    event: StreamEvent | None = None
    changes: tuple[TimedChange, ...] = ()
    change_count: int = 0
    gap_count: int = 0
    error: HTXError | None = None

    def with_event(self, event: StreamEvent, live: LiveBalances, at: float) -> LiveState:
        """Return the state of *live* after *event*."""
        is_recovery = event.kind in ("synced", "resynced")
        state = attrs.evolve(
            self.refreshed(live),
            at=at,
            event=event,
            gap_count=self.gap_count + (event.kind == "gap"),
            error=None if is_recovery else event.error or self.error,
        )
        if event.change is None:
            return state
        changes = (TimedChange(at, event.change), *self.changes)[:MAX_CHANGES]
        return attrs.evolve(state, changes=changes, change_count=self.change_count + 1)

    def with_error(self, error: HTXError, at: float) -> LiveState:
        """Return the state after the stream could not be opened."""
        return attrs.evolve(self, at=at, event=None, status="disconnected", error=error)

    def refreshed(self, live: LiveBalances) -> LiveState:
        """Return the state with what *live* shows now."""
        return attrs.evolve(self, status=live.status, age=live.age, bound=live.bound)


async def watch_stream(
    htx: HTXClient,
    fetch: Callable[[], Awaitable[AccountBalance]],
    clock: Clock,
    on_open: Callable[[LiveBalances], object],
) -> AsyncGenerator[LiveState]:
    """
    Open a stream of the account that *fetch* returns, and yield the state after each event.

    The first event is that the stream is synced. A stream that cannot be opened is opened again;
    one that is open reconnects by itself. *on_open* is called with it.

    Raises:
        HTXError: It would be raised again.
    """
    state = LiveState(clock.now())
    while True:
        failure: HTXError | None = None
        try:
            balance = await fetch()
            state = attrs.evolve(state, balance=balance)
            async with htx.accounts.stream(balance.id) as live:
                on_open(live)
                async with aclosing(_events(state, live, clock)) as states:
                    async for state in states:
                        yield state
        except HTXError as error:
            if is_fatal(error):
                raise
            failure = error
        if failure is None:  # the stream has ended
            break
        state = state.with_error(failure, clock.now())
        yield state
        await clock.sleep(RETRY_DELAY)
    if state.event is not None and state.event.error is not None:  # HTX refused the key
        raise state.event.error


async def _events(state: LiveState, live: LiveBalances, clock: Clock) -> AsyncGenerator[LiveState]:
    events = live.events()
    state = state.with_event(StreamEvent(kind="synced"), live, clock.now())
    yield state
    async for event in events:
        state = state.with_event(event, live, clock.now())
        yield state
        if event.kind == "refused":
            break
