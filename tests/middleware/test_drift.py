"""What HTX says and this version does not know is told once, by name, and harms nobody."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import attrs
import httpx
import pytest
from htx_async.models.shapes import shape_of, unknown
from hypothesis import given
from hypothesis import strategies as st

from htx_async import Credentials, DecodeError, Event, HTXClient, PointGroup
from htx_async.middleware import drift
from htx_async.models.decoding import wire
from htx_async.resources import accounts, points
from htx_async.sandbox import Sandbox
from tests import strategies
from tests.virtual import VirtualClock, run

ACCESS = "AKIDEXAMPLE0123456789"
ROW = {"currency": "usdt", "type": "trade", "balance": "1"}
HEAD = {"id": 1, "type": "spot", "state": "working"}
ACCOUNT = {"id": 1, "type": "spot", "subtype": "", "state": "working"}
POINTS = {"accountId": 1, "accountStatus": "working", "acctBalance": "1"}
GROUP = {"groupId": 0, "expiryDate": None, "remainAmt": "1"}


class Server(httpx.AsyncBaseTransport):
    """Answers with one body after another; `{query}` in it is what was asked."""

    def __init__(self, *bodies: str) -> None:
        self.bodies = list(bodies)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        query = quote(request.url.query.decode(), safe="")
        body = self.bodies[0] if len(self.bodies) == 1 else self.bodies.pop(0)
        return httpx.Response(200, content=body.replace("{query}", query).encode())


@pytest.fixture(autouse=True)
def _nothing_logged_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "_logged", set())


def ok(data: Any, **beside: Any) -> str:
    return json.dumps({"status": "ok", "data": data, **beside})


def heard(*bodies: str, read: str = "balance", calls: int = 1, pause: float = 1.0) -> list[str]:
    """Return what a client tells of these answers."""
    events: list[Event] = []

    async def main() -> None:
        keys = Credentials(ACCESS, "SECRETEXAMPLE9876543210")
        options: dict[str, Any] = {"clock": VirtualClock(), "on_event": events.append}
        async with HTXClient(keys, transport=Server(*bodies), **options) as htx:
            for _ in range(calls):
                reads: dict[str, Callable[[], Awaitable[object]]] = {
                    "balance": lambda: htx.accounts.balance(1),
                    "accounts": htx.accounts.list,
                    "points": htx.points.balance,
                    "get": lambda: htx.get("/v1/x"),
                }
                await reads[read]()
                await asyncio.sleep(pause)

    run(main())
    return [event.unknown or "" for event in events if event.kind == "schema_drift"]


@pytest.mark.parametrize(
    ("read", "body", "told"),
    [
        ("balance", ok({**HEAD, "list": [ROW]}), []),
        ("balance", ok({**HEAD, "list": []}, ts=1), []),
        ("balance", ok({**HEAD, "list": [ROW]}, news=1), ["news"]),
        ("balance", ok({**HEAD, "symbol": "x", "list": [ROW]}), ["data.symbol"]),
        ("balance", ok({**HEAD, "list": [{**ROW, "locked": "1"}]}), ["data.list[].locked"]),
        ("balance", ok({**HEAD, "list": [ROW, {**ROW, "locked": "1"}]}), []),
        ("balance", ok({**HEAD, "type": "moon", "list": [ROW]}), ["data.type=moon"]),
        ("balance", ok({**HEAD, "list": [{**ROW, "type": "moon"}]}), ["data.list[].type=moon"]),
        ("accounts", ok([ACCOUNT]), []),
        ("accounts", ok([]), []),
        (
            "accounts",
            ok([{**ACCOUNT, "name": "x", "state": "frozen"}]),
            ["data[].state=frozen", "data[].name"],
        ),
        ("points", json.dumps({"code": 200, "data": {**POINTS, "groupIds": [GROUP]}}), []),
        ("points", json.dumps({"code": 200, "data": {**POINTS, "groupIds": None}}), []),
        (
            "points",
            json.dumps({"code": 200, "data": {**POINTS, "groupIds": [{**GROUP, "x": 1}], "y": 1}}),
            ["data.groupIds[].x", "data.y"],
        ),
        ("get", ok({"anything": {"x": 1}}, **{"next-id": 1}), []),
        ("get", ok([], more=True), ["more"]),
    ],
)
def test_what_is_told(read: str, body: str, told: list[str]) -> None:
    """Where it is, and for a word also what it says."""
    assert sorted(heard(body, read=read)) == sorted(told)


def test_each_thing_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """By each client as an event, in the log once in a process."""
    body = ok({**HEAD, "new-one": 1, "list": [ROW]})
    other = ok({**HEAD, "new-one": 1, "new-two": 1, "list": [ROW]})
    with caplog.at_level(logging.WARNING):
        assert heard(body, body, other, calls=4) == ["data.new-one", "data.new-two"]
        assert heard(body) == ["data.new-one"]
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"HTX says data.{name} at GET /v1/account/accounts/{{account-id}}/balance: "
        "this version of htx_async does not know it"
        for name in ("new-one", "new-two")
    ]
    assert {record.name for record in caplog.records} == {"htx_async"}


def test_an_endpoint_is_looked_at_once_a_second() -> None:
    """The first time always."""
    long = [ROW] * 1000
    bodies = [
        ok({**HEAD, "a": 1, "list": long}),
        ok({**HEAD, "b": 1, "list": long}),
        ok({**HEAD, "c": 1, "list": [{**ROW, "d": 1}, *long]}),
    ]
    assert heard(*bodies, calls=3, pause=0.6) == ["data.a", "data.c", "data.list[].d"]


def test_a_first_row_that_is_long_is_let_be() -> None:
    """Nothing is told of it, and nothing breaks."""
    assert heard(ok({**HEAD, "list": [{**ROW, "x": "y" * 5000}]})) == []


def test_names_that_echo_or_cannot_be_printed_are_not_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They may be anything, the signed query too."""
    names = ["{query}", ACCESS, f"x-{ACCESS}", "a\nb", "ü", "x" * 41, "", "a b"]
    for name in names:
        fields = json.dumps({**HEAD, name: 1, "list": [ROW]})
        assert heard(f'{{"status":"ok","data":{fields}}}') == ["data.(a name that is not shown)"]
        words = ok({**HEAD, "type": name, "list": [ROW]})
        assert heard(words) == ["data.type=(a name that is not shown)"]
    assert ACCESS not in caplog.text


def test_a_server_that_makes_up_names_is_told_of_for_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are remembered: that must have an end."""
    for letter in "ab":
        body = ok({**HEAD, **{f"{letter}{number}": 1 for number in range(500)}, "list": [ROW]})
        assert len(heard(body)) == drift.AT_MOST
    assert len(caplog.records) == drift.AT_MOST


@given(
    strategies.json_values,
    strategies.json_values,
    st.sampled_from([accounts.LIST, accounts.BALANCE, points.BALANCE]),
)
def test_it_never_breaks_a_read(data: Any, inner: Any, endpoint: Any) -> None:
    """Whatever an answer is."""
    for value in (data, [inner], {"list": data, "groupIds": inner, "type": inner}):
        text = json.dumps(value).encode()
        unknown(b'{"data":%s}' % text, endpoint.shape)
    unknown(b"\xff", endpoint.shape)
    unknown(b"[" * 100_000, endpoint.shape)
    unknown(b'{"data":%s' % (b"[" * 100_000), endpoint.shape)


def test_what_is_new_is_told_also_where_the_model_cannot_be_made() -> None:
    """Then it may be the reason."""
    events: list[Event] = []

    async def main() -> None:
        body = ok({"id": 1, "type": "spot", "status": "working", "list": []})
        keys = Credentials(ACCESS, "SECRETEXAMPLE9876543210")
        transport, clock = Server(body), VirtualClock()
        async with HTXClient(keys, transport=transport, clock=clock, on_event=events.append) as htx:
            with pytest.raises(DecodeError, match=r"data\.state is missing"):
                await htx.accounts.balance(1)

    run(main())
    assert [event.unknown for event in events if event.unknown] == ["data.status"]


async def test_without_a_listener_the_log_tells(caplog: pytest.LogCaptureFixture) -> None:
    """That is how most will hear of it."""
    transport = Server(ok([{**ACCOUNT, "new": 1}]))
    async with HTXClient(Credentials(ACCESS, "secret"), transport=transport) as htx:
        await htx.accounts.list()
    assert "data[].new at GET /v1/account/accounts" in caplog.text


def test_lists_in_the_first_row_are_not_looked_at() -> None:
    """One row of one list, no deeper."""

    @attrs.frozen
    class Outer:
        inner: tuple[PointGroup, ...] = wire("inner")

    shape = shape_of(tuple[Outer, ...])
    rows, row = b'{"data":[{"inner":[{"new":1}],"new":1}]}', b'{"data":{"inner":[{"new":1}]}}'
    assert unknown(rows, shape) == (("data[]", "new", None),)
    assert unknown(row, shape_of(Outer)) == (("data.inner[]", "new", None),)


async def test_the_sandbox_says_nothing_new(caplog: pytest.LogCaptureFixture) -> None:
    """It is made after HTX's pages."""
    transport = httpx.ASGITransport(app=Sandbox())
    async with HTXClient(Credentials("access-key", "secret-key"), transport=transport) as htx:
        await htx.accounts.snapshot()
        await htx.points.balance()
        await htx.get("/v1/common/timestamp", signed=False)
    assert not [record for record in caplog.records if record.name == "htx_async"]
