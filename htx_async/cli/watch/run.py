"""Runs `htx-async watch`: a live table on a terminal, a line for each change elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from rich.console import Console, Group
from rich.live import Live

from htx_async import Clock, HTXClient, LiveBalances, RateLimitStatus
from htx_async.cli import session
from htx_async.cli.watch import live_view, view
from htx_async.cli.watch.live_state import LiveState, watch_stream
from htx_async.cli.watch.state import WatchState, watch
from htx_async.resources.accounts import BALANCE

S = TypeVar("S", WatchState, LiveState)

TIMEOUT = 10.0
"""Seconds for one call with its retries, or until the stream is synced; after that the screen
shows the error."""


async def run(htx: HTXClient, account: str, *, lines: bool, as_json: bool = False) -> None:
    """Show the changes of an account, as a stream pushes them, until the task is cancelled."""
    clock, console = Clock(), session.console()
    opened: list[LiveBalances] = []
    fetch = partial(session.fetch_balance, htx, account)
    async with aclosing(watch_stream(htx, fetch, clock, opened.append)) as states:
        if as_json:
            failure_notice = live_view.failure_notice  # events are objects
            await _print_lines(states, LiveState(clock.now()), live_view.json_lines, failure_notice)
        elif lines or not session.is_interactive(console):
            await _print_lines(states, LiveState(clock.now()), live_view.lines, live_view.notice)
        else:

            def render(state: LiveState) -> Group:
                current = state.refreshed(opened[-1]) if opened else state
                return live_view.render(current, console.size.height)

            await _show_table(states, LiveState(clock.now()), render, live_view.summary, console)


async def poll(
    htx: HTXClient, account: str, every: float, *, lines: bool, as_json: bool = False
) -> None:
    """Show the changes of an account, as REST shows them, until the task is cancelled."""
    clock, console = Clock(), session.console()
    fetch = partial(session.fetch_balance, htx, account)
    async with aclosing(watch(fetch, every, clock)) as states:
        initial = WatchState(clock.now())
        if lines or as_json or not session.is_interactive(console):
            lines_of = view.json_lines if as_json else view.lines
            await _print_lines(states, initial, lines_of, view.notice)
        else:

            def render(state: WatchState) -> Group:
                return view.render(state, clock.now(), console.size.height, _limit(htx))

            await _show_table(states, initial, render, view.summary, console)


async def _print_lines(
    states: AsyncIterator[S],
    initial: S,
    lines_of: Callable[[S], Iterator[str]],
    notice_of: Callable[[S, S], str],
) -> None:
    previous = initial
    async for state in states:
        if notice := notice_of(previous, state):
            session.print_error(notice)
        for line in lines_of(state):
            print(line, flush=True)
        previous = state


async def _show_table(
    states: AsyncIterator[S],
    initial: S,
    render: Callable[[S], Group],
    summary: Callable[[S], Group],
    console: Console,
) -> None:
    state = initial
    try:
        # The alternate screen: a resized main screen would keep lines of the old width.
        with Live(
            get_renderable=lambda: render(state), console=console, screen=True, transient=True
        ):
            async for state in states:  # noqa: B007 - used by the screen
                pass
    finally:
        console.print(summary(state), crop=False)


def _limit(htx: HTXClient) -> RateLimitStatus:
    return htx.limits()[BALANCE.name]
