"""Progress bars: of `htx-async snapshot`, driven by client events, and of long lists."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from htx_async import Event
from htx_async.cli.session import console, is_interactive
from htx_async.events import Listener
from htx_async.resources.accounts import BALANCE


@contextmanager
def balance_progress() -> Generator[Listener | None]:
    """Show a progress bar on standard error; yield its listener, `None` without a terminal."""
    screen = console(stderr=True)
    if not is_interactive(screen):
        yield None
        return
    columns = (TextColumn("balances"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        yield _listener(progress)


@contextmanager
def window_progress() -> Generator[Callable[[int, int], None] | None]:
    """Show a progress bar on standard error; yield what updates it, `None` without a terminal."""
    screen = console(stderr=True)
    if not is_interactive(screen):
        yield None
        return
    columns = (TextColumn("windows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _listener(progress: Progress) -> Listener:
    task = progress.add_task("", total=None)
    started = finished = 0

    def update(event: Event) -> None:
        nonlocal started, finished
        if event.endpoint == BALANCE.name:
            started += event.kind == "started"
            finished += event.kind == "finished"
            progress.update(task, total=started, completed=finished)

    return update
