"""
From the JSON of `data` to frozen models, with the one cattrs converter.

A field matters unless it says what it is when `absent`: where it is missing or malformed, a
`DecodeError` names its path. Unknown fields are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any, TypeVar, get_args

import attrs
import cattrs
import msgspec
from cattrs.gen import make_dict_structure_fn, override

from htx_async.errors import DecodeError
from htx_async.inputs import MAX_DIGITS

T = TypeVar("T")

WRITTEN = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?"
"""How an amount is written, wherever it comes from."""
_AMOUNT = re.compile(WRITTEN)
_AMOUNTS = re.compile(rf"(?:{WRITTEN}\n)*+")
_ID = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}")
_MAX_AMOUNT = 100
_WIRE, _ABSENT = "wire", "absent"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_MILLISECONDS = 253_402_300_799_999
"""The last moment that a `datetime` knows: the year 9999."""


class _Number(str):
    """A JSON number with a point or an exponent, as the text that it is on the wire."""

    __slots__ = ()


class _WrongError(ValueError):
    """A value is not what its field wants. Its text ends the sentence "... wants"."""


def json_decoder(kind: Any = Any) -> msgspec.json.Decoder[Any]:
    """Return what reads JSON, with numbers as the digits that they are."""
    return msgspec.json.Decoder(kind, float_hook=_Number)


_decoder = json_decoder()


def amount(value: object) -> Decimal:
    """Return an amount, from text or from a JSON number, digit for digit."""
    text = value if isinstance(value, str) else _digits(value)
    if len(text) <= _MAX_AMOUNT and _AMOUNT.fullmatch(text):
        return Decimal(text)
    msg = "a decimal number"
    raise _WrongError(msg)


def are_amounts(texts: Collection[str]) -> bool:
    """Tell whether each of them is an amount, in one go."""
    lines = "\n".join([*texts, ""])
    return (
        _AMOUNTS.fullmatch(lines) is not None
        and lines.count("\n") == len(texts)
        and max(map(len, texts), default=0) <= _MAX_AMOUNT
    )


def whole(value: object) -> int:
    """Return an id or another whole number that is not negative, from a number or its digits."""
    text = value if isinstance(value, str) else _digits(value)
    if _ID.fullmatch(text):
        return int(text)
    msg = "a whole number"
    raise _WrongError(msg)


def moment(value: object) -> datetime:
    """Return the moment that is *value* milliseconds after 1970, in UTC."""
    milliseconds = whole(value)
    if milliseconds > _MAX_MILLISECONDS:
        msg = "milliseconds since 1970"
        raise _WrongError(msg)
    return _EPOCH + timedelta(milliseconds=milliseconds)


def text(value: object) -> str:
    """Return text; a number is none."""
    if isinstance(value, str) and not isinstance(value, _Number):
        return value
    msg = "text"
    raise _WrongError(msg)


def or_none(rule: Callable[[object], T]) -> Callable[[object], T | None]:
    """Return *rule* for what does not matter: `None` for what it does not like."""

    def lenient(value: object) -> T | None:
        try:
            return rule(value)
        except _WrongError:
            return None

    return lenient


def _digits(value: object) -> str:
    """Return the digits of a JSON number; "": it is something else."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def wire(name: str, **options: Any) -> Any:
    """
    Return an attrs field that is called *name* on the wire.

    With *absent*, the field does not matter: missing, null or malformed, it is that.
    """
    known = {key: options.pop(key) for key in (_ABSENT,) if key in options}
    return attrs.field(metadata={_WIRE: name, **known}, **options)


def reader(model: type[T] | Any) -> Callable[[bytes | memoryview], T]:
    """Return a function that makes a *model* of the JSON of `data`, or raises `DecodeError`."""

    def read(data: bytes | memoryview) -> T:
        try:
            return _converter.structure(_decoder.decode(data), model)  # type: ignore[no-any-return]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            path, wanted = "data", "is no JSON"
        except (cattrs.BaseValidationError, _WrongError) as error:
            path, wanted = _first_fault(error, "data")
        # Raised out here: no error of a lower layer is chained. Nothing of `data` is shown: it
        # may echo the request, and who asked is not known here.
        msg = f"the answer cannot be read: {path} {wanted}"
        raise DecodeError(msg, path=path)

    return read


def _first_fault(error: BaseException, path: str) -> tuple[str, str]:
    """Return the path to the first thing that is wrong, and what is wrong there."""
    if isinstance(error, cattrs.ClassValidationError):
        faults = error.group_exceptions()[0]
        model = error.cl
        cause, note = faults[0]
        return _first_fault(cause, f"{path}.{_wire_name(model, note.name)}")
    if isinstance(error, cattrs.IterableValidationError):
        cause, index = error.group_exceptions()[0][0]
        return _first_fault(cause, f"{path}[{index.index}]")
    return path, "is missing" if isinstance(error, KeyError) else f"must be {error}"


def _wire_name(model: type, name: str) -> str:
    return str(attrs.fields_dict(model)[name].metadata.get(_WIRE, name))


def _structure_attrs(model: Any) -> Callable[[Any, Any], Any]:
    fields = attrs.fields(attrs.resolve_types(model))
    optional = [field for field in fields if _ABSENT in field.metadata]
    absent = dict.fromkeys(field.metadata[_WIRE] for field in optional)
    overrides = {field.name: override(rename=field.metadata[_WIRE]) for field in fields} | {
        field.name: override(rename=field.metadata[_WIRE], struct_hook=_lenient(field))
        for field in optional
    }
    structure = make_dict_structure_fn(model, _converter, **overrides)  # type: ignore[arg-type]

    def hook(value: Any, kind: Any) -> Any:
        if isinstance(value, dict):
            return structure({**absent, **value}, kind)
        msg = "an object"
        raise _WrongError(msg)

    return hook


def _lenient(field: attrs.Attribute[Any]) -> Callable[[Any, Any], Any]:
    """Return a hook for a field that does not matter; if it is a list, what is in it does."""
    # Not by the hook of `... | None`: cattrs has its own for `int | None`, which takes more.
    kind: Any = field.type
    if NoneType in get_args(kind):
        kind = next(each for each in get_args(kind) if each is not NoneType)
    structure, absent = _converter.get_structure_hook(kind), field.metadata[_ABSENT]

    def hook(value: Any, _: Any) -> Any:
        if value is None:
            return absent
        try:
            return structure(value, kind)
        except (cattrs.BaseValidationError, _WrongError):
            if isinstance(value, list) and _is_tuple(kind):
                raise
            return absent

    return hook


def _structure_tuple(kind: Any) -> Callable[[Any, Any], Any]:
    items = _converter.get_structure_hook(list[get_args(kind)[0]])  # type: ignore[misc]

    def hook(value: Any, _: Any) -> Any:
        if isinstance(value, list):
            return tuple(items(value, list))
        msg = "a list"
        raise _WrongError(msg)

    return hook


def _make() -> cattrs.Converter:
    converter = cattrs.Converter()
    # By class, not by a predicate: those that cattrs has for `int` and `str` would go first.
    for kind, rule in ((Decimal, amount), (int, whole), (datetime, moment)):
        converter.register_structure_hook(kind, _ruled(rule))
    # The hook of `str` serves its subclasses too: the words.
    converter.register_structure_hook(str, lambda value, kind: kind(text(value)))
    converter.register_structure_hook_factory(attrs.has, _structure_attrs)
    converter.register_structure_hook_factory(_is_tuple, _structure_tuple)
    return converter


def _ruled(rule: Callable[[object], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, _: rule(value)


def _is_tuple(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is tuple


_converter = _make()
