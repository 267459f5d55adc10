"""
What stands in a field of a model, as a plain value and back.

Plain is what JSON, data frames and web frameworks know: amounts as text without exponent, moments
as ISO 8601 in UTC. From outside, amounts may be numbers too, but no float: it may not be the
amount that was meant.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import NoneType
from typing import Any, cast, get_args, get_origin

import attrs
import msgspec

from htx_async.errors import HTXError
from htx_async.models import error_json
from htx_async.models.wire_types import WRITTEN, text, whole

_AMOUNT = re.compile(WRITTEN)
_MAX_AMOUNT = 5_000
"""Characters. The longest sum of amounts that HTX can write has some 2,000 without exponent."""

Dump = Callable[[Any], Any]
Load = Callable[[Any, str], Any]
"""Makes a field's value of a plain one, at a path; raises `WrongFieldError`."""


class WrongFieldError(ValueError):
    """At *path* there is not what *wanted* says."""

    def __init__(self, path: str, wanted: str) -> None:
        super().__init__(path, wanted)
        self.path = path
        self.wanted = wanted


class Kind(msgspec.Struct, frozen=True):
    """
    One kind of field.

    Attributes:
        name: `amount`, `moment`, `whole`, `text`, `error`, `model`, `list` or `maybe`.
        of: What a list is of, or what is there maybe.
        model: The class of a model.
    """

    name: str
    dump: Dump
    load: Load
    of: Kind | None = None
    model: Any = None


def _amount(value: object) -> Decimal:
    if isinstance(value, Decimal) and value.is_finite():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and len(value) <= _MAX_AMOUNT and _AMOUNT.fullmatch(value):
        return Decimal(value)
    msg = "a decimal number as text"
    raise ValueError(msg)


def _moment(value: object) -> datetime:
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(at, datetime) and at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    msg = "a moment such as 2026-01-31T12:00:00+00:00"
    raise ValueError(msg)


def _error(value: object) -> HTXError:
    if isinstance(value, HTXError):
        return value
    if isinstance(value, Mapping):
        try:
            return error_json.remade(cast("Mapping[str, Any]", value))
        except KeyError:
            pass
    msg = "an error with its name and text"
    raise ValueError(msg)


def _by(rule: Callable[[Any], Any]) -> Load:
    def load(value: Any, path: str) -> Any:
        try:
            return rule(value)
        except ValueError as error:
            wanted = str(error)
        raise WrongFieldError(path, f"must be {wanted}")

    return load


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


AMOUNT = Kind("amount", "{:f}".format, _by(_amount))
MOMENT = Kind("moment", _iso, _by(_moment))
WHOLE = Kind("whole", int, _by(whole))
ERROR = Kind("error", error_json.plain, _by(_error))
_PLAIN = {Decimal: AMOUNT, datetime: MOMENT, int: WHOLE, HTXError: ERROR}


def kind_of(annotation: Any) -> Kind:
    """Return the kind of a field with this annotation."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple:
        return _list(kind_of(arguments[0]))
    if NoneType in arguments:
        return _maybe(kind_of(next(each for each in arguments if each is not NoneType)))
    if attrs.has(annotation):
        return _model(annotation)
    return Kind("text", str.__str__, _by(lambda value: annotation(text(value))))


def _model(model: Any) -> Kind:
    return Kind("model", model.to_dict, lambda value, path: made(model, value, path), model=model)


def _maybe(kind: Kind) -> Kind:
    dump, load = kind.dump, kind.load
    return Kind(
        "maybe",
        lambda value: None if value is None else dump(value),
        lambda value, path: None if value is None else load(value, path),
        of=kind,
    )


def _list(kind: Kind) -> Kind:
    dump = kind.dump

    def load(values: Any, path: str) -> Any:
        if not isinstance(values, list | tuple):
            raise WrongFieldError(path, "must be a list")
        rows = enumerate(cast("list[Any]", values))
        return tuple(kind.load(value, f"{path}[{index}]") for index, value in rows)

    return Kind("list", lambda values: [dump(value) for value in values], load, of=kind)


@functools.cache
def kinds_of(model: Any) -> tuple[tuple[str, Kind, bool], ...]:
    """Return name and kind of each field of *model*, and whether it must be there."""
    fields: Any = attrs.fields(attrs.resolve_types(model))
    return tuple(
        (field.name, kind_of(field.type), field.default is attrs.NOTHING) for field in fields
    )


@functools.cache
def dumps_of(model: Any) -> tuple[tuple[str, Dump], ...]:
    """Return name and way out of each field of *model*."""
    return tuple((name, kind.dump) for name, kind, _ in kinds_of(model))


def made(model: Any, said: Any, path: str) -> Any:
    """Return the *model* that *said* tells of; unknown fields are passed over."""
    if isinstance(said, model):
        return said
    if not isinstance(said, Mapping):
        raise WrongFieldError(path, "must be an object")
    told = cast("Mapping[str, Any]", said)
    values: dict[str, Any] = {}
    for name, kind, needed in kinds_of(model):
        where = f"{path}.{name}" if path else name
        if name in told:
            values[name] = kind.load(told[name], where)
        elif needed:
            raise WrongFieldError(where, "is missing")
    return model(**values)
