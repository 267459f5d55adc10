"""Commands that read movements, valuations, keys and sub users."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from htx_async import (
    APIKeyInfo,
    HistoryRecord,
    HTXClient,
    InvalidInputError,
    LedgerRecord,
    Model,
    RecordIterator,
    SubUser,
)
from htx_async.cli import account_tables, csv_export, output
from htx_async.cli.app import AccountName, app
from htx_async.cli.progress import window_progress
from htx_async.cli.session import RowOptions
from htx_async.models.valuation import DistributionValuation

__all__ = ["app"]

M = TypeVar("M", bound=Model)

_OPTIONS = RowOptions()
_DEFAULT_RANGE = {"history": timedelta(days=1), "ledger": timedelta(days=30)}

Time = Annotated[
    str | None,
    Parameter(help="Time such as 2026-01-31 or 2026-01-31T12:00; UTC without an offset."),
]
Currency = Annotated[str | None, Parameter(help="One currency, such as usdt; all if omitted.")]
Types = Annotated[
    str,
    Parameter(
        show_default=False,
        help="Types, separated by commas, such as trade,transfer; all if omitted.",
    ),
]
NewestFirst = Annotated[bool, Parameter(show_default=False, help="Begin with the newest record.")]
Distribution = Annotated[
    str | None, Parameter(help="HTX's number of one type of accounts, such as 1 for spot.")
]


@app.command
def history(
    account: AccountName = "spot",
    /,
    *,
    start: Time = None,
    end: Time = None,
    currency: Currency = None,
    types: Types = "",
    newest_first: NewestFirst = False,
    options: RowOptions = _OPTIONS,
) -> None:
    """
    Show the changes of an account's balances: the last day, or up to 30 days.

    HTX returns an hour at a time, 5 requests in 2 s: a day takes 10 s, 30 days
    take five minutes.

    For example:

      htx-async history
      htx-async history margin:btcusdt --types interest --start 2026-01-31
      htx-async history --start 2026-01-05 --csv > january.csv
    """
    first = _start("history", start)

    def read(htx: HTXClient, on_progress: Any) -> RecordIterator[HistoryRecord]:
        return htx.accounts.history(
            account.lower(),
            start=first,
            end=_time(end, "--end"),
            currency=currency and currency.lower(),
            types=_split(types),
            newest_first=newest_first,
            on_progress=on_progress,
        )

    _print_list(options, HistoryRecord, read, lambda rows: account_tables.history(rows, first))


@app.command
def ledger(
    account: AccountName = "spot",
    /,
    *,
    start: Time = None,
    end: Time = None,
    currency: Currency = None,
    options: RowOptions = _OPTIONS,
) -> None:
    """
    Show the transfers from and to an account: the last 30 days, or up to 180.

    For example:

      htx-async ledger
      htx-async ledger spot --start 2026-01-01 --json | jq '.[].transact_amt'
    """
    first = _start("ledger", start)

    def read(htx: HTXClient, on_progress: Any) -> RecordIterator[LedgerRecord]:
        return htx.accounts.ledger(
            account.lower(),
            start=first,
            end=_time(end, "--end"),
            currency=currency and currency.lower(),
            on_progress=on_progress,
        )

    _print_list(options, LedgerRecord, read, lambda rows: account_tables.ledger(rows, first))


@app.command(name="platform-valuation")
def platform_valuation(
    account_type: Distribution = None, /, *, options: RowOptions = _OPTIONS
) -> None:
    """
    Show the value of all assets in BTC, its parts, and the profit of today.

    For example:

      htx-async platform-valuation
      htx-async platform-valuation 1          the spot accounts only
    """
    output.check_output_format(options)
    result = output.fetch(options, lambda htx: htx.accounts.valuation(account_type))
    if options.csv:
        parts = result.profit_account_balance_list
        csv_export.write_models(DistributionValuation, parts, sys.stdout)
    else:
        output.emit(options, result, lambda: account_tables.platform_valuation(result, "BTC"))


@app.command
def key(*, options: RowOptions = _OPTIONS) -> None:
    """
    Show the permissions, IP addresses and expiry of the API key in use.

    HTX responds to keys of parent users only.

    For example:

      htx-async key
      htx-async key --json | jq .valid_days
    """
    output.check_output_format(options)
    result = output.fetch(options, lambda htx: htx.users.api_key())
    if options.csv:
        csv_export.write_models(APIKeyInfo, [result], sys.stdout)
    else:
        output.emit(options, result, lambda: account_tables.key(result))


@app.command(name="sub-users")
def sub_users(*, options: RowOptions = _OPTIONS) -> None:
    """
    List the sub users; requires a key of their parent user.

    For example:

      htx-async sub-users
      htx-async points --sub-uid 1001         points of one of them
    """
    _print_list(options, SubUser, lambda htx, _: htx.users.sub_users(), account_tables.sub_users)


def _print_list(
    options: RowOptions,
    kind: type[M],
    read: Callable[[HTXClient, Any], RecordIterator[M]],
    table: Callable[[Sequence[M]], Any],
) -> None:
    output.check_output_format(options)
    with window_progress() as on_progress:
        call: Callable[[HTXClient], Awaitable[tuple[M, ...]]]
        call = lambda htx: read(htx, on_progress).collect()  # noqa: E731 - typed
        result = output.fetch(options, call)
    if options.csv:
        csv_export.write_models(kind, result, sys.stdout)
    else:
        output.emit(options, result, lambda: table(result))


def _start(name: str, text: str | None) -> datetime:
    return _time(text, "--start") or datetime.now(UTC) - _DEFAULT_RANGE[name]


def _time(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        msg = f"{option} must be a time such as 2026-01-31 or 2026-01-31T12:00, got {text[:40]!r}"
    else:
        return time.replace(tzinfo=time.tzinfo or UTC)
    raise InvalidInputError(msg)


def _split(types: str) -> list[str]:
    return [name for name in types.replace(" ", "").split(",") if name]
