"""
Independent reference for decoding: the rules of the contract on top of `json.loads`.

It shares no code with the package, so that a fault of one is not in the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

AMOUNT = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
CODE = re.compile(r"-?[0-9]{1,9}")
ID = re.compile(r"[0-9]{1,100}")
LAST_MILLISECOND = 253_402_300_799_999


class InvalidError(Exception):
    """The response must be rejected."""


class Number(str):
    """A JSON number as its text."""

    __slots__ = ()


def decoded(name: str, body: bytes) -> Any:
    """Return the values of the `data` of a response, or raise `InvalidError`."""
    try:
        envelope = json.loads(
            body.decode(), parse_int=_integer, parse_float=Number, parse_constant=_reject
        )
    except (ValueError, RecursionError) as error:
        raise InvalidError from error
    if not isinstance(envelope, dict) or not is_success(envelope) or "data" not in envelope:
        raise InvalidError
    return READERS[name](envelope["data"])


def is_success(envelope: dict[str, Any]) -> bool:
    """Return whether an envelope is that of a success: `status` counts, else `code`."""
    status, code = envelope.get("status"), envelope.get("code")
    if isinstance(status, str) and not isinstance(status, Number):
        return status == "ok"
    is_200 = isinstance(code, str) and CODE.fullmatch(code) is not None and int(code) == 200
    flags = [envelope.get("success"), envelope.get("ok")]
    return is_200 and not any(flag is False or str(flag).lower() == "false" for flag in flags)


def _integer(text: str) -> Number:
    return Number("0" if text == "-0" else text)


def _reject(constant: str) -> None:
    raise ValueError(constant)


def amount(value: Any) -> tuple[Any, ...]:
    """Return sign, digits and exponent of an amount."""
    if isinstance(value, str) and len(value) <= 100 and AMOUNT.fullmatch(value):
        return Decimal(str(value)).as_tuple()
    raise InvalidError


def identifier(value: Any) -> int:
    """Return an id."""
    if isinstance(value, str) and ID.fullmatch(value):
        return int(value)
    raise InvalidError


def text(value: Any) -> str:
    """Return text that UTF-8 can represent."""
    if isinstance(value, Number) or not isinstance(value, str):
        raise InvalidError
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidError from error
    return value


def timestamp(value: Any) -> datetime:
    """Return a time of milliseconds since 1970."""
    milliseconds = identifier(value)
    if milliseconds > LAST_MILLISECOND:
        raise InvalidError
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def field(data: Any, name: str, rule: Callable[[Any], Any]) -> Any:
    """Return a field that matters."""
    if not isinstance(data, dict) or name not in data:
        raise InvalidError
    return rule(data[name])


def unimportant(data: Any, name: str, rule: Callable[[Any], Any], default: Any = None) -> Any:
    """Return a field that does not matter."""
    try:
        return field(data, name, rule)
    except InvalidError:
        return default


def rows(data: Any, row: Callable[[Any], Any]) -> list[Any]:
    """Return the items of a list."""
    if not isinstance(data, list):
        raise InvalidError
    return [row(item) for item in data]


def account(data: Any) -> tuple[Any, ...]:
    """Return the values of an account."""
    return (
        field(data, "id", identifier),
        field(data, "type", text),
        unimportant(data, "subtype", text, ""),
        field(data, "state", text),
    )


def entry(data: Any) -> tuple[Any, ...]:
    """Return the values of a row of a balance."""
    return (
        field(data, "currency", text),
        field(data, "type", text),
        field(data, "balance", amount),
        unimportant(data, "debt", amount),
        unimportant(data, "available", amount),
        unimportant(data, "seq-num", identifier),
    )


def balance(data: Any) -> tuple[Any, ...]:
    """Return the values of the balance of an account."""
    return (
        field(data, "id", identifier),
        field(data, "type", text),
        field(data, "state", text),
        field(data, "list", lambda items: rows(items, entry)),
    )


def group(data: Any) -> tuple[Any, ...]:
    """Return the values of a group of points."""
    return (
        field(data, "groupId", identifier),
        unimportant(data, "expiryDate", timestamp),
        field(data, "remainAmt", amount),
    )


def points(data: Any) -> tuple[Any, ...]:
    """Return the values of a point balance."""
    groups = data.get("groupIds") if isinstance(data, dict) else None
    return (
        field(data, "accountId", identifier),
        field(data, "accountStatus", text),
        field(data, "acctBalance", amount),
        [] if groups is None else rows(groups, group),
    )


def valuation(data: Any) -> tuple[Any, ...]:
    """Return the values of an asset valuation."""
    return field(data, "balance", amount), unimportant(data, "timestamp", timestamp)


READERS: dict[str, Callable[[Any], Any]] = {
    "accounts": lambda data: rows(data, account),
    "balance": balance,
    "points": points,
    "valuation": valuation,
}
