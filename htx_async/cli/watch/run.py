"""Runs `htx-async watch`: a live table on a terminal, a line for each change elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from functools import partial

from rich.console import Console, Group
from rich.live import Live

from htx_async import Clock, HTXClient, RateLimitStatus
from htx_async.cli import session
from htx_async.cli.watch import view
from htx_async.cli.watch.state import WatchState, watch
from htx_async.resources.accounts import BALANCE

TIMEOUT = 10.0
"""Seconds for one call with its retries; after that the screen shows the error."""


async def run(
    htx: HTXClient, account: str, every: float, *, lines: bool, as_json: bool = False
) -> None:
    """Show the changes of an account until the task is cancelled."""
    clock, console = Clock(), session.console()
    fetch = partial(session.fetch_balance, htx, account)
    async with aclosing(watch(fetch, every, clock)) as states:
        if lines or as_json or not session.is_interactive(console):
            await _print_lines(states, clock, view.json_lines if as_json else view.lines)
        else:
            await _show_table(states, htx, clock, console)


async def _print_lines(
    states: AsyncIterator[WatchState],
    clock: Clock,
    lines_of: Callable[[WatchState], Iterator[str]],
) -> None:
    previous = WatchState(clock.now())
    async for state in states:
        if notice := view.notice(previous, state):
            session.print_error(notice)
        for line in lines_of(state):
            print(line, flush=True)
        previous = state


async def _show_table(
    states: AsyncIterator[WatchState], htx: HTXClient, clock: Clock, console: Console
) -> None:
    state, limit = WatchState(clock.now()), _limit(htx)

    def render() -> Group:
        return view.render(state, clock.now(), console.size.height, limit)

    try:
        # The alternate screen: a resized main screen would keep lines of the old width.
        with Live(get_renderable=render, console=console, screen=True, transient=True):
            async for state in states:  # noqa: B007 - used by `render`
                limit = _limit(htx)
    finally:
        console.print(view.summary(state), crop=False)


def _limit(htx: HTXClient) -> RateLimitStatus:
    return htx.limits()[BALANCE.name]
