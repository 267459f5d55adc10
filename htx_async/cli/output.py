"""Reads, and prints the answer in the form that was asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from htx_async.cli.session import Common, client, console
from htx_async.client import HTXClient
from htx_async.errors import InvalidInputError
from htx_async.events import Listener
from htx_async.models.base import Model

T = TypeVar("T")


def one_form(common: Common, *, csv: bool) -> None:
    """
    Check that the answer is wanted in one form.

    Raises:
        InvalidInputError: It is wanted in two.
    """
    if csv and common.json:
        msg = "--csv and --json: which of them is meant?"
        raise InvalidInputError(msg)


def read(
    common: Common,
    ask: Callable[[HTXClient], Awaitable[T]],
    listener: Listener | None = None,
) -> T:
    """Return what *ask* returns of a client of its own."""

    async def main() -> T:
        async with client(common, listener) as htx:
            return await ask(htx)

    return asyncio.run(main())


def out(common: Common, found: object, table: Callable[[], Any]) -> None:
    """Print what was found as a table, or as JSON."""
    if common.json:
        print(json.dumps(_plain(found), indent=2, ensure_ascii=False))
    else:
        console().print(table())


def _plain(found: object) -> Any:
    if isinstance(found, tuple):
        return [_plain(each) for each in cast("tuple[object, ...]", found)]
    return found.to_dict() if isinstance(found, Model) else found
