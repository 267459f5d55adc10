"""Decodes the JSON of `data` as the middleware does."""

from __future__ import annotations

from typing import TypeVar, cast

from htx_async.middleware.parsing import parse_response
from htx_async.request import Endpoint, Response

T = TypeVar("T")


def decoded(endpoint: Endpoint[T], data: bytes | str) -> T:
    """Return the decoded *data* of a response of *endpoint*, or raise its error."""
    text = data.encode() if isinstance(data, str) else data
    response = parse_response(endpoint, Response(200, {}, b'{"code":200,"data":%b}' % text))
    if response.error is not None:
        raise response.error
    return cast("T", response.value)
