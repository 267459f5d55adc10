"""Options that commands share, the client that they use, and the console that they print to."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

import attrs
from cyclopts import Parameter
from rich.console import Console

from htx_async import AccountBalance, Clock, Credentials, HTXClient, InvalidInputError, log
from htx_async.cli.market import run_market
from htx_async.client import BASE_URL
from htx_async.events import Listener
from htx_async.redaction import one_line
from htx_async.sandbox import Sandbox
from htx_async.validation import base_url_problem

Flag = Annotated[bool, Parameter(show_default=False)]

BASE_URL_VARIABLE = "HTX_BASE_URL"
NO_KEYS = Credentials("unset", "unset")
"""For a client that only sends unsigned requests."""

_MAX_ERROR = 4000
"""Characters of an error that are printed."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ConnectionOptions:
    """Options of every command that calls HTX."""

    sandbox: Flag = False
    """Use a local sandbox with example accounts; no keys needed."""
    debug: Flag = False
    """Log each request to standard error. Keys are redacted."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class OutputOptions(ConnectionOptions):
    """Options of every command that prints a table."""

    json: Flag = False
    """Print JSON instead of a table; amounts are strings."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class RowOptions(OutputOptions):
    """Options of every command that prints rows."""

    csv: Flag = False
    """Print CSV instead of a table."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class BalanceOptions(RowOptions):
    """Options of every command that prints balances."""

    all: Flag = False
    """Include currencies with zero balance."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise, as `print` does; newer versions of rich exit with 1 instead."""
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints text unchanged, also where it looks like markup."""
    return _Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def print_error(message: str) -> None:
    """Print *message* to standard error as one line; a terminal wraps it between words."""
    target = console(stderr=True)
    text = one_line(f"htx-async: {message}", _MAX_ERROR)
    target.print(text, soft_wrap=not target.file.isatty())


def is_interactive(target: Console) -> bool:
    """Return whether *target* is a terminal on which printed text can be replaced."""
    # Not `is_terminal`, which FORCE_COLOR sets for a pipe, too.
    return target.file.isatty() and not target.is_dumb_terminal


@asynccontextmanager
async def open_client(
    options: ConnectionOptions,
    listener: Listener | None = None,
    *,
    has_keys: bool = True,
    **client_options: Any,
) -> AsyncGenerator[HTXClient]:
    """Open a client for HTX or the sandbox; *listener* receives its events."""
    target = sandbox_session() if options.sandbox else _environment(has_keys=has_keys)
    with debug_log(enabled=options.debug):
        async with (
            target as (credentials, url),
            HTXClient(credentials, base_url=url, on_event=listener, **client_options) as htx,
        ):
            yield htx


@asynccontextmanager
async def _environment(*, has_keys: bool) -> AsyncGenerator[tuple[Credentials, str]]:
    url = base_url()
    if problem := base_url_problem(url, BASE_URL_VARIABLE):
        del url  # it may contain a password
        raise InvalidInputError(problem)
    yield Credentials.from_env() if has_keys else NO_KEYS, url


def check_stream_extra(alternative: str = "") -> None:
    """Raise `ImportError` if the library for WebSocket is not installed."""
    if importlib.util.find_spec("websockets") is None:
        msg = f'this needs the package websockets: pip install "htx-async[stream]". {alternative}'
        raise ImportError(msg.rstrip(". "))


def base_url() -> str:
    """Return HTX's address, or the one in `HTX_BASE_URL`, which may be wrong."""
    return os.environ.get(BASE_URL_VARIABLE) or BASE_URL


@asynccontextmanager
async def sandbox_session() -> AsyncGenerator[tuple[Credentials, str]]:
    """Serve a sandbox whose balances change; yield its credentials and base URL."""
    sandbox = Sandbox()
    market = asyncio.create_task(run_market(sandbox, Clock()))
    try:
        async with sandbox.serve() as base_url:
            yield Credentials("access-key", "secret-key"), base_url
    finally:
        market.cancel()
        await asyncio.wait([market])


@contextmanager
def debug_log(*, enabled: bool) -> Generator[None]:
    """If *enabled*, log each request to standard error, as with `HTX_LOG=debug`."""
    handlers, level = list(log.LOGGER.handlers), log.LOGGER.level
    if enabled:
        log.print_records(logging.DEBUG)
    try:
        yield
    finally:
        log.LOGGER.handlers[:] = handlers
        log.LOGGER.setLevel(level)


async def fetch_balance(htx: HTXClient, account: str) -> AccountBalance:
    """Return the balance of an account, which is named by its id or type, in any case."""
    return await htx.accounts.balance(account.lower())
