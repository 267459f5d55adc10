"""Faults of messages, one test each, without a socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from htx_async.sandbox import Fault, Sandbox, faults
from htx_async.sandbox.connection_faults import Reset
from htx_async.sandbox.stream.messages import EVENTS, Close, Message
from htx_async.sandbox.stream.session import StreamOutput
from tests.sandbox.signer import ManualClock, get_json
from tests.sandbox.stream.client import SUBSCRIPTION, Client, auth_request

BALANCE = "/v1/account/accounts/1000001/balance"
ACCEPTED = {"action": "req", "code": 200, "ch": "auth", "data": {}}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sandbox(clock: ManualClock) -> Sandbox:
    return Sandbox(clock=clock, limits=False)


@pytest.fixture
def client(sandbox: Sandbox) -> Client:
    return Client(sandbox)


def items(client: Client) -> list[Message | Close]:
    """Return what was delivered, not decoded."""
    outputs = [output.item for output in client.outputs]
    client.outputs.clear()
    return outputs


def numbers(client: Client) -> list[Any]:
    """Return the serial numbers of the pushes that were delivered."""
    return [message["data"]["seqNum"] for message in client.take()]


@pytest.mark.parametrize("name", faults.STREAM_CATALOGUE)
@pytest.mark.parametrize("event", ["WS auth", "WS sub"])
def test_request_may_get_each_error_of_htx(
    sandbox: Sandbox, client: Client, event: str, name: str
) -> None:
    """It has no effect then, and is recorded with the code."""
    sandbox.faults.next(faults.STREAM_CATALOGUE[name], endpoint=event)
    request = auth_request()
    if event == "WS sub":
        client.send(request)
        request = SUBSCRIPTION
    code, _, text = name.partition(": ")
    assert client.send(request) == [
        {"action": request["action"], "ch": request["ch"], "code": int(code), "message": text}
    ]
    assert sandbox.arrivals[-1].code == int(code)
    assert client.session.uid == (None if event == "WS auth" else 1000)
    sandbox.move("spot", "usdt", trade="1")
    assert client.take() == []
    assert client.send(request)[0]["code"] == 200


def test_unsubscription_that_fails_has_no_effect(sandbox: Sandbox, client: Client) -> None:
    client.subscribe()
    sandbox.faults.next(faults.refusal(500, "system error"), endpoint="WS unsub")
    assert client.send({"action": "unsub", "ch": "accounts.update"})[0]["code"] == 500
    sandbox.move("spot", "usdt", trade="1")
    assert numbers(client) == [478]


def test_too_many_is_429(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.next(faults.too_many(), endpoint="WS auth")
    assert client.send(auth_request()) == [
        {"action": "req", "ch": "auth", "code": 429, "message": "Too Many Requests"}
    ]
    assert client.session.uid is None


def test_clock_skew_fails_as_every_cause(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.next(faults.skewed(400), endpoint="WS auth")
    assert client.send(auth_request())[0]["message"] == "auth.fail"
    assert client.send(auth_request()) == [ACCEPTED]


@pytest.mark.parametrize("event", ["WS snapshot", "WS push"])
def test_subscription_may_end_with_an_error_after_it_was_acknowledged(
    sandbox: Sandbox, client: Client, event: str
) -> None:
    """As HTX documents it: the error looks like an acknowledgement. A new subscription works."""
    error = {"action": "sub", "ch": "accounts.update#2", "code": 500, "message": "系统异常:"}
    sandbox.faults.next(faults.STREAM_CATALOGUE["500: 系统异常:"], endpoint=event)
    snapshot = client.subscribe()
    if event == "WS snapshot":
        assert snapshot == [error]
    else:
        sandbox.move("spot", "usdt", trade="1")
        assert client.take() == [error]
    sandbox.move("spot", "usdt", trade="2")
    assert client.take() == []
    assert len(client.send(SUBSCRIPTION)) > 1
    sandbox.move("spot", "usdt", trade="3")
    assert len(client.take()) == 1


@pytest.mark.parametrize("event", ["WS sub", "WS push"])
def test_unsubscribed_stream_is_silent_but_alive(
    sandbox: Sandbox, client: Client, clock: ManualClock, event: str
) -> None:
    """The request, or the last push, looks right."""
    sandbox.faults.next(faults.unsubscribed(), endpoint=event)
    snapshot = client.subscribe()
    assert bool(snapshot) == (event == "WS push")
    sandbox.move("spot", "usdt", trade="1")
    assert numbers(client) == ([478] if snapshot else [])
    sandbox.move("spot", "usdt", trade="2")
    assert client.take() == []
    clock.passed = 20
    assert client.tick()[0]["action"] == "ping"


@pytest.mark.parametrize("event", EVENTS)
def test_lost_message_is_not_sent(
    sandbox: Sandbox, client: Client, clock: ManualClock, event: str
) -> None:
    """Although its cause has happened."""
    sandbox.faults.always(faults.lost(), endpoint=event)
    events = []
    client.send(auth_request())
    assert client.session.uid == 1000
    client.send({"action": "sub", "ch": "accounts.update#2"})
    sandbox.faults.clear()
    client.send(SUBSCRIPTION)
    sandbox.faults.always(faults.lost(), endpoint=event)
    sandbox.move("spot", "usdt", trade="1")
    events += ["WS push"] if numbers(client) == [478] else []
    clock.passed = 100
    events += ["WS ping"] if client.tick() else []
    client.outputs += client.session.receive_ping(b"?")
    events += ["WS pong"] if items(client) == [Message(b"?", "pong")] else []
    assert sorted(events) == sorted({"WS push", "WS ping", "WS pong"} - {event})


def test_heartbeat_that_is_lost_needs_no_pong(
    sandbox: Sandbox, client: Client, clock: ManualClock
) -> None:
    sandbox.faults.always(faults.lost(), endpoint="WS ping")
    for clock.passed in (20, 40, 60, 80):
        assert client.tick() == []


def test_duplicated_push(sandbox: Sandbox, client: Client) -> None:
    client.subscribe()
    sandbox.faults.next(faults.duplicated(3), endpoint="WS push")
    sandbox.move("spot", "usdt", trade="1")
    assert numbers(client) == [478] * 3


def test_delayed_push_is_overtaken(sandbox: Sandbox, client: Client, clock: ManualClock) -> None:
    """It comes when it is due, which `next_tick` says."""
    client.subscribe()
    sandbox.faults.next(faults.delayed(1), endpoint="WS push")
    sandbox.faults.next(faults.delayed(0.5), endpoint="WS push")
    for amount in (1, 2, 3):
        sandbox.move("spot", "usdt", trade=amount)
    assert numbers(client) == [480]
    assert client.session.next_tick == 50.5
    clock.passed = 0.9
    assert client.tick()[0]["data"]["seqNum"] == 479
    assert client.session.next_tick == 51
    clock.passed = 1
    assert client.tick()[0]["data"]["available"] == "1"
    assert client.session.next_tick == 70


def test_delayed_acknowledgement_comes_after_the_snapshot(
    sandbox: Sandbox, client: Client, clock: ManualClock
) -> None:
    client.send(auth_request())
    sandbox.faults.next(faults.delayed(0.1), endpoint="WS sub")
    assert {message["action"] for message in client.send(SUBSCRIPTION)} == {"push"}
    clock.passed = 0.1
    assert client.tick() == [{**SUBSCRIPTION, "code": 200, "data": {}}]


@pytest.mark.parametrize("value", ["478", None, 0, 2**60, faults.MISSING, "0E-18"])
@pytest.mark.parametrize("field", ["seqNum", "balance", "accountType", "changeTime"])
def test_field_of_a_push_may_have_any_value(
    sandbox: Sandbox, client: Client, field: str, value: Any
) -> None:
    client.subscribe()
    sandbox.faults.next(faults.field(f"data.{field}", value), endpoint="WS push")
    sandbox.move("spot", "usdt", trade="1")
    (message,) = client.take()
    assert message["data"].get(field, faults.MISSING) == value
    assert len(message["data"]) == 8 - (value is faults.MISSING)


def test_acknowledgement_without_channel(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.next(faults.field("ch", faults.MISSING), endpoint="WS auth")
    assert client.send(auth_request()) == [{"action": "req", "code": 200, "data": {}}]


def test_snapshot_without_a_currency(sandbox: Sandbox, client: Client) -> None:
    """The second message of it is that of USDT in the spot account."""
    sandbox.faults.at(2, faults.lost(), endpoint="WS snapshot")
    rows = {(each["data"]["accountId"], each["data"]["currency"]) for each in client.subscribe()}
    assert (1000001, "usdt") not in rows
    assert (1000001, "poly") in rows


PUSH = b'{"action":"push","ch":"accounts.update#2","data":{"currency":"usdt"'


@pytest.mark.parametrize(
    ("fault", "is_right"),
    [
        (Fault(), lambda item: item == Message(item.data) and item.data.startswith(PUSH)),
        (faults.html(), lambda item: item.data.startswith(b"<html>") and item.opcode == "text"),
        (faults.huge(2**21), lambda item: len(item.data) == 2**21 and item.json["data"]),
        (
            faults.gzip_garbage(),
            lambda item: item.data[:2] == b"\x1f\x8b" and item.opcode == "binary",
        ),
        (faults.binary(), lambda item: item.data.startswith(PUSH) and item.opcode == "binary"),
        (faults.fragmented(4), lambda item: item.data.startswith(PUSH) and item.frames == 4),
        (
            faults.invalid_utf8(),
            lambda item: item.data.endswith(b"}\xff") and item.opcode == "text",
        ),
        (faults.close(1012, "restart"), lambda item: item == Close(1012, "restart")),
        (faults.field("data.nothing.at", 1), lambda item: item.data.startswith(PUSH)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_message_may_be_something_else(
    sandbox: Sandbox, client: Client, fault: Fault, is_right: Callable[[Any], bool]
) -> None:
    client.subscribe()
    sandbox.faults.next(fault, endpoint="WS push")
    sandbox.move("spot", "usdt", trade="1")
    (item,) = items(client)
    assert is_right(item)


def test_pong_keeps_its_content(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.next(faults.html(), endpoint="WS pong")
    assert client.session.receive_ping(b"1") == [StreamOutput(Message(b"1", "pong"))]


@pytest.mark.parametrize("fault", [faults.reset(), faults.hang(), faults.cut(), faults.trickle()])
def test_fault_of_the_connection_accompanies_the_message(
    sandbox: Sandbox, client: Client, fault: Fault
) -> None:
    client.subscribe()
    sandbox.faults.next(fault, endpoint="WS push")
    sandbox.move("spot", "usdt", trade="1")
    (output,) = client.outputs
    assert output.fault is fault
    assert output.item.json["data"]["available"] == "1"


def test_interrupt_reaches_all_streams_at_once(sandbox: Sandbox) -> None:
    clients = [Client(sandbox), Client(sandbox)]
    sandbox.interrupt_streams(faults.close(1001))
    assert [client.take() for client in clients] == [[Close(1001)], [Close(1001)]]
    sandbox.interrupt_streams(faults.reset())
    assert [client.outputs for client in clients] == [[StreamOutput(None, Reset())]] * 2


def test_interrupt_needs_no_message(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match=r"needs a message. Use faults of the connection, or clo"):
        sandbox.interrupt_streams(faults.lost())


@pytest.mark.parametrize("code", [999, 1004, 1006, 1015, 1016, 2999, 5000])
def test_close_rejects_codes_that_no_close_frame_has(code: int) -> None:
    with pytest.raises(ValueError, match=f"no close frame has the code {code}. For 1006, use"):
        faults.close(code)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: faults.duplicated(0), "times must be at least 1 and finite, got 0"),
        (lambda: faults.delayed(-1), "seconds must be at least 0 and finite, got -1"),
        (lambda: faults.fragmented(1), "frames must be at least 2 and finite, got 1"),
        (lambda: faults.stale(float("inf")), "seconds must be at least 0 and finite, got inf"),
    ],
)
def test_arguments_of_faults_are_checked(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "fault", [faults.lost(), faults.close(), faults.binary(), faults.unsubscribed()]
)
@pytest.mark.parametrize("endpoint", [None, "GET /ws/v2", "GET /v2/point/account"])
def test_fault_of_messages_needs_the_name_of_one(
    sandbox: Sandbox, fault: Fault, endpoint: str | None
) -> None:
    with pytest.raises(ValueError, match=r"is a fault of messages. Pass endpoint, one of WS auth,"):
        sandbox.faults.next(fault, endpoint=endpoint)
    with pytest.raises(ValueError, match="is a fault of messages"):
        sandbox.faults.randomly(1, [Fault(), fault], seed=1, endpoint=endpoint)


@pytest.mark.parametrize(
    "fault",
    [
        faults.wrong_length(),
        faults.wrong_accept(),
        faults.stale(1),
        faults.CATALOGUE["1030 of futures, with underscores"],
    ],
)
def test_fault_of_responses_is_not_for_messages(sandbox: Sandbox, fault: Fault) -> None:
    with pytest.raises(ValueError, match="is not a fault of WS push: a message cannot have it"):
        sandbox.faults.always(fault, endpoint="WS push")


async def test_fault_without_endpoint_is_for_requests(sandbox: Sandbox, client: Client) -> None:
    """Messages neither get it nor count."""
    sandbox.faults.next(faults.refusal("no"))
    sandbox.faults.at(2, faults.refusal("never"))
    client.subscribe()
    sandbox.move("spot", "usdt", trade="1")
    assert numbers(client) == [478]
    codes = [(await get_json(sandbox, BALANCE)).get("err-code") for _ in range(3)]
    assert codes == ["no", "never", None]


async def test_random_faults_are_repeatable(clock: ManualClock) -> None:
    """The same seed loses the same pushes."""
    results = []
    for _ in range(2):
        sandbox = Sandbox(clock=clock)
        sandbox.faults.randomly(
            0.4, [faults.lost(), faults.duplicated()], seed=7, endpoint="WS push"
        )
        client = Client(sandbox)
        client.subscribe()
        for amount in range(50):
            sandbox.move("spot", "usdt", trade=amount)
        results.append(numbers(client))
    assert results[0] == results[1]
    assert len(set(results[0])) < 50 < len(results[0]) + 25
    assert results[0] == sorted(results[0])


async def available(sandbox: Sandbox) -> dict[str, str]:
    """Return the trade balances of the spot account as REST shows them."""
    body = await get_json(sandbox, BALANCE)
    return {
        row["currency"]: row["balance"] for row in body["data"]["list"] if row["type"] == "trade"
    }


async def test_stale_response_is_of_an_earlier_time(sandbox: Sandbox, clock: ManualClock) -> None:
    sandbox.faults.always(faults.stale(3), endpoint="GET /v1/account/accounts/{account-id}/balance")
    for clock.passed in (1, 2, 3):
        sandbox.move("spot", "usdt", trade=int(clock.passed))
    observed = []
    for clock.passed in (3.9, 4, 5.5, 6):
        observed.append((await available(sandbox))["usdt"])
    assert observed == ["91.850043797676510303", "1", "2", "3"]


async def test_stale_response_may_mix_two_times(sandbox: Sandbox, clock: ManualClock) -> None:
    clock.passed = 5
    sandbox.move("spot", "usdt", trade="1")
    sandbox.move("spot", "poly", trade="2")
    account = sandbox.add_account("grid")
    sandbox.move(account, "usdt", trade="9")
    sandbox.faults.next(faults.stale(3, currencies=("usdt",)))
    assert await available(sandbox) == {"poly": "2", "usdt": "91.850043797676510303"}
    assert await available(sandbox) == {"poly": "2", "usdt": "1"}


def test_message_that_is_not_json_says_so() -> None:
    with pytest.raises(msgspec.DecodeError):
        _ = Message(b"<html>").json
