"""Messages that the sandbox sends on a stream: what HTX documents, and what was recorded of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs
import msgspec

from htx_async.sandbox.changes import BalanceUpdate
from htx_async.sandbox.errors import ErrorSpec

HANDSHAKE: Final = "GET /ws/v2"
"""Name of the opening handshake in the fault schedule: it is a request like any other."""

AUTH, SUBSCRIBE, UNSUBSCRIBE = "WS auth", "WS sub", "WS unsub"
SNAPSHOT, PUSH, PING, PONG = "WS snapshot", "WS push", "WS ping", "WS pong"

EVENTS: Final = (AUTH, SUBSCRIBE, UNSUBSCRIBE, SNAPSHOT, PUSH, PING, PONG)
"""Names of the messages that the sandbox sends, in the fault schedule."""

INVALID_JSON = ErrorSpec.same(2001, "invalid.json")
INVALID_ACTION = ErrorSpec.same(2001, "invalid.action")
INVALID_CHANNEL = ErrorSpec.same(2001, "invalid.ch")
INVALID_AUTH_TYPE = ErrorSpec.same(2001, "invalid.authType")
MISSING_AUTH_PARAM = ErrorSpec.same(2001, "missing.param.auth")
NOT_AUTHENTICATED = ErrorSpec.same(2002, "invalid.auth.state")
AUTH_FAILED = ErrorSpec.same(2002, "auth.fail")
TOO_MANY_REQUESTS = ErrorSpec.same(4000, "too.many.request")
TOO_MANY_CONNECTIONS = ErrorSpec.same(4000, "too.many.connection")
TIMED_OUT = ErrorSpec.same(100, "time out close")

_JSON_OBJECT = msgspec.json.Decoder(dict[str, Any])
_CHANNEL = re.compile(r"accounts\.update(?:#([012]))?")

Opcode = Literal["text", "binary", "pong"]


@attrs.frozen
class Message:
    """
    Message to send: *data* in this number of *frames*.

    *code*: HTX's error code; `None` if it is not an error.
    """

    data: bytes
    opcode: Opcode = "text"
    frames: int = 1
    code: str | int | None = None

    @property
    def json(self) -> Any:
        """Return the JSON in *data*; `msgspec.DecodeError` if there is none."""
        return msgspec.json.decode(self.data)


@attrs.frozen
class Close:
    """Close frame to send. 1005 is one without a code."""

    code: int
    reason: str = ""


def json_message(content: Any, code: str | int | None = None) -> Message:
    """Return a text message with *content* as JSON."""
    return Message(msgspec.json.encode(content), code=code)


def parse_request(data: str | bytes) -> dict[str, Any] | None:
    """Return the JSON object that a client sent as text; `None` if it is something else."""
    try:
        return _JSON_OBJECT.decode(data) if isinstance(data, str) else None
    except msgspec.DecodeError:
        return None


def mode_of(channel: object) -> int | None:
    """Return the mode of a channel for account changes; `None` for any other channel."""
    match = _CHANNEL.fullmatch(channel) if isinstance(channel, str) else None
    return int(match[1] or 0) if match else None


def acknowledgement(action: str, channel: str) -> Message:
    """Return the response to a request that succeeded."""
    return json_message({"action": action, "code": 200, "ch": channel, "data": {}})


def error(spec: ErrorSpec, request: Mapping[str, Any]) -> Message:
    """Return an API error with the action and the channel of *request*, if it has them."""
    origin = {name: request[name] for name in ("action", "ch") if name in request}
    content = {**origin, "code": spec.v2_code, "message": spec.v2_message}
    return json_message(content, spec.v2_code)


def error_instead_of(original: Message, spec: ErrorSpec) -> Message:
    """
    Return an API error in place of *original*.

    In place of a push, its action is "sub": HTX documents that a subscription may fail like this
    after it was acknowledged.
    """
    content = original.json
    action = content.get("action")
    return error(spec, {**content, "action": "sub"} if action == "push" else content)


def ping(now: float) -> Message:
    """Return HTX's heartbeat. *now*: seconds since 1970-01-01 UTC."""
    return json_message({"action": "ping", "data": {"ts": int(now * 1000)}})


def pushes(channel: str, update: BalanceUpdate) -> list[Message]:
    """Return the messages that a subscription to *channel* gets for *update*."""
    return [
        json_message({"action": "push", "ch": channel, "data": _content(update, amounts)})
        for amounts in _amounts(mode_of(channel), update)
    ]


def _amounts(mode: int | None, update: BalanceUpdate) -> list[dict[str, str]]:
    balance, available = {"balance": update.balance}, {"available": update.available}
    if mode == 2 or update.is_snapshot:  # noqa: PLR2004  # as in accounts.update#2
        return [balance | available]
    changed = [balance] if update.has_new_balance else []
    if mode == 1 and update.has_new_available:
        changed.append(available)
    return changed


def _content(update: BalanceUpdate, amounts: Mapping[str, str]) -> dict[str, Any]:
    return {
        "currency": update.currency,
        "accountId": update.account_id,
        **amounts,
        "changeType": update.cause,
        "accountType": update.account_type,
        "seqNum": update.seq,
        "changeTime": update.changed_at,
    }
