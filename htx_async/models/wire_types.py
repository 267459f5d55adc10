"""Scalars as HTX writes them: amounts, ids, timestamps and text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar, cast

from htx_async.validation import MAX_DIGITS

T = TypeVar("T")

DECIMAL_PATTERN = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?"
"""How an amount is written, wherever it comes from."""
MAX_LENGTH = 100
"""Characters of an amount on the wire."""

_matches_decimal = re.compile(DECIMAL_PATTERN).fullmatch
_DECIMALS = re.compile(rf"(?:{DECIMAL_PATTERN}\n)*+")
_ID_LIMIT = 10**MAX_DIGITS
_FLAGS = {"true": True, "false": False, "1": True, "0": False}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TIMESTAMP_MS = 253_402_300_799_999
"""The last millisecond that a `datetime` can hold, in the year 9999."""


class NumberText:
    """A JSON number as its text: with a decimal point or an exponent, or a very long one."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text: str = text


class BrokenText:
    """Text with a lone surrogate, which UTF-8 cannot represent; `text` is with replacements."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text: str = text.encode(errors="replace").decode()


class InvalidValueError(ValueError):
    """
    A value is malformed or missing.

    Attributes:
        fault: What is wrong, for example `must be a decimal number`.
        path: Where, below the value that was checked; for example `.list[3].balance`.
    """

    def __init__(self, fault: str, path: str = "") -> None:
        super().__init__(fault, path)
        self.fault = fault
        self.path = path


def parse_decimal(value: object) -> Decimal:
    """Return an amount, given as text or as a JSON number, digit for digit."""
    text = value if type(value) is str else _number_text(value)
    if len(text) <= MAX_LENGTH and _matches_decimal(text):
        return Decimal(text)
    msg = "must be a decimal number"
    raise InvalidValueError(msg)


def all_decimals(values: Iterable[object]) -> bool:
    """Return whether each of *values* is the text of an amount, by a single match."""
    texts = cast("list[str]", [*values, ""])
    try:
        lines = "\n".join(texts)
    except TypeError:  # one is not text
        return False
    return (
        _DECIMALS.fullmatch(lines) is not None
        and lines.count("\n") == len(texts) - 1
        and max(map(len, texts)) <= MAX_LENGTH
    )


def parse_id(value: object) -> int:
    """Return an id or another number that is not negative, given as a number or its digits."""
    if isinstance(value, str) and len(value) <= MAX_DIGITS and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _ID_LIMIT:
        return int(value)
    msg = "must be a whole number"
    raise InvalidValueError(msg)


def parse_timestamp_ms(value: object) -> datetime:
    """Return the time that is *value* milliseconds after 1970, in UTC."""
    milliseconds = parse_id(value)
    if milliseconds > _MAX_TIMESTAMP_MS:
        msg = "must be milliseconds since 1970"
        raise InvalidValueError(msg)
    return _EPOCH + timedelta(milliseconds=milliseconds)


def parse_str(value: object) -> str:
    """Return text; a number is not text."""
    if isinstance(value, str):
        return value
    msg = "must be text"
    raise InvalidValueError(msg)


def parse_bool(value: object) -> bool:
    """Return a flag: true or false, or 1 or 0; HTX writes some as text."""
    flag = _FLAGS.get(value.lower()) if isinstance(value, str) else value
    if isinstance(flag, int) and flag in (0, 1):
        return bool(flag)
    msg = "must be true or false"
    raise InvalidValueError(msg)


def optional(parse: Callable[[object], T]) -> Callable[[object], T | None]:
    """Return *parse* for a field that does not matter: it returns `None` for a malformed value."""

    def parse_or_none(value: object) -> T | None:
        try:
            return parse(value)
        except InvalidValueError:
            return None

    return parse_or_none


def _number_text(value: object) -> str:
    """Return the text of a JSON number; empty if *value* is something else."""
    if isinstance(value, NumberText):
        return value.text
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
