"""The command: reads accounts, balances and points into tables or JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Annotated, Any, TypeVar, cast

import attrs
from cyclopts import App, CycloptsError, Parameter, validators
from rich.console import Console

from htx_async import tables
from htx_async.client import HTXClient
from htx_async.credentials import Credentials
from htx_async.errors import HTXError, InvalidInputError
from htx_async.models import Model
from htx_async.resources.balance import AccountBalance

T = TypeVar("T")

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done; HTX or the network said no; the call was wrong; Ctrl-C."""

app: App = App(
    name="htx-async",
    help="Read accounts, balances and points of HTX, with keys from HTX_ACCESS_KEY and "
    "HTX_SECRET_KEY in the environment, or from a sandbox that needs no keys.",
    version=lambda: version("htx-async"),
    default_parameter=Parameter(negative=()),
)


_Flag = Annotated[bool, Parameter(show_default=False)]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Common:
    """What every reading command understands."""

    json: _Flag = False
    """Print JSON, amounts as strings, instead of a table."""
    sandbox: _Flag = False
    """Ask an HTX that is started for this call, with made-up accounts: no keys needed."""


@app.command
def demo() -> None:
    """Show accounts, a balance and points of a sandbox: no keys, no internet."""
    asyncio.run(_demo())


async def _demo() -> None:
    console = Console()
    async with _client(Common(sandbox=True)) as htx:
        console.print("An HTX with made-up accounts runs in this process. It was asked for:\n")
        for shown in (
            tables.accounts(await htx.accounts.list()),
            tables.balance(await htx.accounts.balance(1000001), every=False),
            tables.points(await htx.points.balance()),
        ):
            console.print(shown, "")
    console.print("The same from Python: see the README. With your keys: htx-async balance --help")


@app.command
def accounts(*, common: Common = Common()) -> None:
    """List all accounts."""
    _show(common, lambda htx: htx.accounts.list(), tables.accounts)


@app.command
def balance(
    account: str = "spot",
    /,
    *,
    all: _Flag = False,  # noqa: A002 - the option's name
    common: Common = Common(),
) -> None:
    """
    Show what is in an account.

    Args:
        account: The account's id, or its type where there is one of that type.
        all: Show currencies of which there is nothing, too.
        common: What every reading command understands.
    """

    async def read(htx: HTXClient) -> AccountBalance:
        if account.isdigit():
            return await htx.accounts.balance(account)
        return await htx.accounts.balance(await htx.accounts.find(account))

    def kept(found: AccountBalance) -> AccountBalance:
        entries = [entry for currency in found.nonzero() for entry in currency.entries]
        return found if all else attrs.evolve(found, entries=tuple(entries))

    _show(common, read, lambda found: tables.balance(found, every=all), kept)


@app.command
def points(*, sub_uid: str | None = None, common: Common = Common()) -> None:
    """
    Show the points, and when they expire.

    Args:
        sub_uid: The UID of a sub user, whose points its parent asks for.
        common: What every reading command understands.
    """
    _show(common, lambda htx: htx.points.balance(sub_uid=sub_uid), tables.points)


@app.command
def sandbox(
    *,
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65_535))] = 8000,
    currencies: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
) -> None:
    """
    Serve a sandbox on a loopback port, until Ctrl-C.

    Args:
        port: Where to listen; 0 takes a free one.
        currencies: How many currencies the spot account has.
    """
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(port, currencies))


async def _serve(port: int, currencies: int | None) -> None:
    from htx_async.sandbox import Sandbox  # noqa: PLC0415 - only these commands need the extra

    async with Sandbox(currencies=currencies).serve(port=port) as base_url:
        print(f"HTX_BASE_URL={base_url} HTX_ACCESS_KEY=access-key HTX_SECRET_KEY=secret-key")
        print("Those settings make htx-async ask here. Ctrl-C ends it.", flush=True)
        await asyncio.Event().wait()


def _show(
    common: Common,
    read: Callable[[HTXClient], Awaitable[T]],
    table: Callable[[T], Any],
    kept: Callable[[T], T] = lambda found: found,
) -> None:
    """Read, and print the answer as a table or as JSON."""

    async def main() -> T:
        async with _client(common) as htx:
            return await read(htx)

    found = asyncio.run(main())
    if common.json:
        print(json.dumps(_plain(kept(found)), indent=2, ensure_ascii=False))
    else:
        Console().print(table(found))


def _plain(found: object) -> Any:
    if isinstance(found, Model):
        return found.to_dict()
    return [_plain(each) for each in cast("tuple[object, ...]", found)]


@asynccontextmanager
async def _client(common: Common) -> AsyncGenerator[HTXClient, None]:
    if not common.sandbox:
        async with HTXClient.from_env() as htx:
            yield htx
        return
    from htx_async.sandbox import Sandbox  # noqa: PLC0415 - only these commands need the extra

    keys = Credentials("access-key", "secret-key")
    async with Sandbox().serve() as base_url, HTXClient(keys, base_url=base_url) as htx:
        yield htx


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code. What goes wrong is told in one line."""
    try:
        app(arguments, exit_on_error=False, print_error=True)
    except SystemExit as done:  # newer versions of cyclopts end the program themselves
        return done.code if isinstance(done.code, int) else OK
    except KeyboardInterrupt:  # older ones do not
        return INTERRUPTED
    except CycloptsError:  # told already
        return MISUSED
    except InvalidInputError as error:
        return _failed(error, MISUSED)
    except (HTXError, ImportError, OSError) as error:
        return _failed(error, FAILED)
    return OK


def _failed(error: Exception, code: int) -> int:
    print(f"htx-async: {error}", file=sys.stderr)
    return code
