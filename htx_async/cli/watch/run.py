"""The watch itself: a table on a terminal, a line for each change anywhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

from rich.console import Console, Group
from rich.live import Live

from htx_async.cli import session
from htx_async.cli.watch import view
from htx_async.cli.watch.state import Watched, watch
from htx_async.client import HTXClient
from htx_async.clock import Clock
from htx_async.ratelimit.queue import RateLimitStatus
from htx_async.resources.accounts import BALANCE

TIMEOUT = 10.0
"""Seconds for one read with its repetitions: then the screen says that there is trouble."""


async def run(htx: HTXClient, account: str, every: float, *, lines: bool) -> None:
    """Show what moves in an account, until somebody ends it."""
    clock, console = Clock(), session.console()
    async with aclosing(watch(partial(session.balance, htx, account), every, clock)) as watched:
        if lines or not session.is_screen(console):
            await _in_lines(watched, clock)
        else:
            await _on_screen(watched, htx, clock, console)


async def _in_lines(watched: AsyncIterator[Watched], clock: Clock) -> None:
    before = Watched(clock.now())
    async for seen in watched:
        if told := view.notice(before, seen):
            session.complain(told)
        for line in view.lines(seen):
            print(line, flush=True)
        before = seen


async def _on_screen(
    watched: AsyncIterator[Watched], htx: HTXClient, clock: Clock, console: Console
) -> None:
    seen, limit = Watched(clock.now()), _limit(htx)

    def shown() -> Group:
        return view.view(seen, clock.now(), console.size.height, limit)

    try:
        # On a screen of its own: the lines of another width would stay when the window changes.
        with Live(get_renderable=shown, console=console, screen=True, transient=True):
            async for seen in watched:  # noqa: B007 - it is shown
                limit = _limit(htx)
    finally:
        console.print(view.summary(seen))


def _limit(htx: HTXClient) -> RateLimitStatus:
    return htx.limits()[BALANCE.name]
