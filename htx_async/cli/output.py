"""Calls HTX and prints the result as a table or JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar, cast

from htx_async import HTXClient, InvalidInputError, Model
from htx_async.cli.session import BalanceOptions, OutputOptions, console, open_client
from htx_async.events import Listener

T = TypeVar("T")


def check_output_format(options: BalanceOptions) -> None:
    """Raise `InvalidInputError` if both `--csv` and `--json` are given."""
    if options.csv and options.json:
        msg = "--csv and --json are mutually exclusive"
        raise InvalidInputError(msg)


def fetch(
    options: OutputOptions,
    call: Callable[[HTXClient], Awaitable[T]],
    listener: Listener | None = None,
) -> T:
    """Return the result of *call*, run with a new client on a new event loop."""

    async def main() -> T:
        async with open_client(options, listener) as htx:
            return await call(htx)

    return asyncio.run(main())


def emit(options: OutputOptions, value: object, table: Callable[[], Any]) -> None:
    """Print *value* as JSON, or the table that *table* returns."""
    if options.json:
        plain, default = _to_plain(value), datetime.isoformat
        print(json.dumps(plain, indent=2, ensure_ascii=False, default=default))
    else:
        console().print(table())


def _to_plain(value: object) -> Any:
    if isinstance(value, tuple):
        return [_to_plain(item) for item in cast("tuple[object, ...]", value)]
    return value.to_dict() if isinstance(value, Model) else value
