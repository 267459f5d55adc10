"""Models from the JSON of `data`, decoded as the client does, and their values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

import attrs
import msgspec

from htx_async import Model
from htx_async.middleware.parsing import parse_response
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Response

T = TypeVar("T")


def decoded(endpoint: Endpoint[T], data: bytes | str) -> T:
    """Return the value of a response with the JSON *data*, or of a v1 envelope."""
    content = data.encode() if isinstance(data, str) else data
    if not content.startswith(b'{"status":"ok",'):
        content = b'{"status":"ok","data":%b}' % content
    response = parse_response(endpoint, Response(200, {}, content))
    if response.error is not None:
        raise response.error
    value: T = response.value
    return value


def decode(data_type: type[T], data: bytes | str) -> T:
    """Return the model of the JSON *data*, or raise the error of the response."""
    endpoint = Endpoint[Any]("/v1/test", RateLimit(1, per=1.0), data_type)
    model: T = decoded(endpoint, data)
    return model


def fields_of(model: Any) -> list[Any]:
    """Return the values of the fields of a model that are compared."""
    kind: Any = type(model)
    if isinstance(model, msgspec.Struct):
        return [getattr(model, name) for name in kind.__struct_fields__]
    return [getattr(model, field.alias) for field in attrs.fields(kind) if field.eq]


def values_of(value: object) -> Any:
    """Return a value as plain tuples and lists, and amounts digit for digit."""
    if isinstance(value, Decimal):
        return value.as_tuple()
    if isinstance(value, Model):
        return tuple(map(values_of, fields_of(value)))
    return list(map(values_of, value)) if isinstance(value, tuple) else value
