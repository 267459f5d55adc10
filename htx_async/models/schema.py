"""
One description of a model's fields, for decoding, `to_dict`, `from_dict`, pydantic and drift.

The plain values of `to_dict` are what JSON, data frames and web frameworks accept: amounts as text
without exponent, times as ISO 8601 in UTC. `from_dict` accepts numbers for amounts, too, but no
float: it may not be the intended amount.
"""

from __future__ import annotations

import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import NoneType
from typing import Any, ClassVar, Final, Literal, Self, cast, get_args, get_origin

import attrs
import msgspec

from htx_async.errors import HTXError
from htx_async.models import error_json
from htx_async.models.wire_types import (
    DECIMAL_PATTERN,
    InvalidValueError,
    parse_bool,
    parse_id,
    parse_str,
)

REQUIRED: Final = attrs.NOTHING
"""Default of a field that matters."""

_WIRE_NAME, _DEFAULT = "wire_name", "default"
_DECIMAL = re.compile(DECIMAL_PATTERN)
_MAX_LENGTH = 5_000
"""Characters. The longest sum of amounts that HTX can write has some 2,000 without exponent."""


def wire(name: str | None, *, default: Any = REQUIRED) -> dict[str, Any]:
    """
    Return the metadata of an attrs field that is called *name* in HTX's JSON; `None`: it is not.

    With a *default*, the field does not matter: if it is absent, null or malformed, it is that.
    A list must be a list all the same.
    """
    return {_WIRE_NAME: name, _DEFAULT: default}


class Rows(ABC):
    """Value of a field that holds a list of models, and creates them when they are first read."""

    __slots__ = ()

    item: ClassVar[Any]

    @classmethod
    @abstractmethod
    def from_wire(cls, rows: list[Any]) -> Self:
        """Return the rows if each is valid; raise `InvalidValueError` with a path."""
        ...


class FieldType(msgspec.Struct, frozen=True):
    """
    Type of a field.

    Attributes:
        kind: What it is.
        annotation: The type itself.
        dump: Returns the plain value of a value.
        load: Returns the value of a plain value; raises `InvalidValueError`.
        item: Type of the items of a list, or of an optional value.
    """

    kind: Literal[
        "decimal", "timestamp", "id", "flag", "text", "error", "model", "list", "optional"
    ]
    annotation: Any
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]
    item: FieldType | None = None

    @property
    def is_container(self) -> bool:
        """Whether other values are inside of it."""
        return self.kind in {"list", "model"}


class FieldSchema(msgspec.Struct, frozen=True):
    """
    Field of a model.

    Attributes:
        name: Name of the attribute, and of the argument of the constructor.
        wire_name: Name in HTX's JSON; `None`: HTX does not send it.
        type: Its type.
        default: Value if it is absent or malformed in HTX's JSON; `REQUIRED` if it matters.
        is_required: Whether the constructor needs it.
    """

    name: str
    wire_name: str | None
    type: FieldType
    default: Any
    is_required: bool


@functools.cache
def fields_of(model: Any) -> tuple[FieldSchema, ...]:
    """Return the fields of *model*: an attrs class, or a msgspec one for rows."""
    if issubclass(model, msgspec.Struct):
        return tuple(
            FieldSchema(
                info.name,
                info.encode_name,
                field_type(info.type),
                REQUIRED if info.required else info.default,
                info.required,
            )
            for info in msgspec.structs.fields(model)
        )
    fields: Any = attrs.fields(attrs.resolve_types(model))
    return tuple(
        FieldSchema(
            field.alias,
            field.metadata.get(_WIRE_NAME, field.alias),
            field_type(field.type),
            field.metadata.get(_DEFAULT, REQUIRED),
            field.default is attrs.NOTHING,
        )
        for field in fields
    )


def wire_fields_of(model: Any) -> dict[str, FieldSchema]:
    """Return the fields of *model* that HTX sends, by their names in HTX's JSON."""
    return {field.wire_name: field for field in fields_of(model) if field.wire_name is not None}


def field_type(annotation: Any) -> FieldType:
    """Return the type of a field with this annotation."""
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple:
        return _list_of(annotation, field_type(arguments[0]))
    if NoneType in arguments:
        return _optional(field_type(next(each for each in arguments if each is not NoneType)))
    if issubclass(annotation, Rows):
        return _list_of(annotation, field_type(annotation.item))
    if attrs.has(annotation) or issubclass(annotation, msgspec.Struct):
        model: Any = annotation
        return FieldType("model", model, model.to_dict, functools.partial(load, model))
    return FieldType("text", annotation, str.__str__, lambda value: annotation(parse_str(value)))


def load(model: Any, data: Any) -> Any:
    """Return the *model* with these plain values. Unknown fields are ignored."""
    if isinstance(data, model):
        return data
    if not isinstance(data, Mapping):
        msg = "must be an object"
        raise InvalidValueError(msg)
    plain = cast("Mapping[str, Any]", data)
    values: dict[str, Any] = {}
    for field in fields_of(model):
        if field.name in plain:
            values[field.name] = at(f".{field.name}", field.type.load, plain[field.name])
        elif field.is_required:
            msg = "is missing"
            raise InvalidValueError(msg, f".{field.name}")
    return model(**values)


def at(path: str, parse: Callable[..., Any], *arguments: Any) -> Any:
    """Return *parse* of *arguments*; a fault in it is at *path*."""
    try:
        return parse(*arguments)
    except InvalidValueError as error:
        error.path = path + error.path
        raise


def _load_decimal(value: object) -> Decimal:
    if isinstance(value, Decimal) and value.is_finite():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and len(value) <= _MAX_LENGTH and _DECIMAL.fullmatch(value):
        return Decimal(value)
    msg = "must be a decimal number as text"
    raise InvalidValueError(msg)


def _load_timestamp(value: object) -> datetime:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(time, datetime) and time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    msg = "must be a time such as 2026-01-31T12:00:00+00:00"
    raise InvalidValueError(msg)


def _load_error(value: object) -> HTXError:
    if isinstance(value, HTXError):
        return value
    return error_json.error_from_dict(value)


def _dump_timestamp(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()


def _optional(item: FieldType) -> FieldType:
    return FieldType(
        "optional",
        item.annotation | None,
        lambda value: None if value is None else item.dump(value),
        lambda value: None if value is None else item.load(value),
        item,
    )


def _list_of(annotation: Any, item: FieldType) -> FieldType:
    def load_all(values: Any) -> Any:
        if not isinstance(values, list | tuple):
            msg = "must be a list"
            raise InvalidValueError(msg)
        rows = enumerate(cast("list[Any]", values))
        return tuple(at(f"[{index}]", item.load, value) for index, value in rows)

    return FieldType(
        "list", annotation, lambda rows: [item.dump(row) for row in rows], load_all, item
    )


_SCALARS: Final = {
    Decimal: FieldType("decimal", Decimal, "{:f}".format, _load_decimal),
    datetime: FieldType("timestamp", datetime, _dump_timestamp, _load_timestamp),
    int: FieldType("id", int, int, parse_id),
    bool: FieldType("flag", bool, bool, parse_bool),
    HTXError: FieldType("error", HTXError, error_json.error_to_dict, _load_error),
}
