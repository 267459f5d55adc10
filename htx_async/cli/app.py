"""Commands of `htx-async` and their options."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack, suppress
from typing import Annotated, Literal
from urllib.parse import parse_qsl

import attrs
from cyclopts import App, Parameter
from cyclopts.validators import Number

from htx_async import InvalidInputError
from htx_async.cli import csv_export, output, reports, session, tables
from htx_async.cli.exit_codes import FAILED, OK
from htx_async.cli.progress import balance_progress
from htx_async.cli.session import BalanceOptions, ConnectionOptions, OutputOptions
from htx_async.sandbox import Sandbox
from htx_async.version import VERSION

app: App = App(
    name="htx-async",
    help="""
Read accounts, balances and points of HTX.

Keys are read from the environment: HTX_ACCESS_KEY, and HTX_SECRET_KEY or, for
Ed25519, HTX_PRIVATE_KEY. With _FILE appended, a variable names a file instead.
With --sandbox no keys are needed.

Getting started:

  htx-async demo              example output, without keys
  htx-async doctor            check network, clock and key
  htx-async balance spot      balance of the spot account
""",
    help_format="plaintext",
    version=VERSION,
    default_parameter=Parameter(negative=()),
)

_CONNECTION, _OUTPUT, _BALANCE = ConnectionOptions(), OutputOptions(), BalanceOptions()

AccountName = Annotated[
    str,
    Parameter(
        help="Account id, or type, such as spot; with a subtype if there are several of that "
        "type: margin:btcusdt."
    ),
]
Seconds = Annotated[
    float | None,
    Parameter(
        validator=Number(gte=0.1, lte=86_400),
        help="With --poll: seconds between calls, at least 0.1; 2 if omitted.",
    ),
]
Poll = Annotated[
    bool, Parameter(show_default=False, help="Request the balance again and again: no stream.")
]
Port = Annotated[
    int,
    Parameter(validator=Number(gte=0, lte=65_535), help="Port to listen on; 0 selects a free one."),
]
Shell = Annotated[
    Literal["bash", "zsh", "fish"] | None,
    Parameter(help="The shell; without it, the one in use."),
]
Currencies = Annotated[
    int | None,
    Parameter(validator=Number(gte=1), help="Number of currencies in the spot account."),
]
Path = Annotated[
    str, Parameter(help="Path of an endpoint; with a query, in quotes: '/v2/x?currency=usdt'.")
]
Unsigned = Annotated[
    bool, Parameter(show_default=False, help="Send no signature; no keys needed. For public data.")
]
ValuedType = Annotated[
    str | None,
    Parameter(help="Accounts to value: spot, margin, otc or super-margin; HTX decides if omitted."),
]
Unit = Annotated[str, Parameter(help="Currency of the value: BTC, USD, EUR or other fiat.")]
SubUid = Annotated[
    str | None, Parameter(help="UID of a sub user; requires a key of its parent user.")
]


@app.command
def demo() -> None:
    """Show accounts, a balance and points of a sandbox, without keys."""
    asyncio.run(_demo())


async def _demo() -> None:
    console = session.console()
    async with session.open_client(ConnectionOptions(sandbox=True)) as htx:
        console.print("Example accounts of a sandbox in this process:\n")
        console.print(tables.accounts(await htx.accounts.list()), "")
        balance = await htx.accounts.balance(1000001)
        console.print(tables.balance(balance, show_zero=False), "")
        console.print(tables.points(await htx.points.balance(), time.time()), "")
    console.print("The README shows the same in Python. To check your keys: htx-async doctor")


@app.command
def doctor(*, options: OutputOptions = _OUTPUT) -> int:
    """
    Check settings, network, clock and key, and suggest fixes.

    The checks cover settings, proxy, DNS, connection, TLS, HTX's response, the
    local clock, the key, its permissions and IP addresses, and the rate limit
    that HTX reports. Nothing is changed and no secret is printed. A check that
    could not be made is marked with a question mark.

    Exit codes: 0 no problem, 1 calls fail, 2 a setting is wrong or missing,
    3 calls succeed, but something should be fixed.

    For example:

      htx-async doctor
      htx-async doctor --sandbox      example output without problems
      htx-async doctor --json         for monitoring
    """
    from htx_async.cli.doctor.run import run  # noqa: PLC0415 - other commands start sooner

    return asyncio.run(run(options))


@app.command
def accounts(*, options: OutputOptions = _OUTPUT) -> None:
    """
    List all accounts.

    For example:

      htx-async accounts
      htx-async accounts --json | jq '.[].id'
    """
    result = output.fetch(options, lambda htx: htx.accounts.list())
    output.emit(options, result, lambda: tables.accounts(result))


@app.command
def balance(account: AccountName = "spot", /, *, options: BalanceOptions = _BALANCE) -> None:
    """
    Show the trade, frozen and total amounts of an account.

    Other row types, such as loan, come last; as CSV they have a column each.

    For example:

      htx-async balance                       the spot account
      htx-async balance 1000001               by id: see htx-async accounts
      htx-async balance super-margin --csv > margin.csv
    """
    output.check_output_format(options)
    result = output.fetch(options, lambda htx: session.fetch_balance(htx, account))
    selected = result if options.all else reports.drop_zero_currencies(result)
    if options.csv:
        csv_export.write_balance(selected, sys.stdout)
    else:
        output.emit(options, selected, lambda: tables.balance(result, show_zero=options.all))


@app.command
def points(*, sub_uid: SubUid = None, options: OutputOptions = _OUTPUT) -> None:
    """
    Show points and the days until they expire, ordered by expiry.

    For example:

      htx-async points
      htx-async points --sub-uid 1001         points of a sub user
    """
    result = output.fetch(options, lambda htx: htx.points.balance(sub_uid=sub_uid))
    output.emit(options, result, lambda: tables.points(result, time.time()))


@app.command
def valuation(
    account_type: ValuedType = None,
    /,
    *,
    currency: Unit = "BTC",
    sub_uid: SubUid = None,
    options: OutputOptions = _OUTPUT,
) -> None:
    """
    Show the value of the assets, at HTX's prices.

    For example:

      htx-async valuation                     in BTC
      htx-async valuation spot --currency USD
    """
    kind, unit = account_type and account_type.lower(), currency.upper()
    result = output.fetch(
        options,
        lambda htx: htx.accounts.asset_valuation(kind, valuation_currency=unit, sub_uid=sub_uid),
    )
    output.emit(options, result, lambda: tables.valuation(result, unit, kind))


@app.command
def get(
    path: Path, /, *, unsigned: Unsigned = False, options: ConnectionOptions = _CONNECTION
) -> None:
    """
    Print the data of any GET endpoint as JSON.

    Numbers with a decimal point are strings, so that no digit is lost.

    For example:

      htx-async get /v1/account/accounts
      htx-async get '/v2/user/api-key?uid=1000'
      htx-async get /v1/common/timestamp --unsigned
    """
    path, _, query = path.partition("?")
    params = dict(parse_qsl(query, keep_blank_values=True))
    response = output.fetch(
        options,
        lambda htx: htx.get(path, params=params, signed=not unsigned),
        has_keys=not unsigned,
    )
    output.print_json(response.data)


@app.command
def snapshot(*, options: BalanceOptions = _BALANCE) -> int:
    """
    Show the balances of all accounts and their total.

    HTX does not report the balances of OTC accounts. If another balance fails,
    the others are printed and the exit code is 1.

    For example:

      htx-async snapshot
      htx-async snapshot --csv > today.csv
    """
    output.check_output_format(options)
    with balance_progress() as listener:
        result = output.fetch(options, lambda htx: htx.accounts.snapshot(), listener)
    selected = result if options.all else reports.drop_zero(result)
    if options.csv:
        csv_export.write_snapshot(selected, sys.stdout)
    else:
        output.emit(options, selected, lambda: tables.snapshot(result, show_zero=options.all))
    failures = reports.failures(result)
    for message in failures if options.csv or options.json else ():
        session.print_error(message)
    return FAILED if failures else OK


@app.command
def limits(*, options: OutputOptions = _OUTPUT) -> None:
    """
    Show the rate limit of each endpoint, after a few calls.

    Calls the accounts, points and balance endpoints, then prints for each
    endpoint HTX's limit, the tokens available here, the requests that HTX reports
    as remaining, the seconds until its window resets, and the number of 429s. If
    far fewer requests remain than tokens are available, other programs use keys
    of the same user.

    For example:

      htx-async limits
      htx-async limits --json
    """
    report = output.fetch(options, reports.limit_report)
    plain = {name: attrs.asdict(status) for name, status in report.limits.items()}
    output.emit(options, plain, lambda: tables.limits(report.limits, report.server_time))


@app.command
def watch(
    account: AccountName = "spot",
    /,
    *,
    poll: Poll = False,
    every: Seconds = None,
    options: OutputOptions = _OUTPUT,
) -> None:
    """
    Show changes of a balance live, until Ctrl-C.

    HTX pushes the changes; a call every 10 s proves that none was lost. A terminal
    shows a table with the newest change on top, the status of the stream, and how
    long ago the amounts were proven equal to those of REST. A pipe or file gets a
    line for each change; standard error gets a line for each gap and its end. With
    --json, each change and each other event is an object on a line. The stream
    reconnects by itself, unless the key or the account is wrong.

    With --poll, it calls HTX every 2 s instead. Each call takes a rate-limit token.
    HTX counts all programs of a user together: 100 calls in 2 s.

    For example:

      htx-async watch
      htx-async watch super-margin
      htx-async watch spot | tee changes.txt
      htx-async watch --json | jq 'select(.kind == "changed") | .delta'
      htx-async watch --poll --every 0.5
    """
    if every is not None and not poll:
        msg = "--every needs --poll: a stream shows changes at once"
        raise InvalidInputError(msg)
    if not poll:
        session.check_stream_extra("Or poll: htx-async watch --poll")
    asyncio.run(_watch(account, (every or 2.0) if poll else None, options))


async def _watch(account: str, every: float | None, options: OutputOptions) -> None:
    from htx_async.cli.watch import run  # noqa: PLC0415 - see `doctor`

    lines, as_json = options.debug, options.json
    async with session.open_client(options, timeout=run.TIMEOUT) as htx:
        if every is None:
            await run.run(htx, account, lines=lines, as_json=as_json)
        else:
            await run.poll(htx, account, every, lines=lines, as_json=as_json)


@app.command(name="--install-completion")
def install_completion(*, shell: Shell = None) -> None:
    """
    Install completion of commands and options.

    It writes a file for the shell and, for bash and zsh, a line that loads it into
    ~/.bashrc or ~/.zshrc.

    For example:

      htx-async --install-completion --shell bash
    """
    from cyclopts.completion.detect import ShellDetectionError  # noqa: PLC0415 - see `doctor`

    try:
        path = app.install_completion(shell=shell)
    except ShellDetectionError:
        msg = "the shell in use is unknown: name it with --shell"
        raise InvalidInputError(msg) from None
    print(f"Completion is installed in {path}. Start a new shell to use it.")


@app.command
def sandbox(*, port: Port = 8000, currencies: Currencies = None) -> None:
    """
    Serve a sandbox on a loopback port, until Ctrl-C.

    For example:

      htx-async sandbox --port 8000 &
      export HTX_BASE_URL=http://127.0.0.1:8000
      export HTX_ACCESS_KEY=access-key HTX_SECRET_KEY=secret-key
      htx-async accounts
    """
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(port, currencies))


async def _serve(port: int, currencies: int | None) -> None:
    async with AsyncExitStack() as stack:
        try:
            serving = Sandbox(currencies=currencies).serve(port=port)
            base_url = await stack.enter_async_context(serving)
        except OSError as error:
            msg = (
                f"port {port} cannot be used: {os.strerror(error.errno or 0)}. "
                "Choose another one with --port; 0 selects a free one."
            )
            raise OSError(msg) from None
        print(f"HTX_BASE_URL={base_url} HTX_ACCESS_KEY=access-key HTX_SECRET_KEY=secret-key")
        print("Set these variables to use it. Stop: Ctrl-C", flush=True)
        await asyncio.Event().wait()
