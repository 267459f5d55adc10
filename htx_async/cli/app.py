"""The commands and their options. What they do is in the modules beside this one."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated

import attrs
from cyclopts import App, Parameter, validators

from htx_async.cli import csv_export, output, progress, reports, session, tables
from htx_async.cli.doctor.run import run as run_doctor
from htx_async.cli.exit_codes import FAILED, OK
from htx_async.cli.session import Asking, Common, Flag, console
from htx_async.cli.watch.run import TIMEOUT
from htx_async.cli.watch.run import run as run_watch

app: App = App(
    name="htx-async",
    help="""
Read accounts, balances and points of HTX.

Keys come from the environment: HTX_ACCESS_KEY, and HTX_SECRET_KEY or, for
Ed25519, HTX_PRIVATE_KEY. A name with _FILE at its end names a file instead.
With --sandbox no keys are needed.

To begin with:

  htx-async demo              what it can show, without keys
  htx-async doctor            whether machine, network and key are right
  htx-async balance spot      what is in the spot account
""",
    help_format="plaintext",
    version=lambda: version("htx-async"),
    default_parameter=Parameter(negative=()),
)

_COMMON, _ASKING = Common(), Asking()


@app.command
def demo() -> None:
    """Show accounts, a balance and points of a sandbox: without keys."""
    asyncio.run(_demo())


async def _demo() -> None:
    screen = console()
    async with session.client(Asking(sandbox=True)) as htx:
        screen.print("An HTX with made-up accounts runs in this process. It was asked for:\n")
        for shown in (
            tables.accounts(await htx.accounts.list()),
            tables.balance(await htx.accounts.balance(1000001), every=False),
            tables.points(await htx.points.balance(), time.time()),
        ):
            screen.print(shown, "")
    screen.print("The same from Python: see the README. With your keys: htx-async doctor")


@app.command
def doctor(*, common: Common = _COMMON) -> int:
    """
    Look at all that a read needs; say how to mend what is wrong.

    Settings, proxy, name server, connection, TLS, HTX's answer, this machine's
    clock, the key, what it may do and from where, and whether HTX tells its
    limits. Nothing is changed, no secret is shown, and what could not be told is
    marked with a question mark.

    It ends with 0 if all is well, 1 if reads fail, 2 if a setting is wrong or
    missing, and 3 if all works, but something should be mended.

    For example:

      htx-async doctor
      htx-async doctor --sandbox      how it looks when all is well
      htx-async doctor --json         for a monitor
    """
    return asyncio.run(run_doctor(common))


@app.command
def accounts(*, common: Common = _COMMON) -> None:
    """
    List all accounts.

    For example:

      htx-async accounts
      htx-async accounts --json | jq '.[].id'
    """
    found = output.read(common, lambda htx: htx.accounts.list())
    output.out(common, found, lambda: tables.accounts(found))


@app.command
def balance(
    account: str = "spot",
    /,
    *,
    all: Flag = False,  # noqa: A002 - the option's name
    csv: Flag = False,
    common: Common = _COMMON,
) -> None:
    """
    Show what is in an account: free, in orders, and both together.

    For example:

      htx-async balance                       the spot account
      htx-async balance 1000001               by its id: see htx-async accounts
      htx-async balance super-margin --csv > margin.csv

    Args:
        account: The account's id, or its type where there is one of that type.
        all: Show currencies of which there is nothing, too.
        csv: Print CSV. Row types such as loan have a column each.
        common: What every command understands that prints a table.
    """
    output.one_form(common, csv=csv)

    found = output.read(common, lambda htx: session.balance(htx, account))
    kept = found if all else reports.nonzero(found)
    if csv:
        csv_export.write(csv_export.balance(kept), sys.stdout)
    else:
        output.out(common, kept, lambda: tables.balance(found, every=all))


@app.command
def points(*, sub_uid: str | None = None, common: Common = _COMMON) -> None:
    """
    Show points and the days until they expire, the soonest first.

    For example:

      htx-async points
      htx-async points --sub-uid 1001         those of a sub user

    Args:
        sub_uid: The UID of a sub user, whose points its parent asks for.
        common: What every command understands that prints a table.
    """
    found = output.read(common, lambda htx: htx.points.balance(sub_uid=sub_uid))
    output.out(common, found, lambda: tables.points(found, time.time()))


@app.command
def snapshot(
    *,
    all: Flag = False,  # noqa: A002 - the option's name
    csv: Flag = False,
    common: Common = _COMMON,
) -> int:
    """
    Show what is in all accounts, each by itself and all together.

    On a terminal a bar shows how far it is. HTX does not tell what is in an OTC
    account. If another one cannot be read, it says so and ends with 1; the others
    are shown all the same.

    For example:

      htx-async snapshot
      htx-async snapshot --csv > today.csv

    Args:
        all: Show currencies of which there is nothing, too.
        csv: Print CSV instead of tables, a line for each amount.
        common: What every command understands that prints a table.
    """
    output.one_form(common, csv=csv)
    with progress.of_balances() as listener:
        found = output.read(common, lambda htx: htx.accounts.snapshot(), listener)
    kept = found if all else reports.held(found)
    if csv:
        csv_export.write(csv_export.snapshot(kept), sys.stdout)
    else:
        output.out(common, kept, lambda: tables.snapshot(found, every=all))
    failures = reports.failures(found)
    for line in failures if csv or common.json else ():
        session.complain(line)
    return FAILED if failures else OK


@app.command
def limits(*, common: Common = _COMMON) -> None:
    """
    Show how things stand at HTX's limits, after a few reads.

    It reads the accounts, the points and one balance. Then it shows what HTX
    allows, how many tokens are free here, how many requests are left as HTX says,
    when its window ends, and how often it has refused. If far fewer are left than
    are free, other programs ask with keys of the same user.

    For example:

      htx-async limits
      htx-async limits --json
    """
    found = output.read(common, reports.stand)
    plain = {name: attrs.asdict(status) for name, status in found.limits.items()}
    output.out(common, plain, lambda: tables.limits(found.limits, found.now))


@app.command
def watch(
    account: str = "spot",
    /,
    *,
    every: Annotated[float, Parameter(validator=validators.Number(gte=0.1, lte=86_400))] = 2.0,
    common: Asking = _ASKING,
) -> None:
    """
    Show what moves in an account, as it moves, until Ctrl-C.

    On a terminal it is a table, the newest change on top. Into a pipe or a file
    it prints a line for each change, and tells on standard error when reads fail
    and when they succeed again. It goes on through all faults that may pass, and
    ends only if the key or the account is wrong.

    Reads wait for tokens as all do. HTX counts all programs of a user together:
    100 reads in 2 s.

    For example:

      htx-async watch
      htx-async watch super-margin --every 0.5
      htx-async watch spot | tee moves.txt

    Args:
        account: The account's id, or its type where there is one of that type.
        every: Seconds between reads, 0.1 at least.
        common: What every command understands that asks HTX.
    """
    asyncio.run(_watch(account, every, common))


async def _watch(account: str, every: float, common: Asking) -> None:
    async with session.client(common, timeout=TIMEOUT) as htx:
        await run_watch(htx, account, every, lines=common.debug)


@app.command
def sandbox(
    *,
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65_535))] = 8000,
    currencies: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
) -> None:
    """
    Serve a sandbox on a loopback port, until Ctrl-C.

    For example:

      htx-async sandbox --port 8000 &
      export HTX_BASE_URL=http://127.0.0.1:8000
      export HTX_ACCESS_KEY=access-key HTX_SECRET_KEY=secret-key
      htx-async accounts

    Args:
        port: Where to listen; 0 takes a free one.
        currencies: How many currencies the spot account has.
    """
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(port, currencies))


async def _serve(port: int, currencies: int | None) -> None:
    from htx_async.sandbox import Sandbox  # noqa: PLC0415 - only some commands need the extra

    async with Sandbox(currencies=currencies).serve(port=port) as base_url:
        print(f"HTX_BASE_URL={base_url} HTX_ACCESS_KEY=access-key HTX_SECRET_KEY=secret-key")
        print("Those settings make htx-async ask here. Ctrl-C ends it.", flush=True)
        await asyncio.Event().wait()
