"""Errors as plain values and back: a snapshot keeps them beside their accounts."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from decimal import Decimal
from typing import Any, Final, cast

from htx_async import errors
from htx_async.errors import HTXError
from htx_async.models.wire_types import InvalidValueError

_DETAILS: Final[dict[str, tuple[type, ...]]] = {
    "endpoint": (str,),
    "retryable": (bool,),
    "delivery": (str,),
    "code": (str, int),
    "message": (str,),
    "http_status": (int,),
    "retry_after": (float, int, Decimal),
    "path": (str,),
}
"""Attributes of an error besides its text, with their types. Each may be `None`, too."""

_CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, HTXError)
}


def error_to_dict(error: HTXError) -> dict[str, Any]:
    """Return *error* as plain values: the name of its class, text, attributes and notes."""
    name = next(base.__name__ for base in type(error).__mro__ if base in _CLASSES.values())
    details = {key: getattr(error, key) for key in _DETAILS if hasattr(error, key)}
    text = str(error.args[0]) if error.args else ""
    return {"error": name, "text": text, **details, "notes": [*getattr(error, "__notes__", ())]}


def error_from_dict(data: object) -> HTXError:
    """
    Return the error with these plain values; an `HTXError` if its class is unknown.

    Raises:
        InvalidValueError: *data* is not the plain values of an error.
    """
    payload = cast("Mapping[str, Any]", data if isinstance(data, Mapping) else {})
    name, text = payload.get("error"), payload.get("text")
    notes: Any = payload.get("notes", ())
    if not isinstance(name, str) or not isinstance(text, str):
        msg = "must be an error with its name and text"
        raise InvalidValueError(msg)
    if not isinstance(notes, list | tuple) or not _are_text(cast("list[object]", notes)):
        msg = "must be an error whose notes are text"
        raise InvalidValueError(msg)
    error = _CLASSES.get(name, HTXError)(text)
    for key in payload.keys() & _DETAILS.keys():
        _set(error, key, payload[key])
    for note in cast("list[str]", notes):
        error.add_note(note)
    return error


def error_key(error: HTXError | None) -> Hashable:
    """Return a key that is equal for equal errors: class, text, attributes and notes."""
    if error is None:
        return None
    return tuple((key, str(value)) for key, value in error_to_dict(error).items())


def _are_text(notes: list[object]) -> bool:
    return all(isinstance(note, str) for note in notes)


def _set(error: HTXError, key: str, value: object) -> None:
    if value is not None and not isinstance(value, _DETAILS[key]):
        msg = f"must be an error whose {key} has another type"
        raise InvalidValueError(msg)
    plain = float(value) if isinstance(value, Decimal) else value
    if getattr(error, key, None) != plain:
        setattr(error, key, plain)
