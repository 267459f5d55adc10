"""Base class of all models: plain values, JSON and back, and a pydantic schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Self

from htx_async import validation
from htx_async.errors import DecodeError
from htx_async.models import decoding, schema
from htx_async.models.wire_types import InvalidValueError

_MAX_INDENT = 100


class Model:
    """
    Frozen value that can be written as plain values or JSON, and read again.

    Plain values have the names of the attributes. Amounts are text without exponent, also in
    `repr()`; times are ISO 8601 in UTC; an error is an object with its name, text and attributes.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        # One for all: attrs would compile one for each class, whenever the package is imported.
        cls: Any = type(self)
        names = [field.name for field in schema.fields_of(cls)]
        # A traceback shows one whose construction failed, too.
        values = (f"{name}={_plain_repr(getattr(self, name, ...))}" for name in names)
        return f"{cls.__name__}({', '.join(values)})"

    def to_dict(self) -> dict[str, Any]:
        """Return the model as plain values, for JSON, pandas or polars."""
        cls: Any = type(self)
        fields = schema.fields_of(cls)
        return {field.name: field.type.dump(getattr(self, field.name)) for field in fields}

    def to_json(self, *, indent: int | None = None) -> str:
        """
        Return the model as JSON; with *indent*, on several lines.

        Raises:
            InvalidInputError: *indent* is not a number of blanks, at most 100.
        """
        if indent is not None:
            validation.int_at_least(indent, 0, "indent", _MAX_INDENT)
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """
        Return the model with the plain values of `to_dict`. Unknown fields are ignored.

        Raises:
            DecodeError: A field is missing or malformed; `path` names it. An amount that is a
                float is malformed: it may not be the intended amount.
        """
        try:
            model: Self = schema.load(cls, data)
        except InvalidValueError as error:
            path, fault = error.path.removeprefix("."), error.fault
        else:
            return model
        msg = f"invalid {cls.__name__}: {path or 'it'} {fault}"
        raise DecodeError(msg, path=path, delivery="not_sent")

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """
        Return the model with the JSON of `to_json`.

        Raises:
            InvalidInputError: *text* is neither text nor bytes.
            DecodeError: *text* is not JSON, or a field is missing or malformed.
        """
        if not isinstance(text, str):
            validation.instance_of(text, bytes, "text", "str or bytes")
        try:
            data = decoding.decode_json(text, f"the JSON of {cls.__name__}")
        except DecodeError as error:
            error.delivery = "not_sent"
            raise
        return cls.from_dict(data)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from htx_async.models import pydantic  # noqa: PLC0415 - an optional extra

        del source, handler
        return pydantic.core_schema_of(cls)


def _plain_repr(value: object) -> str:
    """Return the repr of *value*; that of an amount without exponent."""
    return f"Decimal('{value:f}')" if isinstance(value, Decimal) else repr(value)
