"""
Messages of HTX's WebSocket v2, as pure functions.

HTX, "Subscribe Account Change":
https://www.htx.com/en-us/opend/newApiPages/?id=7ec53dd5-7773-11ed-9966-0242ac110003
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from htx_async.models.decimals import difference
from htx_async.models.wire_types import InvalidValueError, parse_decimal, parse_id

T = TypeVar("T")

PATH: Final = "/ws/v2"
TOPIC: Final = "accounts.update"
SUBSCRIBE: Final = json.dumps({"action": "sub", "ch": f"{TOPIC}#2"})
"""Mode 2 pushes the total and the free amount together, whenever one of them changes."""
TRADE: Final = "trade"
OK: Final = 200


class Amounts(NamedTuple):
    """The amounts of one currency that pushes contain."""

    trade: Decimal
    frozen: Decimal


class Ping(msgspec.Struct, frozen=True):
    """HTX's own ping, which needs a response with the same `ts`."""

    ts: Any


class Reply(msgspec.Struct, frozen=True):
    """
    The response to a request, or an error.

    Attributes:
        channel: `auth`, the topic, or empty: HTX does not always name it.
        code: 200, an error code, or `None`: malformed.
        text: HTX's message.
    """

    channel: str
    code: int | None
    text: str


class Push(msgspec.Struct, frozen=True):
    """
    A change of an account.

    Attributes:
        account_type: `trade`, `loan`, `interest` or another one.
        amounts: The amounts; `None`: missing or malformed, such as more free than there is.
        seq: HTX's serial number; `None`: 0, missing or malformed.
        cause: HTX's `changeType`; `None` in a snapshot.
    """

    account_id: int
    currency: str
    account_type: str
    amounts: Amounts | None
    seq: int | None
    cause: str | None


class _Frame(msgspec.Struct, frozen=True):
    action: Any = None
    ch: Any = None
    code: Any = None
    message: Any = None
    data: Any = None


_decoder = msgspec.json.Decoder(_Frame, float_hook=parse_decimal)


def parse(message: str | bytes) -> Ping | Reply | Push | None:
    """Return what HTX sent; `None`: it cannot be decoded, or is of an unknown kind."""
    try:
        frame = _decoder.decode(message)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if frame.action == "push":
        return _parse_push(frame.data) if is_topic(frame.ch) else None
    if frame.action == "ping":
        return Ping(_parse_ts(frame.data))
    if frame.code is None:
        return None
    return Reply(_text(frame.ch), _or_none(parse_id, frame.code), _text(frame.message))


def pong(ping: Ping) -> str:
    """Return the response to *ping*."""
    return msgspec.json.encode({"action": "pong", "data": {"ts": ping.ts}}).decode()


def is_topic(channel: object) -> bool:
    """Return whether *channel* is the topic, in any mode: HTX does not repeat the mode always."""
    return isinstance(channel, str) and channel.partition("#")[0] == TOPIC


def _parse_ts(data: Any) -> Any:
    try:
        return data["ts"]
    except (KeyError, TypeError):
        return None


def _parse_push(data: Any) -> Push | None:
    """Return a push; `None` if it does not name its row."""
    try:
        account_id, currency = parse_id(data["accountId"]), data["currency"]
    except (InvalidValueError, KeyError, TypeError):
        return None
    if type(currency) is not str:
        return None
    kind, cause = data.get("accountType", TRADE), data.get("changeType")
    return Push(
        account_id,
        currency,
        kind if type(kind) is str else "",
        _or_none(_parse_amounts, data),
        _or_none(parse_id, data.get("seqNum")) or None,
        cause if type(cause) is str and cause else None,
    )


def _parse_amounts(data: Any) -> Amounts:
    """Return the amounts: HTX's `balance` is the total, and `available` is free to be used."""
    balance, available = (_parse_amount(data.get(name)) for name in ("balance", "available"))
    if available > balance:
        msg = "must not be more than the balance"
        raise InvalidValueError(msg, ".available")
    return Amounts(available, difference(balance, available))


def _parse_amount(value: object) -> Decimal:
    return value if isinstance(value, Decimal) else parse_decimal(value)


def _or_none(parse_value: Callable[[Any], T], value: object) -> T | None:
    try:
        return parse_value(value)
    except InvalidValueError:
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
