"""What goes down the layers and comes back up, as others see it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rich.pretty import pretty_repr

from htx_async.request import Request, Response
from htx_async.resources import accounts

SECRET = "Signature=4F65x5A2bLyMWVQj3Aqp%2BB4w"
DOWN = Request(accounts.LIST, "/v1/account/accounts", query=SECRET)
UP = Response(200, {"via": SECRET}, SECRET.encode(), sent_query=SECRET)


@pytest.mark.parametrize("shown", [repr, pretty_repr])
def test_neither_shows_what_was_signed(shown: Callable[[object], str]) -> None:
    """Nor what came of it: it may be long, and echo it."""
    assert "4F65x5" not in shown(DOWN) + shown(UP)
    assert "/v1/account/accounts" in shown(DOWN)
    assert "status=200" in shown(UP)
