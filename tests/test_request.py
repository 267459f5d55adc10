"""The repr of `Request` and `Response`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rich.pretty import pretty_repr

from htx_async.request import Request, Response
from htx_async.resources import accounts

SECRET = "Signature=4F65x5A2bLyMWVQj3Aqp%2BB4w"
REQUEST = Request(accounts.LIST, "/v1/account/accounts", query=SECRET)
RESPONSE = Response(200, {"via": SECRET}, SECRET.encode(), sent_query=SECRET)


@pytest.mark.parametrize("render", [repr, pretty_repr])
def test_request_and_response_repr_contain_no_signature(render: Callable[[object], str]) -> None:
    """The body and headers of the response are omitted, because they may echo the request."""
    assert "4F65x5" not in render(REQUEST) + render(RESPONSE)
    assert "/v1/account/accounts" in render(REQUEST)
    assert "status=200" in render(RESPONSE)
