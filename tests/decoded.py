"""Models from the JSON of `data`, decoded as the client does."""

from __future__ import annotations

from typing import Any, TypeVar

from htx_async.middleware.parsing import parse_response
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Response

T = TypeVar("T")


def decoded(endpoint: Endpoint[T], data: bytes | str) -> T:
    """Return the value of a response with the JSON *data*, or raise its error."""
    content = data.encode() if isinstance(data, str) else data
    response = parse_response(endpoint, Response(200, {}, b'{"status":"ok","data":%b}' % content))
    if response.error is not None:
        raise response.error
    value: T = response.value
    return value


def decode(data_type: type[T], data: bytes | str) -> T:
    """Return the model of the JSON *data*, or raise the error of the response."""
    endpoint = Endpoint[Any]("/v1/test", RateLimit(1, per=1.0), data_type)
    model: T = decoded(endpoint, data)
    return model
