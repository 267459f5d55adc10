"""Schema drift: unknown fields and enum values are reported once, by name, and break nothing."""

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
from hypothesis import given
from hypothesis import strategies as st

from htx_async import (
    NO_RETRY,
    APIError,
    Credentials,
    DecodeError,
    Event,
    HTXClient,
    Model,
    PointGroup,
)
from htx_async.middleware import schema_drift
from htx_async.middleware.schema_drift import find_unknown
from htx_async.models.schema import wire
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
    """Responds with one body after another; `{query}` in it is replaced by the query."""

    def __init__(self, *bodies: str) -> None:
        self.bodies = list(bodies)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        query = quote(request.url.query.decode(), safe="")
        body = self.bodies[0] if len(self.bodies) == 1 else self.bodies.pop(0)
        return httpx.Response(200, content=body.replace("{query}", query).encode())


@pytest.fixture(autouse=True)
def _nothing_logged_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_drift, "_logged", set())


def ok(data: Any, **beside: Any) -> str:
    return json.dumps({"status": "ok", "data": data, **beside})


def reported(*bodies: str, read: str = "balance", calls: int = 1, pause: float = 1.0) -> list[str]:
    """Return what a client reports of these responses."""
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
    ("read", "body", "expected"),
    [
        ("balance", ok({**HEAD, "list": [ROW]}), []),
        ("balance", ok({**HEAD, "list": []}, ts=1), []),
        ("balance", ok({**HEAD, "list": [ROW]}, news=1), ["news"]),
        ("balance", ok({**HEAD, "symbol": "x", "list": [ROW]}), ["data.symbol"]),
        ("balance", ok({**HEAD, "list": [{**ROW, "locked": "1"}]}), ["data.list[].locked"]),
        ("balance", ok({**HEAD, "list": [ROW, {**ROW, "locked": "1"}]}), ["data.list[].locked"]),
        (
            "balance",
            ok({**HEAD, "list": [ROW, ROW, {**ROW, "type": "moon"}]}),
            ["data.list[].type=moon"],
        ),
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
def test_drift_reports_path_and_name_or_value(read: str, body: str, expected: list[str]) -> None:
    """The path of an unknown field, or of a field with an unknown enum value and that value."""
    assert reported(body, read=read) == expected


def test_drift_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """As an event by each client, in the log once in a process."""
    body = ok({**HEAD, "new-one": 1, "list": [ROW]})
    other = ok({**HEAD, "new-one": 1, "new-two": 1, "list": [ROW]})
    with caplog.at_level(logging.WARNING):
        assert reported(body, body, other, calls=4) == ["data.new-one", "data.new-two"]
        assert reported(body) == ["data.new-one"]
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        f"HTX sent data.{name} at GET /v1/account/accounts/{{account-id}}/balance, "
        "which this version of htx_async does not know"
        for name in ("new-one", "new-two")
    ]
    assert {record.name for record in caplog.records} == {"htx_async"}


def test_drift_is_sampled_once_a_second() -> None:
    """The first response of an endpoint is always inspected."""
    long = [ROW] * 1000
    bodies = [
        ok({**HEAD, "a": 1, "list": long}),
        ok({**HEAD, "b": 1, "list": long}),
        ok({**HEAD, "c": 1, "list": [{**ROW, "d": 1}, *long]}),
    ]
    assert reported(*bodies, calls=3, pause=0.6) == ["data.a", "data.c", "data.list[].d"]


def test_drift_is_found_in_every_row() -> None:
    """However long a row is, and wherever the unknown field is."""
    rows = [{**ROW, "x": "y" * 5000}, *[ROW] * 500, {**ROW, "z": 1, "type": "moon"}]
    assert reported(ok({**HEAD, "list": rows})) == [
        "data.list[].type=moon",
        "data.list[].x",
        "data.list[].z",
    ]


def test_drift_of_a_number_is_not_reported() -> None:
    """A number is not a value of an enum, and may be an amount."""
    assert reported(ok([{**ACCOUNT, "subtype": 7, "new": 8}]), read="accounts") == ["data[].new"]
    body = ok([{**ACCOUNT, "type": 7}]).encode()
    assert list(find_unknown(body, accounts.LIST.data_type)) == []


def test_drift_is_found_beside_values_that_are_not_unicode() -> None:
    """A name that UTF-8 cannot represent is not shown."""
    data = ok({**HEAD, "list": [{**ROW, "new": 1, "debt": "HERE"}]})
    assert reported(data.replace("HERE", "\\ud800")) == ["data.list[].new"]
    assert reported(data.replace("new", "\\ud800")) == ["data.list[].(a name that is not shown)"]


def test_drift_of_an_api_error_is_not_reported() -> None:
    """Its fields are not those of the endpoint's data."""
    body = json.dumps({"status": "error", "err-code": "x", "new": 1, "data": {"y": 1}})
    with pytest.raises(APIError):
        reported(body)
    assert reported(body.replace("error", "ok"), read="get") == ["new"]


def test_drift_redacts_names_that_repeat_the_request_or_are_not_printable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They may be anything, also the signed query."""
    names = ["{query}", ACCESS, f"x-{ACCESS}", "a\nb", "ü", "x" * 41, "", "a b"]
    for name in names:
        fields = json.dumps({**HEAD, name: 1, "list": [ROW]})
        assert reported(f'{{"status":"ok","data":{fields}}}') == ["data.(a name that is not shown)"]
        words = ok({**HEAD, "type": name, "list": [ROW]})
        assert reported(words) == ["data.type=(a name that is not shown)"]
    assert ACCESS not in caplog.text


def test_drift_reports_are_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server may send new names without end."""
    for letter in "ab":
        body = ok({**HEAD, **{f"{letter}{number}": 1 for number in range(500)}, "list": [ROW]})
        assert len(reported(body)) == schema_drift.MAX_REPORTS
    assert len(caplog.records) == schema_drift.MAX_REPORTS


@given(
    strategies.json_values,
    strategies.json_values,
    st.sampled_from([accounts.LIST, accounts.BALANCE, points.BALANCE]),
)
def test_drift_of_any_response_raises_nothing(data: Any, inner: Any, endpoint: Any) -> None:
    """Whatever a response is."""
    data_type = endpoint.data_type
    for value in (data, [inner], {"list": data, "groupIds": inner, "type": inner}):
        list(find_unknown(b'{"data":%s}' % json.dumps(value).encode(), data_type))
    for body in (b"\xff", b"[]", b"[" * 100_000, b'{"data":%s' % (b"[" * 100_000)):
        assert list(find_unknown(body, data_type)) == []


def test_drift_of_a_response_that_cannot_be_decoded_is_reported() -> None:
    """It may be the reason."""
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


@pytest.mark.parametrize("body", ["[]", "x", "{}", '{"status":"ok","data":1', "<p>"])
def test_body_without_data_is_not_searched_for_drift(
    body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be large, and is not decoded again for nothing."""
    monkeypatch.setattr(schema_drift, "find_unknown", None)

    async def main() -> None:
        keys = Credentials(ACCESS, "SECRETEXAMPLE9876543210")
        options: dict[str, Any] = {"clock": VirtualClock(), "retry": NO_RETRY}
        async with HTXClient(keys, transport=Server(body), **options) as htx:
            with pytest.raises((APIError, DecodeError)):
                await htx.accounts.list()

    run(main())


async def test_drift_is_logged_without_a_listener(caplog: pytest.LogCaptureFixture) -> None:
    """That is how most users learn of it."""
    transport = Server(ok([{**ACCOUNT, "new": 1}]))
    async with HTXClient(Credentials(ACCESS, "secret"), transport=transport) as htx:
        await htx.accounts.list()
    assert "data[].new at GET /v1/account/accounts" in caplog.text


@attrs.frozen
class Outer(Model):
    """A list and an object inside of an object."""

    inner: tuple[PointGroup, ...] = attrs.field(metadata=wire("inner"))
    one: PointGroup | None = attrs.field(default=None, metadata=wire("one", default=None))


def test_drift_is_found_in_nested_lists_and_objects() -> None:
    """Each path is reported once, with all of the lists on its way."""
    rows = b'{"data":[{"inner":[{"a":1}],"b":1},{"inner":[{},{"c":1}],"one":{"d":1}}]}'
    assert [path + name for path, name in find_unknown(rows, tuple[Outer, ...])] == [
        "data[].inner[].a",
        "data[].inner[].c",
        "data[].b",
        "data[].one.d",
    ]
    row = b'{"data":{"inner":[{"new":1}]}}'
    assert list(find_unknown(row, Outer)) == [("data.inner[].", "new")]


async def test_sandbox_responses_have_no_drift(caplog: pytest.LogCaptureFixture) -> None:
    """It is made after HTX's pages."""
    transport = httpx.ASGITransport(app=Sandbox())
    async with HTXClient(Credentials("access-key", "secret-key"), transport=transport) as htx:
        await htx.accounts.snapshot()
        await htx.points.balance()
        await htx.get("/v1/common/timestamp", signed=False)
    assert not [record for record in caplog.records if record.name == "htx_async"]


def test_drift_of_a_hostile_response_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million unknown names, only as many are redacted as can be reported."""
    redacted: list[str] = []

    def record(text: str, secrets: Any) -> str:
        del secrets
        redacted.append(text)
        return text

    monkeypatch.setattr(schema_drift, "redact", record)
    names = {f"name-{number}": 0 for number in range(50_000)}
    assert len(reported(ok(POINTS | names), read="points", calls=3)) == schema_drift.MAX_REPORTS
    assert len(redacted) == schema_drift.MAX_REPORTS
