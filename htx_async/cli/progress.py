"""How far a snapshot is: told by the events of its reads, shown on a terminal only."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from htx_async.cli.session import console, is_screen
from htx_async.events import Event, Listener
from htx_async.resources.accounts import BALANCE


@contextmanager
def of_balances() -> Generator[Listener | None]:
    """Show a bar on standard error, and give what has to be told the events; or do nothing."""
    screen = console(stderr=True)
    if not is_screen(screen):
        yield None
        return
    columns = (TextColumn("balances"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        yield _teller(progress)


def _teller(progress: Progress) -> Listener:
    task = progress.add_task("", total=None)
    called = returned = 0

    def tell(event: Event) -> None:
        nonlocal called, returned
        if event.endpoint == BALANCE.name:
            called += event.kind == "started"
            returned += event.kind == "finished"
            progress.update(task, total=called, completed=returned)

    return tell
