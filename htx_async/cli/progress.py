"""Progress bar of `htx-async snapshot`, driven by client events."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

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
