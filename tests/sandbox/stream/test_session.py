"""One connection to the sandbox's stream: requests, snapshot, pushes, heartbeat and limits."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.sandbox import (
    APIKey,
    BalanceRow,
    Sandbox,
    SandboxAccount,
    SandboxUser,
)
from htx_async.sandbox.auth import STREAM, signed_text
from htx_async.sandbox.request import ParsedRequest
from htx_async.sandbox.stream.messages import Close
from tests.sandbox.signer import ManualClock, get_json, signature
from tests.sandbox.stream.client import SUBSCRIPTION, Client, auth_request
from tests.virtual import DAY

AUTH_FAILED = {"action": "req", "ch": "auth", "code": 2002, "message": "auth.fail"}
ACCEPTED = {"action": "req", "code": 200, "ch": "auth", "data": {}}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sandbox(clock: ManualClock) -> Sandbox:
    return Sandbox(clock=clock)


@pytest.fixture
def client(sandbox: Sandbox) -> Client:
    return Client(sandbox)


def pushed(message: Any) -> tuple[Any, ...]:
    """Return account, currency, amounts and number of a push."""
    data = message["data"]
    return (
        data["accountId"],
        data["currency"],
        data.get("balance"),
        data.get("available"),
        data["seqNum"],
    )


def test_signature_covers_what_htx_documents() -> None:
    """The vector is of a test of HTX's own client for Go."""
    params = {
        "authType": "api",
        "accessKey": "access",
        "signatureMethod": "HmacSHA256",
        "signatureVersion": "2.1",
        "timestamp": "2019-11-21T10:00:00",
        "signature": "1/d+cUIEh4tC0aXho86zu5QAxVzJaTe56mUiB275T0E=",
    }
    request = ParsedRequest("GET", "api.huobi.pro", "/ws/v2", b"", "")
    text = signed_text(request, params, STREAM)
    assert text == (
        "GET\napi.huobi.pro\n/ws/v2\naccessKey=access&signatureMethod=HmacSHA256"
        "&signatureVersion=2.1&timestamp=2019-11-21T10%3A00%3A00"
    )
    assert signature("secret", text) == params["signature"]


def test_auth_is_acknowledged_as_recorded(client: Client) -> None:
    assert client.send(auth_request()) == [ACCEPTED]
    assert client.session.uid == 1000
    assert client.send(auth_request()) == [ACCEPTED]


@pytest.mark.parametrize(
    "options",
    [
        {"access_key": "unknown"},
        {"secret_key": "wrong"},
        {"host": "api.example.com"},
        {"at": DAY - 301},
        {"at": DAY + 301},
        {"signatureMethod": "Ed25519"},
        {"signatureVersion": "2"},
        {"timestamp": "yesterday"},
        {"signature": "é"},
    ],
)
def test_auth_fails_with_one_code_for_all_causes(client: Client, options: Any) -> None:
    assert client.send(auth_request(**options)) == [AUTH_FAILED]
    assert client.session.uid is None


@pytest.mark.parametrize(
    ("key", "ip"),
    [
        (APIKey("access-key", "secret-key", ip_addresses=("10.0.0.1",)), "10.0.0.2"),
        (APIKey("access-key", "secret-key", expired=True), "10.0.0.1"),
        (APIKey("access-key", "secret-key", permissions=("trade",)), "10.0.0.1"),
    ],
)
def test_auth_fails_if_rest_rejects_the_key(clock: ManualClock, key: APIKey, ip: str) -> None:
    """Of an address that it is not bound to, expired, or without the permission to read."""
    sandbox = Sandbox((SandboxUser(1, (key,)),), clock=clock)
    assert Client(sandbox, ip=ip).send(auth_request()) == [AUTH_FAILED]


def test_auth_accepts_a_host_with_port(sandbox: Sandbox) -> None:
    """A client may sign the host as it sends it, as for REST."""
    client = Client(sandbox, host="127.0.0.1")
    assert client.send(auth_request(host="127.0.0.1")) == [ACCEPTED]


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        ("what?", {"code": 2001, "message": "invalid.json"}),
        (b"{}", {"code": 2001, "message": "invalid.json"}),
        ("[]", {"code": 2001, "message": "invalid.json"}),
        ({}, {"code": 2001, "message": "invalid.action"}),
        ({"action": "order"}, {"code": 2001, "message": "invalid.action"}),
        ({"action": ["sub"]}, {"code": 2001, "message": "invalid.action"}),
        ({"action": "req"}, {"action": "req", "code": 2001, "message": "invalid.ch"}),
        (
            {"action": "req", "ch": "auth"},
            {"action": "req", "code": 2001, "ch": "auth", "message": "missing.param.auth"},
        ),
        (
            auth_request(signature=None),
            {"action": "req", "code": 2001, "ch": "auth", "message": "missing.param.auth"},
        ),
        (
            auth_request(timestamp=1),
            {"action": "req", "code": 2001, "ch": "auth", "message": "missing.param.auth"},
        ),
        (
            auth_request(authType="token"),
            {"action": "req", "code": 2001, "ch": "auth", "message": "invalid.authType"},
        ),
        (
            SUBSCRIPTION,
            {
                "action": "sub",
                "code": 2002,
                "ch": "accounts.update#2",
                "message": "invalid.auth.state",
            },
        ),
        (
            {"action": "unsub", "ch": "accounts.update"},
            {
                "action": "unsub",
                "code": 2002,
                "ch": "accounts.update",
                "message": "invalid.auth.state",
            },
        ),
    ],
)
def test_invalid_request_gets_the_error_of_htx(
    client: Client, request_: Any, response: Any
) -> None:
    """As recorded, or as documented: some have neither action nor channel."""
    assert client.send(request_) == [response]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["auth", "api"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
REQUESTS = st.fixed_dictionaries(
    {"action": st.sampled_from(["req", "sub", "unsub", "pong"]) | VALUES},
    optional={
        "ch": st.sampled_from(["auth", "accounts.update", "accounts.update#1"]) | VALUES,
        "params": st.dictionaries(st.sampled_from([*auth_request()["params"]]), VALUES) | VALUES,
        "data": VALUES,
    },
)


@given(st.text() | st.binary() | VALUES | REQUESTS, st.booleans())
def test_any_message_gets_an_error_or_an_acknowledgement(request_: Any, is_known: bool) -> None:
    """And never an exception; only pongs have no response."""
    client = Client(Sandbox(clock=ManualClock()))
    if is_known:
        client.send(auth_request())
    responses = client.send(request_)
    if isinstance(request_, dict) and request_.get("action") == "pong":
        assert responses == []
    else:
        assert responses[0]["code"] in {200, 2001, 2002}


@pytest.mark.parametrize("channel", ["accounts.update#3", "accounts", "orders#btcusdt", 2, None])
def test_subscription_to_another_channel_is_invalid(client: Client, channel: Any) -> None:
    client.send(auth_request())
    (response,) = client.send({"action": "sub", "ch": channel})
    assert (response["code"], response["message"]) == (2001, "invalid.ch")


def test_subscription_begins_with_a_snapshot(client: Client) -> None:
    """Of all accounts but the OTC account, without amounts of 0; `balance` is the sum."""
    snapshot = client.subscribe()
    assert {message["ch"] for message in snapshot} == {"accounts.update#2"}
    assert [pushed(message) for message in snapshot[:3]] == [
        (14403739, "hbpoint", "148.94159266", "148.94159266", 5),
        (1000001, "usdt", "97.010043797676510318", "91.850043797676510303", 477),
        (1000001, "poly", "147.928994082840236", "147.928994082840236", 2),
    ]
    assert {message["data"]["accountId"] for message in snapshot} == {
        14403739,
        *range(1000001, 1000005),
    }
    assert all(message["data"]["changeType"] is None for message in snapshot)
    assert all(message["data"]["changeTime"] is None for message in snapshot)


def test_snapshot_has_rows_of_loans(client: Client) -> None:
    rows = [
        pushed(message)
        for message in client.subscribe()
        if message["data"]["accountType"] == "loan"
    ]
    assert rows[0] == (1000002, "btc", "-2.433000000000000000", "-2.433000000000000000", 19)


def test_snapshot_omits_otc_accounts(clock: ManualClock) -> None:
    """REST does not return their balance either."""
    rows = (BalanceRow("usdt", "trade", "1"),)
    accounts = (SandboxAccount(1, "otc", rows=rows), SandboxAccount(2, "spot", rows=rows))
    user = SandboxUser(1, (APIKey("access-key", "secret-key"),), accounts)
    assert [pushed(each)[0] for each in Client(Sandbox((user,), clock=clock)).subscribe()] == [2]


def test_snapshot_is_of_the_own_user(sandbox: Sandbox) -> None:
    snapshot = Client(sandbox).subscribe(access_key="sub-access-key", secret_key="sub-secret-key")
    assert [pushed(message) for message in snapshot] == [(9000001, "usdt", "12.5", "12.5", 31)]


def test_plain_subscription_is_acknowledged_with_the_default_mode(
    sandbox: Sandbox, client: Client
) -> None:
    """As documented; its pushes carry the plain channel, as recorded."""
    client.send(auth_request())
    ack, *snapshot = client.send({"action": "sub", "ch": "accounts.update"})
    assert ack == {"action": "sub", "code": 200, "ch": "accounts.update#0", "data": {}}
    assert {message["ch"] for message in snapshot} == {"accounts.update"}
    assert all("available" in message["data"] for message in snapshot)
    sandbox.move("spot", "usdt", trade="1")
    assert client.take()[0]["ch"] == "accounts.update"


def test_move_is_pushed_as_recorded(sandbox: Sandbox, client: Client, clock: ManualClock) -> None:
    client.subscribe()
    clock.passed = 1.5
    sandbox.move("spot", "usdt", trade="80", frozen="17.010043797676510318", cause="order.place")
    assert client.take() == [
        {
            "action": "push",
            "ch": "accounts.update#2",
            "data": {
                "currency": "usdt",
                "accountId": 1000001,
                "balance": "97.010043797676510318",
                "available": "80",
                "changeType": "order.place",
                "accountType": "trade",
                "seqNum": 478,
                "changeTime": int(DAY * 1000) + 1500,
            },
        }
    ]


@pytest.mark.parametrize(
    ("balance", "available", "frozen", "seq", "cause"),
    [
        (
            "25.596849200715990285",
            "5.596849200715990243",
            "20.000000000000000042",
            582,
            "order.match",
        ),
        (
            "115.096849200715990336",
            "104.296849200715990293",
            "10.800000000000000043",
            598,
            "order.place",
        ),
        (
            "23.324467200715990285",
            "3.324467200715990243",
            "20.000000000000000042",
            553,
            "order.cancel",
        ),
    ],
)
def test_recorded_push_can_be_reproduced(
    clock: ManualClock, balance: str, available: str, frozen: str, seq: int, cause: str
) -> None:
    """Field by field, with the types of the recordings that other clients were written for."""
    account = SandboxAccount(44234548, "spot")
    user = SandboxUser(1, (APIKey("access-key", "secret-key"),), (account,))
    sandbox = Sandbox((user,), clock=clock)
    client = Client(sandbox)
    assert client.subscribe() == []
    clock.passed = 1_699_222_000 - DAY
    sandbox.move("spot", "usdt", trade=available, frozen=frozen, cause=cause, seq=seq)
    (message,) = client.take()
    assert list(message.items()) == [
        ("action", "push"),
        ("ch", "accounts.update#2"),
        (
            "data",
            {
                "currency": "usdt",
                "accountId": 44234548,
                "balance": balance,
                "available": available,
                "changeType": cause,
                "accountType": "trade",
                "seqNum": seq,
                "changeTime": 1_699_222_000_000,
            },
        ),
    ]


@pytest.mark.parametrize(
    ("channel", "amounts", "contents"),
    [
        ("accounts.update#0", {"trade": "90"}, [{"balance": "95.160000000000000015"}]),
        ("accounts.update#0", {"trade": "97.010043797676510318", "frozen": "0"}, []),
        (
            "accounts.update#1",
            {"trade": "90"},
            [{"balance": "95.160000000000000015"}, {"available": "90"}],
        ),
        (
            "accounts.update#1",
            {"trade": "97.010043797676510318", "frozen": "0"},
            [{"available": "97.010043797676510318"}],
        ),
        ("accounts.update#1", {"frozen": "0"}, [{"balance": "91.850043797676510303"}]),
        (
            "accounts.update#2",
            {"frozen": "0"},
            [{"balance": "91.850043797676510303", "available": "91.850043797676510303"}],
        ),
    ],
)
def test_mode_decides_what_is_pushed(
    sandbox: Sandbox, client: Client, channel: str, amounts: Any, contents: Any
) -> None:
    client.subscribe(channel)
    sandbox.move("spot", "usdt", **amounts)
    messages = [message["data"] for message in client.take()]
    fields = ("balance", "available")
    assert [{name: data[name] for name in fields if name in data} for data in messages] == contents
    assert {data["seqNum"] for data in messages} <= {478}


def test_every_change_is_pushed(sandbox: Sandbox, client: Client) -> None:
    """Also by `set_balance` and `set_points`; loans and interest apart; a new account."""
    client.subscribe()
    sandbox.set_balance("spot", "btc", trade=Decimal("1e-8"))
    sandbox.set_points("1")
    sandbox.move("margin", "btc", trade="3", loan="-2", interest="-0.1", cause="margin.loan")
    sandbox.move("super-margin", "usdt", loan="-7", cause="margin.loan")
    sandbox.set_balance(sandbox.add_account("grid"), "usdt", trade="5")
    messages = client.take()
    assert [(*pushed(message), message["data"]["accountType"]) for message in messages] == [
        (1000001, "btc", "0.00000001", "0.00000001", 1, "trade"),
        (14403739, "hbpoint", "124.94159265", "124.94159265", 6, "trade"),
        (1000002, "btc", "3.005000000000000000", "3", 20, "trade"),
        (1000002, "btc", "-2", "-2", 20, "loan"),
        (1000002, "btc", "-0.1", "-0.1", 20, "interest"),
        (1000003, "usdt", "-7", "-7", 21, "loan"),
        (14403740, "usdt", "5", "5", 1, "trade"),
    ]
    causes = [message["data"]["changeType"] for message in messages]
    assert causes == ["other"] * 2 + ["margin.loan"] * 4 + ["other"]


def test_change_is_pushed_to_all_streams_of_its_user(sandbox: Sandbox) -> None:
    clients = [Client(sandbox), Client(sandbox), Client(sandbox), Client(sandbox)]
    clients[0].subscribe()
    clients[1].subscribe("accounts.update#0")
    clients[2].subscribe(access_key="sub-access-key", secret_key="sub-secret-key")
    sandbox.move("spot", "usdt", trade="1")
    assert [len(client.take()) for client in clients] == [1, 1, 0, 0]
    clients[0].session.end()
    sandbox.move("spot", "usdt", trade="2")
    assert [len(client.take()) for client in clients] == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("channel", "remaining"),
    [
        ("accounts.update", []),
        ("accounts.update#2", ["accounts.update#0"]),
        ("accounts.update#1", ["accounts.update#0", "accounts.update#2"]),
    ],
)
def test_unsubscription_ends_the_pushes(
    sandbox: Sandbox, client: Client, channel: str, remaining: list[str]
) -> None:
    """Of one mode, or of all."""
    client.subscribe("accounts.update#0")
    client.send(SUBSCRIPTION)
    (ack,) = client.send({"action": "unsub", "ch": channel})
    assert (ack["action"], ack["code"]) == ("unsub", 200)
    sandbox.move("spot", "usdt", trade="1")
    assert [message["ch"] for message in client.take()] == remaining


async def test_numbers_are_those_of_rest(sandbox: Sandbox, client: Client) -> None:
    snapshot = client.subscribe()
    rows = await spot_rows(sandbox)
    assert rows["usdt", "trade"] == rows["usdt", "frozen"] == str(snapshot[1]["data"]["seqNum"])
    sandbox.move("spot", "usdt", frozen="1")
    rows = await spot_rows(sandbox)
    assert (
        rows["usdt", "trade"] == rows["usdt", "frozen"] == str(client.take()[0]["data"]["seqNum"])
    )


async def test_numbers_may_differ_from_those_of_rest(clock: ManualClock) -> None:
    """They count changes since the sandbox was made, whoever is connected."""
    sandbox = Sandbox(clock=clock, counters="differ")
    sandbox.move("spot", "usdt", trade="1")
    client = Client(sandbox)
    assert [pushed(message)[4] for message in client.subscribe()[1:3]] == [1, 0]
    sandbox.move("spot", "usdt", trade="2")
    assert client.take()[0]["data"]["seqNum"] == 2
    assert (await spot_rows(sandbox))["usdt", "trade"] == "479"


async def test_counter_restarts(sandbox: Sandbox, client: Client) -> None:
    client.subscribe()
    sandbox.move("spot", "usdt", trade="1", seq=3)
    sandbox.move("spot", "usdt", trade="2")
    assert [message["data"]["seqNum"] for message in client.take()] == [3, 4]
    assert (await spot_rows(sandbox))["usdt", "trade"] == "4"
    with pytest.raises(ValueError, match="seq must be at least 0 and finite, got -1"):
        sandbox.move("spot", "usdt", trade="2", seq=-1)


def test_counters_must_be_known() -> None:
    with pytest.raises(ValueError, match="counters must be one of equal, differ, got 'same'"):
        Sandbox(counters="same")  # type: ignore[arg-type]


async def spot_rows(sandbox: Sandbox) -> dict[tuple[str, str], str]:
    """Return the numbers of the spot account as REST shows them."""
    body = await get_json(sandbox, "/v1/account/accounts/1000001/balance")
    return {(row["currency"], row["type"]): row["seq-num"] for row in body["data"]["list"]}


@given(st.data())
def test_rest_and_stream_show_the_same(data: st.DataObject) -> None:
    """After any changes, what was pushed last is what the accounts contain."""
    sandbox = Sandbox(clock=ManualClock())
    client = Client(sandbox)
    state = {pushed(message)[:2]: pushed(message)[2:] for message in trade(client.subscribe())}
    amount = st.decimals(0, 10**6, places=18)
    for _ in range(data.draw(st.integers(0, 8))):
        account = data.draw(st.sampled_from(["spot", "margin", "grid-trading"]))
        currency = data.draw(st.sampled_from(["usdt", "btc"]))
        sandbox.move(account, currency, trade=data.draw(amount), frozen=data.draw(amount))
        state |= {pushed(message)[:2]: pushed(message)[2:] for message in trade(client.take())}
    assert {key: amounts for key, amounts in state.items() if Decimal(amounts[0])} == {
        (account.id, row.currency): (f"{Decimal(row.balance) + frozen:f}", row.balance, seq)
        for account in sandbox.users[0].accounts
        for row, frozen, seq in trade_rows(account)
        if Decimal(row.balance) + frozen
    }


def trade_rows(account: SandboxAccount) -> Iterator[tuple[BalanceRow, Decimal, int]]:
    """Yield the trade rows of *account*, each with the frozen amount and the serial number."""
    frozen = {row.currency: row.balance for row in account.rows if row.type == "frozen"}
    for row in account.rows:
        if row.type == "trade":
            yield row, Decimal(frozen.get(row.currency, "0")), int(row.seq_num or 0)


def trade(messages: list[Any]) -> list[Any]:
    return [message for message in messages if message["data"]["accountType"] == "trade"]


def test_amounts_are_exact() -> None:
    """However many digits they have, and as they are written."""
    rows = (BalanceRow("usdt", "trade", "0E-18"), BalanceRow("usdt", "frozen", "9" * 60 + ".5"))
    user = SandboxUser(
        1, (APIKey("access-key", "secret-key"),), (SandboxAccount(7, "spot", rows=rows),)
    )
    (message,) = Client(Sandbox((user,), clock=ManualClock())).subscribe()
    assert pushed(message) == (7, "usdt", "9" * 60 + ".500000000000000000", "0E-18", 0)


def test_heartbeat_comes_every_20_seconds(client: Client, clock: ManualClock) -> None:
    """Also before the client has authenticated."""
    pings = []
    for second in range(1, 61):
        clock.passed = second
        for ping in client.tick():
            pings.append(second)
            ts = int((DAY + second) * 1000)
            assert ping == {"action": "ping", "data": {"ts": ts}}
            assert client.send({"action": "pong", "data": {"ts": ts}}) == []
        assert client.session.next_tick == 50 + (second // 20 + 1) * 20
    assert pings == [20, 40, 60]


@pytest.mark.parametrize(
    "pong",
    [
        None,
        {"action": "pong"},
        {"action": "pong", "data": {"ts": 1}},
        {"action": "pong", "data": 7},
    ],
)
def test_silent_client_is_disconnected(client: Client, clock: ManualClock, pong: Any) -> None:
    """Instead of the third heartbeat, if two have no response, or a wrong one."""
    for clock.passed in (20, 40):
        assert client.tick()[0]["action"] == "ping"
        if pong:
            client.send(pong)
    clock.passed = 60
    assert client.tick() == [{"code": 100, "message": "time out close"}, Close(1000, "time out")]


def test_late_pong_keeps_the_connection(client: Client, clock: ManualClock) -> None:
    clock.passed = 20
    (first,) = client.tick()
    clock.passed = 40
    client.tick()
    client.send({"action": "pong", "data": first["data"]})
    clock.passed = 60
    assert client.tick()[0]["action"] == "ping"


def requests_until_limited(client: Client) -> int:
    for count in range(200):
        (response,) = client.send({"action": "unsub", "ch": "accounts.update"})
        if response["code"] != 200:
            assert (response["code"], response["message"]) == (4000, "too.many.request")
            return count
    return 200


def test_requests_are_limited_to_50_per_second(client: Client, clock: ManualClock) -> None:
    """In a sliding window; invalid ones and heartbeats do not count."""
    client.send(auth_request())
    clock.passed = 0.5
    for request in (
        "what?",
        {"action": "order"},
        {"action": "sub", "ch": "orders"},
        {"action": "pong"},
    ):
        client.send(request)
    assert requests_until_limited(client) == 49
    clock.passed = 1.0
    assert requests_until_limited(client) == 1
    clock.passed = 1.5
    assert requests_until_limited(client) == 49


@pytest.mark.parametrize(("limits", "count"), [(0.1, 5), (False, 200), (0.001, 1)])
def test_limits_scale_with_those_of_rest(clock: ManualClock, limits: Any, count: int) -> None:
    client = Client(Sandbox(clock=clock, limits=limits))
    client.send(auth_request())
    clock.passed = 2
    assert requests_until_limited(client) == count


def test_other_connections_do_not_count(sandbox: Sandbox) -> None:
    first, second = Client(sandbox), Client(sandbox)
    first.send(auth_request())
    second.send(auth_request())
    assert [requests_until_limited(client) for client in (first, second)] == [49, 49]


def test_connections_are_limited_to_10_per_key(sandbox: Sandbox) -> None:
    """The eleventh may authenticate when another one has ended."""
    clients = [Client(sandbox) for _ in range(11)]
    responses = [client.send(auth_request())[0] for client in clients]
    assert responses[:10] == [ACCEPTED] * 10
    assert responses[10] == {
        "action": "req",
        "code": 4000,
        "ch": "auth",
        "message": "too.many.connection",
    }
    assert clients[0].send(auth_request()) == [ACCEPTED]
    other = Client(sandbox)
    other.subscribe(access_key="sub-access-key", secret_key="sub-secret-key")
    clients[3].session.end()
    assert clients[10].send(auth_request()) == [ACCEPTED]


def test_connections_are_not_limited_without_limits(clock: ManualClock) -> None:
    sandbox = Sandbox(clock=clock, limits=False)
    assert all(Client(sandbox).send(auth_request()) == [ACCEPTED] for _ in range(11))


def test_requests_are_recorded(sandbox: Sandbox, client: Client) -> None:
    """With the code of the response; pongs and what is no request are not."""
    client.send(SUBSCRIPTION)
    client.subscribe()
    client.send("what?")
    client.send({"action": "pong", "data": {"ts": 1}})
    client.send({"action": "unsub", "ch": "accounts.update"})
    requests_until_limited(client)
    assert [
        (each.method, each.path, each.endpoint, each.uid, each.code) for each in sandbox.arrivals
    ][:4] == [
        ("WS", "/ws/v2", "WS sub", None, 2002),
        ("WS", "/ws/v2", "WS auth", 1000, None),
        ("WS", "/ws/v2", "WS sub", 1000, None),
        ("WS", "/ws/v2", "WS unsub", 1000, None),
    ]
    assert [each.code for each in sandbox.arrivals if each.rate_limited] == [4000]
    assert sandbox.rate_limited == 1


def test_recordings_hold_no_secret(sandbox: Sandbox, client: Client) -> None:
    client.send(auth_request())
    text = repr([*sandbox.arrivals, client.session, client.session.key])
    assert "secret-key" not in text
    assert auth_request()["params"]["signature"] not in text
