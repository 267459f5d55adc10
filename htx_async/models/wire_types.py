"""
What HTX may write where a value of some kind is wanted, and what is made of it.

An amount is a `Decimal` of the very digits on the wire, however it is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from htx_async.validation import MAX_DIGITS

T = TypeVar("T")

WIRE: Final = "wire"
ABSENT: Final = "absent"
"""What the metadata of a field say: its name on the wire, and what it is if it is not there."""

WRITTEN = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?"
"""How an amount is written, wherever it comes from."""
_AMOUNT = re.compile(WRITTEN)
_AMOUNTS = re.compile(rf"(?:{WRITTEN}\n)*+")
_ID = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}")
_TOO_LONG = 10**MAX_DIGITS
_MAX_AMOUNT = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_MILLISECONDS = 253_402_300_799_999
"""The last moment that a `datetime` knows: the year 9999."""


class _Number(str):
    """A JSON number with a point or an exponent, as the text that it is on the wire."""

    __slots__ = ()


class WrongError(ValueError):
    """A value is not what its field wants. Its text ends the sentence "... must be"."""


class MalformedError(ValueError):
    """Something in an answer is not what it must be. Its arguments: where, and what is wrong."""


def json_decoder(kind: Any = Any) -> msgspec.json.Decoder[Any]:
    """Return what reads JSON, with numbers as the digits that they are."""
    return msgspec.json.Decoder(kind, float_hook=_Number)


def amount(value: object) -> Decimal:
    """Return an amount, from text or from a JSON number, digit for digit."""
    text = value if isinstance(value, str) else _digits(value)
    if len(text) <= _MAX_AMOUNT and _AMOUNT.fullmatch(text):
        return Decimal(text)
    msg = "a decimal number"
    raise WrongError(msg)


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
    if isinstance(value, str) and _ID.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _TOO_LONG:
        return int(value)
    msg = "a whole number"
    raise WrongError(msg)


def moment(value: object) -> datetime:
    """Return the moment that is *value* milliseconds after 1970, in UTC."""
    milliseconds = whole(value)
    if milliseconds > _MAX_MILLISECONDS:
        msg = "milliseconds since 1970"
        raise WrongError(msg)
    return _EPOCH + timedelta(milliseconds=milliseconds)


def text(value: object) -> str:
    """Return text; a number is none."""
    if isinstance(value, str) and not isinstance(value, _Number):
        return value
    msg = "text"
    raise WrongError(msg)


def or_none(rule: Callable[[object], T]) -> Callable[[object], T | None]:
    """Return *rule* for what does not matter: `None` for what it does not like."""

    def lenient(value: object) -> T | None:
        try:
            return rule(value)
        except WrongError:
            return None

    return lenient


def _digits(value: object) -> str:
    """Return the digits of a JSON number; "": it is something else."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
