"""Errors as plain values, and back: a snapshot keeps them beside the accounts that they are of."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, cast

from htx_async import errors
from htx_async.errors import HTXError

_FACTS: Final[dict[str, tuple[type, ...]]] = {
    "endpoint": (str,),
    "retryable": (bool,),
    "delivery": (str,),
    "code": (str, int),
    "message": (str,),
    "http_status": (int,),
    "retry_after": (float, int, Decimal),
    "path": (str,),
}
"""What an error knows besides its text, and what that may be; all of it may be `None`, too."""

_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, HTXError)
}


def plain(error: HTXError) -> dict[str, Any]:
    """Return *error* as JSON knows it: the name of its class, its text, facts and notes."""
    name = next(kind.__name__ for kind in type(error).__mro__ if kind in _KINDS.values())
    facts = {fact: getattr(error, fact) for fact in _FACTS if hasattr(error, fact)}
    text = str(error.args[0]) if error.args else ""
    return {"error": name, "text": text, **facts, "notes": [*getattr(error, "__notes__", ())]}


def remade(said: Mapping[str, Any]) -> HTXError:
    """
    Return the error that *said* tells of; one of an unknown name is an `HTXError`.

    Raises:
        KeyError: Its name or text is missing.
        ValueError: Something in it is not what it must be; the error's text says what.
    """
    name, text = said["error"], said["text"]
    notes: Any = said.get("notes", ())
    if not isinstance(name, str) or not isinstance(text, str):
        msg = "an error with its name and text"
        raise ValueError(msg)  # noqa: TRY004 - one kind of fault, one kind of error
    if not isinstance(notes, list | tuple) or not _are_text(cast("list[object]", notes)):
        msg = "an error whose notes are text"
        raise ValueError(msg)
    error = _KINDS.get(name, HTXError)(text)
    for fact in said.keys() & _FACTS.keys():
        _set(error, fact, said[fact])
    for note in cast("list[str]", notes):
        error.add_note(note)
    return error


def _are_text(notes: Iterable[object]) -> bool:
    return all(isinstance(note, str) for note in notes)


def _set(error: HTXError, fact: str, value: object) -> None:
    if value is not None and not isinstance(value, _FACTS[fact]):
        msg = f"an error whose {fact} is another value"
        raise ValueError(msg)
    said = float(value) if isinstance(value, Decimal) else value
    if getattr(error, fact, None) != said:
        setattr(error, fact, said)


def value(error: HTXError | None) -> Hashable:
    """Return what makes two errors equal: all that they tell."""
    if error is None:
        return None
    return tuple((fact, str(said)) for fact, said in plain(error).items())
