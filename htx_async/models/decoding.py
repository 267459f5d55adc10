"""
The one decoder: from the JSON of a response to models.

msgspec parses the JSON into structs that are derived from the schema of the model, in one pass.
Unknown fields are skipped. cattrs then structures models from them. Faults carry their path.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import msgspec

from htx_async.errors import DecodeError
from htx_async.models.enums import OpenStrEnum
from htx_async.models.schema import (
    REQUIRED,
    FieldSchema,
    FieldType,
    Rows,
    field_type,
    wire_fields_of,
)
from htx_async.models.wire_types import (
    MAX_LENGTH,
    BrokenText,
    InvalidValueError,
    NumberText,
    parse_bool,
    parse_decimal,
    parse_id,
    parse_str,
    parse_timestamp_ms,
)

if TYPE_CHECKING:
    from json import JSONDecoder

    from cattrs import Converter

_Hook = Callable[[Any, Any], Any]

_FAULT = re.compile(
    r"(Object missing required field `(?P<missing>.*?)`|Expected `(?P<expected>\w+).*?)"
    r"( - at `\$(?P<path>.*)`)?"
)
"""What msgspec writes about a value of another type."""
_EXPECTED = {"object": "must be an object", "array": "must be a list", "str": "must be text"}

_exact = msgspec.json.Decoder(float_hook=parse_decimal)


def decode_json(text: bytes | str, subject: str) -> Any:
    """
    Return JSON as plain values; a number with a decimal point or an exponent is a `Decimal`.

    Raises:
        DecodeError: *subject* is not JSON, or contains a number that is too long to be exact.
    """
    try:
        return _exact.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    # Raised here, so that no error of a library is chained.
    msg = f"{subject} cannot be decoded: it is not JSON, or a number has too many digits"
    raise DecodeError(msg)


def decode_as(body: bytes, kind: Any) -> Any:
    """
    Return JSON in UTF-8 as an object of *kind*; `None` if it is not one, or has broken values.

    Broken are text and numbers that cannot be represented: `load_json` can read them.
    """
    try:
        return _decoder(kind).decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def is_utf8(body: bytes) -> bool:
    """Return whether *body* is valid UTF-8."""
    try:
        if not body.isascii():
            body.decode()
    except UnicodeDecodeError:
        return False
    return True


def load_json(text: str) -> Any:
    """
    Return JSON as plain values, whatever text and numbers are in it.

    Raises:
        InvalidValueError: *text* is not JSON.
    """
    try:
        return _tolerant_decoder().decode(text)
    except (ValueError, RecursionError):
        msg = "is not JSON"
    raise InvalidValueError(msg)


def convert(value: Any, data_type: Any) -> Any:
    """Return a result of `load_json` as `wire_type(data_type)`; raise `InvalidValueError`."""
    try:
        return msgspec.convert(value, wire_type(data_type))
    except msgspec.ValidationError as error:
        match = _FAULT.fullmatch(str(error))
    except UnicodeError:  # text with a lone surrogate in a list, where an object is expected
        match = None
    groups = match.groupdict() if match else {}
    path, missing = groups.get("path") or "", groups.get("missing")
    if missing is not None:
        msg = "is missing"
        raise InvalidValueError(msg, f"{path}.{missing}")
    raise InvalidValueError(_EXPECTED.get(groups.get("expected") or "", "is malformed"), path)


def structure(value: Any, data_type: Any) -> Any:
    """Return the model of a value of `wire_type(data_type)`; raise `InvalidValueError`."""
    return _structure_hook(data_type)(value, data_type)


@functools.cache
def wire_type(data_type: Any) -> Any:
    """
    Return the type that msgspec decodes the JSON of a *data_type* into.

    Numbers and fields that do not matter are left as they are, for the hooks below.
    """
    return msgspec.Raw if data_type is bytes else _wire_type(field_type(data_type))


def _wire_type(field: FieldType) -> Any:
    if field.kind == "text":
        return field.annotation
    if field.kind == "model":
        return _wire_struct(field.annotation)
    return list[_wire_type(field.item)] if field.kind == "list" else Any  # type: ignore[misc,arg-type]


@functools.cache
def _wire_struct(model: Any) -> type[msgspec.Struct]:
    fields = [
        (field.name, *_wire_field(name, field)) for name, field in wire_fields_of(model).items()
    ]
    return msgspec.defstruct(model.__name__, fields, kw_only=True, gc=False)


def _wire_field(wire_name: str, field: FieldSchema) -> tuple[Any, Any]:
    if field.default is REQUIRED:
        return _wire_type(field.type), msgspec.field(name=wire_name)
    # What is inside a list or an object matters; another value may be anything.
    value = _inner_type(field)
    wire = _wire_type(value) | None if value.is_container else Any
    return wire, msgspec.field(name=wire_name, default=None)


def _inner_type(field: FieldSchema) -> FieldType:
    return field.type.item or field.type if field.type.kind == "optional" else field.type


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, float_hook=NumberText)


@functools.cache
def _structure_hook(data_type: Any) -> _Hook:
    return _converter().get_structure_hook(data_type)


@functools.cache
def _converter() -> Converter:
    import cattrs  # noqa: PLC0415 - not needed before the first response, and slow to import

    converter = cattrs.Converter()
    # By class, not by a predicate: those that cattrs has for `int` and `str` would go first.
    for scalar, parse in (
        (Decimal, parse_decimal),
        (int, parse_id),
        (bool, parse_bool),
        (datetime, parse_timestamp_ms),
        (str, parse_str),
        (bytes, bytes),
    ):
        converter.register_structure_hook(scalar, _hook(parse))
    converter.register_structure_hook(OpenStrEnum, _structure_enum)
    converter.register_structure_hook(Rows, lambda rows, annotation: annotation.from_wire(rows))
    converter.register_structure_hook_factory(attrs.has, _model_hook)
    converter.register_structure_hook_factory(_is_list, _list_hook)
    return converter


def _structure_enum(value: Any, enum: Any) -> Any:
    return value if type(value) is enum else enum(parse_str(value))


def _hook(parse: Callable[[Any], Any]) -> _Hook:
    return lambda value, _: parse(value)


def _model_hook(model: Any, converter: Converter) -> _Hook:
    sent = wire_fields_of(model)
    fields = [(field.name, *_field_hook(field, converter)) for field in sent.values()]
    wire_names = list(sent)

    def structure_model(value: Any, _: Any) -> Any:
        values: dict[str, Any] = {}
        try:
            for name, hook, annotation in fields:
                values[name] = hook(getattr(value, name), annotation)
        except InvalidValueError as error:
            error.path = f".{wire_names[len(values)]}{error.path}"
            raise
        return model(**values)

    return structure_model


def _field_hook(field: FieldSchema, converter: Converter) -> tuple[_Hook, Any]:
    """Return the hook of a field, and the type that it is called with."""
    inner = _inner_type(field)
    hook = converter.get_structure_hook(inner.annotation)
    if field.default is REQUIRED:
        return hook, inner.annotation

    def optional_hook(value: Any, annotation: Any) -> Any:
        if value is None:
            return field.default
        try:
            return hook(value, annotation)
        except InvalidValueError:
            if inner.is_container:
                raise
            return field.default

    return optional_hook, inner.annotation


def _list_hook(annotation: Any, converter: Converter) -> _Hook:
    item = annotation.__args__[0]
    hook = converter.get_structure_hook(item)

    def structure_list(values: Any, _: Any) -> Any:
        items: list[Any] = []
        try:
            items.extend(hook(value, item) for value in values)
        except InvalidValueError as error:
            error.path = f"[{len(items)}]{error.path}"  # those before it are in the list
            raise
        return tuple(items)

    return structure_list


def _is_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is tuple


def _parse_int(text: str) -> int | NumberText:
    # Longer ones are neither an amount nor an id, and `int` may reject them.
    return int(text) if len(text) <= MAX_LENGTH else NumberText(text)


def _reject(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity are not JSON


def _mark_broken(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # No field has a name that UTF-8 cannot represent.
    return {
        name: BrokenText(value) if _is_broken(value) else value
        for name, value in pairs
        if not _is_broken(name)
    }


def _is_broken(value: Any) -> bool:
    if not isinstance(value, str) or value.isascii():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


@functools.cache
def _tolerant_decoder() -> JSONDecoder:
    from json import JSONDecoder  # noqa: PLC0415 - only for errors and unusual responses

    return JSONDecoder(
        object_pairs_hook=_mark_broken,
        parse_int=_parse_int,
        parse_float=NumberText,
        parse_constant=_reject,
    )
