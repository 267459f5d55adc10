"""Recordings of a stream: what is kept, what is replaced, and that nothing else is written."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from htx_async import (
    Account,
    AccountBalance,
    AccountState,
    AccountType,
    APIError,
    BalanceChange,
    BalanceEntry,
    BalanceType,
    NoResponseError,
    StreamEvent,
)
from htx_async.cli.recording.redaction import Recording
from htx_async.stream.live import observe
from htx_async.stream.observer import ObservedKind
from tests.stream.exchange import KEYS, make
from tests.virtual import DAY, VirtualClock

ID, UID, SECRET = 68824237, 409000001, "abcdef01-23456789-abcdef01-23456"
TOTAL, FREE = "115.096849200715990336", "104.296849200715990293"
PUSH: dict[str, Any] = {
    "currency": "usdt",
    "accountId": ID,
    "balance": TOTAL,
    "available": FREE,
    "changeType": "order.place",
    "accountType": "trade",
    "seqNum": 18,
    "changeTime": int(DAY * 1000) + 2500,
}


def recording() -> Recording:
    return Recording(started_at=100.0, wall_started_at=DAY)


def received(target: Recording, message: Any) -> Any:
    """Return the redacted form of a message."""
    raw = message if isinstance(message, str | bytes) else json.dumps(message)
    return json.loads(target.line("received", raw, 101.5))


def pushed(target: Recording, **fields: Any) -> Any:
    message = {"action": "push", "ch": "accounts.update#2", "data": PUSH | fields}
    return received(target, message)


def test_push_keeps_its_structure_numbers_and_times() -> None:
    line = pushed(recording())
    assert line == {
        "at": 1.5,
        "kind": "received",
        "message": {
            "action": "push",
            "ch": "accounts.update#2",
            "data": {
                "currency": "usdt",
                "accountId": {"number": "account-1"},
                "balance": "amount-1",
                "available": "amount-2",
                "changeType": "order.place",
                "accountType": "trade",
                "seqNum": 18,
                "changeTime": 2.5,
            },
        },
        "frozen": "amount-3",
    }
    assert list(line["message"]["data"]) == list(PUSH)


def test_equal_values_have_the_same_placeholder() -> None:
    """In pushes and audits, however they are written; text and numbers stay apart."""
    target = recording()
    pushed(target)
    data = pushed(target, accountId=str(ID), balance=f"{TOTAL}000", available=0)["message"]["data"]
    assert (data["accountId"], data["balance"]) == ("account-1", "amount-1")
    assert data["available"] == {"number": "0"}
    row = BalanceEntry("usdt", BalanceType.TRADE, Decimal(FREE), seq_num=18)
    audited = json.loads(target.line("audited", (balance(row), 101.0), 101.25))
    assert audited["id"] == {"number": "account-1"}
    assert audited["rows"][0]["balance"] == "amount-2"
    assert audited["rows"][0]["seq_num"] == 18
    negative = pushed(target, balance=f"-{FREE}")["message"]["data"]
    assert negative["balance"] == "-amount-2"


@pytest.mark.parametrize("seq", [18, "86872993928", 2**53 + 1, 0, None])
def test_serial_numbers_are_kept(seq: Any) -> None:
    """With their type, so that their order and their steps are."""
    assert pushed(recording(), seqNum=seq)["message"]["data"]["seqNum"] == seq


def balance(*rows: BalanceEntry) -> AccountBalance:
    return AccountBalance(ID, AccountType.SPOT, AccountState.WORKING, rows)


def test_audit_has_the_rows_that_differ() -> None:
    """The first one those that are not zero."""
    zero = BalanceEntry("xrp", BalanceType.TRADE, Decimal(0), seq_num=0)
    usdt = BalanceEntry("usdt", BalanceType.TRADE, Decimal(5), seq_num=1)
    btc = BalanceEntry("btc", BalanceType.LOAN, Decimal(-2), seq_num=3)
    target = recording()
    first = json.loads(target.line("audited", (balance(usdt, zero, btc), 100.5), 101.0))
    assert first == {
        "at": 1.0,
        "kind": "audited",
        "sent_at": 0.5,
        "id": {"number": "account-1"},
        "type": "spot",
        "state": "working",
        "rows": [
            {"currency": "usdt", "type": "trade", "balance": "amount-1", "seq_num": 1},
            {"currency": "btc", "type": "loan", "balance": "-amount-2", "seq_num": 3},
        ],
        "unchanged": 1,
    }
    moved = BalanceEntry("usdt", BalanceType.TRADE, Decimal(0), seq_num=2)
    second = json.loads(target.line("audited", (balance(moved, zero, btc), 110.5), 111.0))
    assert second["rows"] == [{"currency": "usdt", "type": "trade", "balance": "0", "seq_num": 2}]
    assert second["unchanged"] == 2


@pytest.mark.parametrize(
    "message",
    [
        {"action": "req", "code": 2002, "ch": "auth", "message": f"wrong key {SECRET}"},
        {"action": SECRET, "ch": SECRET, "code": SECRET, "message": SECRET, "data": SECRET},
        {"action": "push", "data": dict.fromkeys(PUSH, SECRET)},
        {"action": "push", "data": {SECRET: 1, "userId": UID, "more": [UID, str(UID), [SECRET]]}},
        {"action": "push", "data": {"ts": UID, "changeTime": str(UID), "accountId": UID}},
        [SECRET, {"uid": UID}],
        SECRET,
        f'"{SECRET}"',
        f"{{{SECRET}",
        SECRET.encode() + b"\xff",
        "[" * 100_000 + SECRET,
        {"balance": f"{UID}e999999", "data": {"balance": f"{UID}e99999", "available": "1e-99999"}},
    ],
)
def test_nothing_that_is_not_listed_is_written(message: Any) -> None:
    """Whatever HTX sends back, wherever it is."""
    raw = message if isinstance(message, str | bytes) else json.dumps(message)
    line = recording().line("received", raw, 101.0)
    json.loads(line)
    for value in (SECRET, str(UID), "23456"):
        assert value not in line


def test_message_that_is_not_json_has_its_length() -> None:
    assert received(recording(), "not JSON")["malformed"] == 8


def test_authentication_is_not_written() -> None:
    assert json.loads(recording().line("sent", None, 101.0))["message"] is None


def test_events_and_errors_have_no_text() -> None:
    """Their kind, class and code only; a change is in the message already."""
    target, wall = recording(), datetime.fromtimestamp(DAY + 3, UTC)
    gap = StreamEvent(kind="gap", since=wall, reason="disconnected", error=NoResponseError(SECRET))
    assert json.loads(target.line("event", gap, 104.0)) == {
        "at": 4.0, "kind": "event", "event": "gap", "reason": "disconnected", "since": 3.0,
        "error": "NoResponseError",
    }  # fmt: skip
    row = BalanceChange(ID, "usdt", BalanceType.TRADE, Decimal(0), Decimal(1))
    assert target.line("event", StreamEvent(kind="changed", change=row), 104.0) == ""
    closed = NoResponseError("https://x: HTX closed the connection with code 1006")
    lost = json.loads(target.line("lost", closed, 104.0))
    assert lost == {"at": 4.0, "kind": "lost", "error": "NoResponseError", "close_code": 1006}
    error = APIError(SECRET, code="base-operation-forbidden", http_status=200)
    failed = json.loads(target.line("audit_failed", error, 104.0))
    assert (failed["code"], failed["http_status"]) == ("base-operation-forbidden", 200)
    assert "code" not in json.loads(target.line("lost", APIError("x", code=SECRET), 104.0))
    assert json.loads(target.line("opened", None, 104.0)) == {"at": 4.0, "kind": "opened"}


def test_first_lines() -> None:
    target = recording()
    start = json.loads(target.start(10.0))
    assert (start["at"], start["format"], start["audit_interval"]) == (0.0, 1, 10.0)
    account = Account(ID, AccountType.MARGIN, "btcusdt", AccountState.WORKING)
    (shown,) = json.loads(target.accounts([account], 101.0))["accounts"]
    assert shown == {
        "id": {"number": "account-1"}, "type": "margin", "subtype": "btcusdt", "state": "working",
    }  # fmt: skip


async def test_observer_gets_what_happens_but_no_secret(virtual_time: VirtualClock) -> None:
    """Messages of both directions, audits, events and cuts, until the stream is closed."""
    setup = make(virtual_time)
    observed: list[tuple[ObservedKind, Any]] = []
    live = setup.stream()
    observe(live, lambda kind, data: observed.append((kind, data)))
    async with live:
        setup.exchange.move("usdt", "2")
        setup.exchange.read_errors.append(NoResponseError("down"))
        await asyncio.sleep(11)
        setup.exchange.socket.cut()
        await asyncio.sleep(5)
    kinds = [kind for kind, _ in observed]
    assert kinds[:4] == ["opened", "sent", "received", "sent"]
    assert {"audited", "audit_failed", "lost", "event"} < set(kinds)
    assert kinds.count("opened") == 2
    secrets = (KEYS.auth_params()[0][1], "ignature")
    assert not any(secret in repr(data) for secret in secrets for _, data in observed)
    count = len(observed)
    async with setup.stream():
        assert len(observed) == count
