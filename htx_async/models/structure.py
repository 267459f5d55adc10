"""
The two cattrs converters: a quick one, and one that tells where something is wrong.

The second is only asked once the first has failed, and follows the same rules.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from types import NoneType
from typing import Any, get_args

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from htx_async.models import wire_types
from htx_async.models.wire_types import ABSENT, WIRE, MalformedError, WrongError

_Hook = Callable[[Any, Any], Any]

_MALFORMED = (cattrs.BaseValidationError, WrongError, KeyError)
"""What a converter raises: the quick one the bare error, the other a group of them."""


def structure_of(model: Any) -> Callable[[Any], Any]:
    """Return what makes a *model* of decoded JSON, or raises `MalformedError`."""
    quick, telling = _quick.get_structure_hook(model), _telling.get_structure_hook(model)

    def structure(value: Any) -> Any:
        try:
            return quick(value, model)
        except _MALFORMED:
            pass
        try:
            return telling(value, model)
        except _MALFORMED as error:
            fault = _first_fault(error, "")
        raise MalformedError(*fault)

    return structure


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
    return str(attrs.fields_dict(model)[name].metadata.get(WIRE, name))


def _for_attrs(model: Any, converter: cattrs.Converter) -> _Hook:
    fields = attrs.fields(attrs.resolve_types(model))
    optional = [field for field in fields if ABSENT in field.metadata]
    absent = dict.fromkeys(field.metadata[WIRE] for field in optional)
    overrides = {field.name: override(rename=field.metadata[WIRE]) for field in fields} | {
        field.name: override(rename=field.metadata[WIRE], struct_hook=_lenient(field, converter))
        for field in optional
    }
    structure: Any = make_dict_structure_fn(model, converter, **overrides)  # type: ignore[arg-type]

    def hook(value: Any, kind: Any) -> Any:
        if isinstance(value, dict):
            return structure({**absent, **value}, kind)
        msg = "an object"
        raise WrongError(msg)

    return hook


def _lenient(field: attrs.Attribute[Any], converter: cattrs.Converter) -> _Hook:
    """Return a hook for a field that does not matter; if it is a list, what is in it does."""
    # Not by the hook of `... | None`: cattrs has its own for `int | None`, which takes more.
    kind: Any = field.type
    if NoneType in get_args(kind):
        kind = next(each for each in get_args(kind) if each is not NoneType)
    structure, absent = converter.get_structure_hook(kind), field.metadata[ABSENT]

    def hook(value: Any, _: Any) -> Any:
        if value is None:
            return absent
        try:
            return structure(value, kind)
        except _MALFORMED:
            if isinstance(value, list) and _is_tuple(kind):
                raise
            return absent

    return hook


def _for_tuples(kind: Any, converter: cattrs.Converter) -> _Hook:
    items = converter.get_structure_hook(list[get_args(kind)[0]])  # type: ignore[misc]

    def hook(value: Any, _: Any) -> Any:
        if isinstance(value, list):
            return tuple(items(value, list))
        msg = "a list"
        raise WrongError(msg)

    return hook


def _make(*, telling: bool) -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=telling)
    # By class, not by a predicate: those that cattrs has for `int` and `str` would go first.
    for kind, rule in (
        (Decimal, wire_types.amount),
        (int, wire_types.whole),
        (datetime, wire_types.moment),
    ):
        converter.register_structure_hook(kind, _ruled(rule))
    # The hook of `str` serves its subclasses too: the words.
    converter.register_structure_hook(str, lambda value, kind: kind(wire_types.text(value)))
    converter.register_structure_hook_factory(attrs.has, _for_attrs)
    converter.register_structure_hook_factory(_is_tuple, _for_tuples)
    return converter


def _ruled(rule: Callable[[object], Any]) -> _Hook:
    return lambda value, _: rule(value)


def _is_tuple(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is tuple


_quick, _telling = _make(telling=False), _make(telling=True)
