"""Calls HTX and prints the result as a table or JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar, cast

from htx_async import HTXClient, InvalidInputError, Model
from htx_async.cli.session import (
    ConnectionOptions,
    OutputOptions,
    RowOptions,
    console,
    open_client,
)
from htx_async.events import Listener

T = TypeVar("T")


def check_output_format(options: RowOptions) -> None:
    """Raise `InvalidInputError` if both `--csv` and `--json` are given."""
    if options.csv and options.json:
        msg = "--csv and --json are mutually exclusive"
        raise InvalidInputError(msg)


def fetch(
    options: ConnectionOptions,
    call: Callable[[HTXClient], Awaitable[T]],
    listener: Listener | None = None,
    *,
    has_keys: bool = True,
) -> T:
    """Return the result of *call*, run with a new client on a new event loop."""

    async def main() -> T:
        async with open_client(options, listener, has_keys=has_keys) as htx:
            return await call(htx)

    return asyncio.run(main())


def emit(options: OutputOptions, value: object, table: Callable[[], Any]) -> None:
    """Print *value* as JSON, or the table that *table* returns."""
    if options.json:
        print_json(_to_plain(value))
    else:
        # Not cropped: an amount that is longer than a line is wrapped by the terminal.
        console().print(table(), crop=False)


def print_json(plain: object) -> None:
    """Print *plain* as JSON; decimals are strings, without exponent."""
    print(json.dumps(plain, indent=2, ensure_ascii=False, default=_to_json))


def _to_json(value: datetime | Decimal) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else value.isoformat()


def _to_plain(value: object) -> Any:
    if isinstance(value, tuple):
        return [_to_plain(item) for item in cast("tuple[object, ...]", value)]
    return value.to_dict() if isinstance(value, Model) else value
