"""
Redacted recordings of a stream: what they contain, as pure functions of what happened.

A recording is a file of JSON lines. Each has `at`, the seconds since its start, and `kind`:

| kind | other fields |
| --- | --- |
| `start` | `format`: 1; `version` of this package; `audit_interval` in seconds |
| `accounts` | `accounts` that are followed: `id`, `type`, `subtype`, `state` |
| `opened` | none: a connection is open |
| `sent` | `message`; that of the authentication is `null` |
| `received` | `message`; `frozen`: of a push, the difference of its amounts; `malformed`: bytes |
| `audited` | a balance by REST: `sent_at`, `id`, `type`, `state`, `rows`, `unchanged` |
| `audit_failed` | `error`: its class, `code`, `http_status` |
| `lost` | the same, and `close_code`: the connection was lost, or could not be opened |
| `event` | `event`: its kind; `reason`, `since`, `until`, `error`. Changes are omitted. |

Messages keep their structure: names, order, lists, `null`, `true` and `false`. Values are kept only
if they are on this list: HTX's words for actions, channels, change types, account types and states,
currencies, error codes, and serial numbers (`seqNum`, of REST `seq_num`), as numbers or text.
Times, such as `changeTime` and `ts`, become seconds since the start of the recording.

Everything else becomes a placeholder: `account-1` for the id of an account, `amount-1` for another
number (`-amount-1` if it is negative; 0 is kept), `text-1` for text, `name-1` for a field with an
unusual name. Equal values have the same placeholder, in pushes and in audits. A placeholder in
`{"number": …}` was a number in JSON, not text.

`rows` of an audit are those that differ from the audit before (the first one: those that are not 0,
or have a serial number); `unchanged` counts the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast

import attrs

from htx_async import AccountBalance, BalanceEntry, HTXError, StreamEvent
from htx_async.clock import PLAUSIBLE_EPOCH_MS
from htx_async.models.account import Account
from htx_async.models.decimals import difference
from htx_async.stream.observer import ObservedKind
from htx_async.version import VERSION

FORMAT: Final = 1

_PLACES = 6
_MAX_DIGITS = 40
_ID_NAMES: Final = frozenset({"accountId", "account-id", "account_id", "id"})
_SEQ_NAMES: Final = frozenset({"seqNum", "seq-num", "seq_num"})
_TIME_NAMES: Final = frozenset({"ts", "changeTime", "received_at"})
_WORD: Final = re.compile(r"(?=.{1,32}\Z)[a-z]+(?:[.-][a-z]+){0,3}")
_KEPT: Final = {
    "action": re.compile("push|ping|pong|req|sub|unsub"),
    "ch": re.compile(r"auth|accounts\.update(#[0-9])?"),
    "code": re.compile(rf"-?[0-9]{{1,5}}|{_WORD.pattern}"),
    "message": re.compile(
        "system error|Success|time out close|Bad Request|Not Found|Too Many Requests"
        r"|invalid\.(ip|json|action|symbol|ch|authType|auth\.state)|missing\.param\.auth|auth\.fail"
        r"|query\.account\.list\.error|too\.many\.(request|connection)"
    ),
    "currency": re.compile("[a-z0-9]{1,16}"),
    "subtype": re.compile("[a-z0-9]{0,20}"),
    "changeType": _WORD,
    "accountType": _WORD,
    "type": _WORD,
    "state": _WORD,
}
"""What a value that is kept may be, by the name of its field: a secret is none of it."""
_NAME: Final = re.compile("[A-Za-z][A-Za-z_-]{0,31}")
_CLOSE_CODE: Final = re.compile(r"\bclosed the connection with code (\d{4})")


@attrs.define
class Recording:
    """
    Turns what an observer of a stream gets into lines of a recording.

    Attributes:
        started_at: Monotonic time of the start.
        wall_started_at: The same as seconds since 1970.
    """

    started_at: float
    wall_started_at: float
    _placeholders: dict[tuple[str, object], str] = attrs.field(factory=dict[Any, str])
    _counts: dict[str, int] = attrs.field(factory=dict[str, int])
    _rows: dict[int, tuple[BalanceEntry, ...]] = attrs.field(factory=dict[int, Any])

    def start(self, audit_interval: float) -> str:
        """Return the first line."""
        details = {"format": FORMAT, "version": VERSION, "audit_interval": audit_interval}
        return self._line("start", self.started_at, details)

    def accounts(self, accounts: Iterable[Account], now: float) -> str:
        """Return the line with the accounts that are followed."""
        values = [self._value("", account.to_dict()) for account in accounts]
        return self._line("accounts", now, {"accounts": values})

    def line(self, kind: ObservedKind, data: Any, now: float) -> str:
        """Return the line for what an observer got at *now* (monotonic); "" if there is none."""
        details: dict[str, Any] = {}
        if kind in ("sent", "received"):
            details = {"message": None} if data is None else self._message(data)
        elif kind == "audited":
            details = self._audit(*data)
        elif kind == "event":
            event = cast("StreamEvent", data)
            if event.kind == "changed":
                return ""
            details = self._event(event)
        elif data is not None:
            details = _describe(data)
        return self._line(kind, now, details)

    def _line(self, kind: str, now: float, details: dict[str, Any]) -> str:
        values = {"at": self._since_start(now), "kind": kind, **details}
        return json.dumps(values, separators=(",", ":"))

    def _message(self, raw: str | bytes) -> dict[str, Any]:
        try:
            message = json.loads(raw, parse_float=Decimal, parse_constant=str)
        except (ValueError, RecursionError):
            return {"malformed": len(raw)}
        details = {"message": self._value("", message)}
        frozen = _frozen(message)
        return details if frozen is None else {**details, "frozen": self._amount(frozen)}

    def _value(self, name: str, value: Any) -> Any:
        """Return *value*, of the field *name*, without anything that is not known to be public."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            return {self._name(key): self._value(key, each) for key, each in fields.items()}
        if isinstance(value, list | tuple):
            return [self._value(name, each) for each in cast("list[Any]", value)]
        text, number = str(value), _number(value)
        if _is_kept(name, text):
            return value
        if name in _TIME_NAMES and number is not None and _is_epoch(number):
            at = round(float(number) / 1000 - self.wall_started_at, _PLACES)
            return str(at) if isinstance(value, str) else at
        if name in _ID_NAMES:
            placeholder = self._placeholder("account", text)
        elif number is None:
            placeholder = self._placeholder("text", text)
        else:
            placeholder = self._amount(number)
        return placeholder if isinstance(value, str) else {"number": placeholder}

    def _name(self, name: str) -> str:
        return name if _NAME.fullmatch(name) else self._placeholder("name", name)

    def _amount(self, amount: Decimal) -> str:
        if not amount:
            return "0"
        placeholder = self._placeholder("amount", amount.copy_abs())
        return placeholder if amount > 0 else f"-{placeholder}"

    def _placeholder(self, kind: str, value: object) -> str:
        key = kind, value
        if key not in self._placeholders:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._placeholders[key] = f"{kind}-{self._counts[kind]}"
        return self._placeholders[key]

    def _audit(self, balance: AccountBalance, sent_at: float) -> dict[str, Any]:
        before, self._rows[balance.id] = self._rows.get(balance.id), balance.entries
        if before is None:
            changed = [row for row in balance.entries if row.balance or row.seq_num]
        else:
            known = set(before)
            changed = [row for row in balance.entries if row not in known]
        head = {"id": balance.id, "type": balance.type, "state": balance.state}
        return {
            "sent_at": self._since_start(sent_at),
            **self._value("", head),
            "rows": [self._row(row) for row in changed],
            "unchanged": len(balance.entries) - len(changed),
        }

    def _row(self, row: BalanceEntry) -> dict[str, Any]:
        fields = {name: value for name, value in row.to_dict().items() if value is not None}
        return cast("dict[str, Any]", self._value("", fields))

    def _event(self, event: StreamEvent) -> dict[str, Any]:
        details = {
            "event": event.kind,
            "reason": event.reason,
            "since": self._relative(event.since),
            "until": self._relative(event.until),
            **({} if event.error is None else _describe(event.error)),
        }
        return {name: value for name, value in details.items() if value is not None}

    def _since_start(self, at: float) -> float:
        return round(at - self.started_at, _PLACES)

    def _relative(self, at: datetime | None) -> float | None:
        return None if at is None else round(at.timestamp() - self.wall_started_at, _PLACES)


def _describe(error: HTXError) -> dict[str, Any]:
    """Return what kind of error it is; its text may repeat anything."""
    details: dict[str, Any] = {"error": type(error).__name__}
    if error.code is not None and _is_kept("code", str(error.code)):
        details["code"] = error.code
    if error.http_status is not None:
        details["http_status"] = error.http_status
    if match := _CLOSE_CODE.search(str(error)):
        details["close_code"] = int(match[1])
    return details


def _is_kept(name: str, text: str) -> bool:
    if name in _SEQ_NAMES:
        return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    pattern = _KEPT.get(name)
    return pattern is not None and pattern.fullmatch(text) is not None


def _is_epoch(number: Decimal) -> bool:
    return PLAUSIBLE_EPOCH_MS.start <= number < PLAUSIBLE_EPOCH_MS.stop


def _number(value: object) -> Decimal | None:
    """Return the number that *value* is, or is the text of."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _frozen(message: Any) -> Decimal | None:
    """Return the difference of the amounts of a push: what is in orders."""
    try:
        data = message["data"]
        total, available = _number(data["balance"]), _number(data["available"])
        return None if total is None or available is None else difference(total, available)
    except (ArithmeticError, KeyError, TypeError):
        return None
