"""Whom the command asks, and what it tells of that on the way."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

import attrs
from cyclopts import Parameter
from rich.console import Console

from htx_async.auth.credentials import Credentials
from htx_async.client import HTXClient
from htx_async.events import Event, Listener
from htx_async.models.account import Account
from htx_async.models.balance import AccountBalance

Flag = Annotated[bool, Parameter(show_default=False)]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Asking:
    """What every command understands that asks HTX."""

    sandbox: Flag = False
    """Ask an exchange made up for this call: no keys needed."""
    debug: Flag = False
    """Tell on standard error what happens. Keys are not in it."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Common(Asking):
    """What every command understands that prints a table."""

    json: Flag = False
    """Print JSON, amounts as strings, instead of a table."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the command end as for any other print: newer versions of rich end it with 1."""
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """Return where to print. What HTX says is printed as it is: it may look like markup."""
    return _Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def complain(what: object) -> None:
    """Tell on standard error what is wrong: on one line, which a terminal folds between words."""
    where = console(stderr=True)
    where.print(f"htx-async: {what}", soft_wrap=not where.file.isatty())


def is_screen(where: Console) -> bool:
    """Tell whether somebody looks at it, and what is there can be changed."""
    # Not `is_terminal`, which FORCE_COLOR makes true of a pipe.
    return where.file.isatty() and not where.is_dumb_terminal


@asynccontextmanager
async def client(
    asking: Asking, listener: Listener | None = None, **options: Any
) -> AsyncGenerator[HTXClient, None]:
    """Open the client that was asked for; *listener* is told its events."""
    with logged(asking.debug) as log:
        heard = _both(log, listener)
        if not asking.sandbox:
            async with HTXClient.from_env(on_event=heard, **options) as htx:
                yield htx
            return
        async with (
            made_up() as (keys, base_url),
            HTXClient(keys, base_url=base_url, on_event=heard, **options) as htx,
        ):
            yield htx


@asynccontextmanager
async def made_up() -> AsyncGenerator[tuple[Credentials, str], None]:
    """Serve a sandbox; give the keys and the address to ask it."""
    from htx_async.sandbox import Sandbox  # noqa: PLC0415 - only some commands need the extra

    async with Sandbox().serve() as base_url:
        yield Credentials("access-key", "secret-key"), base_url


def _both(*listeners: Listener | None) -> Listener | None:
    wanted = [listener for listener in listeners if listener is not None]

    def tell(event: Event) -> None:
        for listener in wanted:
            listener(event)

    return tell if wanted else None


_LOGGERS = ("htx_async", "httpcore", "aiohttp")


@contextmanager
def logged(wanted: bool) -> Generator[Listener | None]:  # noqa: FBT001 - the option itself
    """Let loggers speak on standard error, and give what logs events; or do nothing."""
    if not wanted:
        yield None
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    try:
        yield lambda event: loggers[0].debug("%s", in_words(event))
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


_FACTS = ("wait", "http_status", "error", "attempts", "clock_offset", "unknown")


def in_words(event: Event) -> str:
    """Return an event as one line."""
    told = ((name, getattr(event, name)) for name in _FACTS)
    facts = (f"{name}={_short(value)}" for name, value in told if value is not None)
    return " ".join((event.endpoint, f"#{event.request_id}", event.kind, *facts))


def _short(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


async def balance(htx: HTXClient, account: str) -> AccountBalance:
    """Return the balance of an account that is named by its id or its type."""
    return await htx.accounts.balance(await _named(htx, account))


async def _named(htx: HTXClient, account: str) -> Account | str:
    return account if account.isdigit() else await htx.accounts.find(account)
