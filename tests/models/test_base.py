"""Serialization of models: plain values, JSON, data frames, pydantic and FastAPI."""

from __future__ import annotations

import decimal
import inspect
import json
import re
import traceback
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any

import attrs
import httpx
import pydantic
import pytest
from fastapi import Body, FastAPI
from hypothesis import given
from hypothesis import strategies as st

import htx_async
from htx_async import (
    Account,
    AccountBalance,
    AccountSnapshot,
    AccountState,
    AccountType,
    AssetValuation,
    BalanceChange,
    BalanceEntry,
    BalanceType,
    CurrencyBalance,
    DecodeError,
    HTXError,
    Model,
    PointAccountStatus,
    PointBalance,
    PointGroup,
    RateLimitedError,
    RateLimitQueueError,
    Snapshot,
)
from htx_async.errors import with_attempts
from tests import strategies
from tests.decoded import decode
from tests.models.examples import example_of
from tests.models.test_balance import ALL_SIGNALS, MODELS, ROWS

ACCOUNT = Account(1, AccountType.MARGIN, "btcusdt", AccountState.WORKING)
BALANCE = AccountBalance(2**60, AccountType.SPOT, AccountState.WORKING, ROWS)


def api_error() -> RateLimitedError:
    error = RateLimitedError(
        "HTX returned an error: too many",
        endpoint="GET /v1/x",
        code=1006,
        retry_after=0.1,
        http_status=429,
    )
    return with_attempts(error, [RateLimitQueueError("no token", retry_after=0.3)])


SNAPSHOT = Snapshot(
    (AccountSnapshot(ACCOUNT, BALANCE, None), AccountSnapshot(ACCOUNT, None, api_error()))
)
CHANGE = BalanceChange(1, "usdt", BalanceType.TRADE, Decimal("0.10"), Decimal(0))
VALUATION = AssetValuation(Decimal("34.75"), datetime(2020, 7, 16, 12, 7, tzinfo=UTC))
SPECIAL: list[Model] = [*MODELS, SNAPSHOT, *SNAPSHOT.accounts, CHANGE, VALUATION]
"""Models with the values that matter."""
PUBLIC = [cls for cls in map(vars(htx_async).get, htx_async.__all__) if inspect.isclass(cls)]
ALL: list[Model] = [
    *SPECIAL,
    *(example_of(cls) for cls in PUBLIC if issubclass(cls, Model) and cls is not Model),
]
every_model = pytest.mark.parametrize("model", ALL, ids=lambda model: type(model).__name__)

errors = st.builds(
    lambda kind, facts, notes: _noted(kind("text ü", **facts), notes),
    st.sampled_from([kind for kind in vars(htx_async).values() if inspect.isclass(kind)]).filter(
        lambda kind: issubclass(kind, HTXError)
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "endpoint": st.none() | st.text(),
            "retryable": st.booleans(),
            "delivery": st.sampled_from(["not_sent", "unknown", "answered"]),
            "code": st.none() | st.text() | st.integers(-(10**9), 10**9),
            "message": st.none() | st.text(),
            "http_status": st.none() | st.integers(0, 999),
            "retry_after": st.none() | st.floats(0, 1e6),
        },
    ),
    st.lists(st.text(), max_size=2),
)


def _noted(error: HTXError, notes: list[str]) -> HTXError:
    for note in notes:
        error.add_note(note)
    return error


def again(model: Model) -> Model:
    return type(model).from_json(model.to_json())


@every_model
def test_model_round_trip(model: Model) -> None:
    """By a dict and by JSON, with the same hash."""
    assert type(model).from_dict(model.to_dict()) == model
    assert again(model) == model
    assert hash(again(model)) == hash(model)
    assert again(model).to_json(indent=2) == json.dumps(
        model.to_dict(), indent=2, ensure_ascii=False
    )


@given(strategies.balances())
def test_balance_round_trip_in_any_decimal_context(drawn: strategies.Drawn) -> None:
    """In any decimal context, with every row."""
    balance = decode(AccountBalance, drawn.text)
    with decimal.localcontext(decimal.Context(prec=3, Emax=3, Emin=-3, traps=ALL_SIGNALS)) as here:
        other = AccountBalance.from_json(balance.to_json())
        assert not any(here.flags.values())
    assert other == balance
    for currency in balance.values():
        assert again(currency) == currency


@given(strategies.account_lists(), strategies.point_balances())
def test_accounts_and_points_round_trip(listed: strategies.Drawn, drawn: strategies.Drawn) -> None:
    """Unknown words too."""
    for account in decode(tuple[Account, ...], listed.text):
        assert again(account) == account
    points = decode(PointBalance, drawn.text)
    assert again(points) == points


@given(st.lists(errors, max_size=3))
def test_snapshot_round_trip_keeps_errors(failures: list[HTXError]) -> None:
    """With the errors that it keeps: class, text, facts and notes."""
    snapshot = Snapshot(tuple(AccountSnapshot(ACCOUNT, None, error) for error in failures))
    other = again(snapshot)
    assert other == snapshot
    assert hash(other) == hash(snapshot)
    assert isinstance(other, Snapshot)
    for item, error in zip(other.accounts, failures, strict=True):
        assert type(item.error) is type(error)
        assert str(item.error) == str(error)
        assert getattr(item.error, "__notes__", []) == getattr(error, "__notes__", [])


def test_repr_contains_every_field() -> None:
    """As attrs would write it, though it is one for all models."""
    assert repr(CHANGE) == (
        "BalanceChange(account_id=1, currency='usdt', type=BalanceType('trade'), "
        "before=Decimal('0.10'), after=Decimal('0'), cause=None, seq=None)"
    )
    (item, _) = SNAPSHOT.accounts
    expected = f"AccountSnapshot(account={ACCOUNT!r}, balance={BALANCE!r}, error=None)"
    assert repr(item) == expected


def test_account_snapshots_with_other_errors_differ() -> None:
    """By class, text, fact or note."""
    item = SNAPSHOT.accounts[1]
    other_note = api_error()
    other_note.add_note("more")
    others = [None, HTXError("HTX returned an error: too many"), RateLimitedError("x"), other_note]
    assert attrs.evolve(item, error=api_error()) == item
    assert all(attrs.evolve(item, error=error) != item for error in others)


def test_to_dict_has_plain_values() -> None:
    """Names of attributes, amounts without exponent, moments in UTC, words as text."""
    east = timezone(timedelta(hours=8))
    points = PointBalance(
        7,
        PointAccountStatus("new"),
        Decimal("1E+3"),
        (PointGroup(0, datetime(2020, 1, 1, 8, tzinfo=east), Decimal("0E-18")),),
        received_at=datetime(2026, 1, 1, 8, 0, 0, 500_000, tzinfo=east),
    )
    assert points.to_dict() == {
        "account_id": 7,
        "account_status": "new",
        "acct_balance": "1000",
        "group_ids": [
            {
                "group_id": 0,
                "expiry_date": "2020-01-01T00:00:00+00:00",
                "remain_amt": "0.000000000000000000",
            }
        ],
        "received_at": "2026-01-01T00:00:00.500000+00:00",
    }
    assert PointBalance.from_dict(points.to_dict()).received_at == points.received_at
    assert type(points.to_dict()["account_status"]) is str
    assert again(points) == points


def test_to_dict_of_an_error() -> None:
    """Its name, its text, what is known of it, and its notes."""
    assert SNAPSHOT.to_dict()["accounts"][1]["error"] == {
        "error": "RateLimitedError",
        "text": "HTX returned an error: too many",
        "endpoint": "GET /v1/x",
        "retryable": True,
        "delivery": "answered",
        "code": 1006,
        "message": None,
        "http_status": 429,
        "retry_after": 0.1,
        "notes": ["attempt 1: RateLimitQueueError: no token", "attempt 2: this error"],
    }


def test_from_dict_of_an_unknown_error_class() -> None:
    """A newer one's is an `HTXError`; one of the user's own is the nearest of ours."""

    class OursError(RateLimitQueueError):
        pass

    plain = AccountSnapshot(ACCOUNT, None, OursError("x", retry_after=0.5)).to_dict()
    assert plain["error"]["error"] == "RateLimitQueueError"
    error = AccountSnapshot.from_dict({**plain, "error": {"error": "NewError", "text": "x"}}).error
    assert type(error) is HTXError
    assert str(error) == "x"
    assert AccountSnapshot.from_dict({**plain, "error": error}).error is error
    assert error is not None
    error.args = ()
    assert AccountSnapshot(ACCOUNT, None, error).to_dict()["error"]["text"] == ""


def test_from_dict_ignores_unknown_fields_and_keeps_defaults() -> None:
    """Fields of a newer version are ignored."""
    plain = {"currency": "usdt", "type": "trade", "balance": "1", "new": [1]}
    assert BalanceEntry.from_dict(plain) == BalanceEntry("usdt", BalanceType.TRADE, Decimal(1))
    assert type(BalanceEntry.from_dict(plain).type) is BalanceType


ENTRY = {"currency": "usdt", "type": "trade", "balance": "1"}
NO_MOMENTS: list[Any] = [7, "soon", "2020-01-01T00:00:00", "0001-01-01T00:00:00+10:00", []]
HEAD = {"id": 1, "type": "spot", "state": "working"}


@pytest.mark.parametrize(
    ("model", "plain", "path", "words"),
    [
        (BalanceEntry, {**ENTRY, "balance": 0.1}, "balance", "a decimal number as text"),
        (BalanceEntry, {**ENTRY, "balance": True}, "balance", "a decimal number as text"),
        (BalanceEntry, {**ENTRY, "balance": "NaN"}, "balance", "a decimal number as text"),
        (BalanceEntry, {**ENTRY, "balance": Decimal("NaN")}, "balance", "a decimal number"),
        (BalanceEntry, {**ENTRY, "balance": "1" * 5001}, "balance", "a decimal number as text"),
        (BalanceEntry, {**ENTRY, "seq_num": -1}, "seq_num", "a whole number"),
        (BalanceEntry, {**ENTRY, "type": 7}, "type", "must be text"),
        (BalanceEntry, {"currency": "usdt", "type": "trade"}, "balance", "balance is missing"),
        (BalanceEntry, [], "", "it must be an object"),
        (AccountBalance, {**HEAD, "entries": {}}, "entries", "must be a list"),
        (AccountBalance, HEAD, "entries", "entries is missing"),
        (AccountBalance, {**HEAD, "entries": [ENTRY, 7]}, "entries[1]", "must be an object"),
        (AccountBalance, {**HEAD, "entries": [{}]}, "entries[0].currency", "is missing"),
        (PointGroup, {"group_id": 1, "remain_amt": "1"}, "expiry_date", "is missing"),
        *(
            (
                PointGroup,
                {"group_id": 1, "expiry_date": at, "remain_amt": "1"},
                "expiry_date",
                "a time such as",
            )
            for at in NO_MOMENTS
        ),
        *(
            (
                AccountSnapshot,
                {"account": ACCOUNT, "balance": None, "error": error},
                "error",
                "an err",
            )
            for error in (
                *(7, {}, {"error": "HTXError"}, {"error": 7, "text": "x"}),
                {"error": "HTXError", "text": "x", "notes": [7]},
                {"error": "HTXError", "text": "x", "http_status": "x"},
            )
        ),
    ],
)
def test_from_dict_rejects_malformed_values(
    model: type[Model], plain: Any, path: str, words: str
) -> None:
    """With the path, one sentence and nothing chained."""
    with pytest.raises(DecodeError, match=words) as caught:
        model.from_dict(plain)
    error = caught.value
    assert (error.path, error.delivery) == (path, "not_sent")
    assert str(error).startswith(f"invalid {model.__name__}: {path or 'it'} ")
    assert error.__context__ is None


@pytest.mark.parametrize("text", ["", "{", b"\xff", "[" * 100_000, '{"id":1e9999}', '"\ud800"'])
def test_from_json_rejects_what_is_not_json(text: str | bytes) -> None:
    """The error contains nothing of it."""
    with pytest.raises(DecodeError, match="the JSON of Account cannot be decoded") as caught:
        Account.from_json(text)
    assert caught.value.delivery == "not_sent"


@given(strategies.json_values)
def test_from_dict_of_any_json_is_a_model_or_a_decode_error(value: Any) -> None:
    """Nothing else is raised."""
    for kind in {type(model) for model in ALL}:
        for plain in (value, {**HEAD, "entries": [value]}, {"accounts": [{"error": value}]}):
            try:
                model = kind.from_dict(plain)
            except DecodeError:
                continue
            assert again(model) == model


def test_from_dict_accepts_a_long_whole_number() -> None:
    """It has more digits than `str` accepts."""
    assert BalanceEntry.from_dict({**ENTRY, "balance": 10**4400}).balance == 10**4400


def test_from_json_keeps_every_digit_of_a_number() -> None:
    """Other programs write amounts as numbers."""
    text = '{"currency":"usdt","type":"trade","balance":0.1000000000000000000001,"debt":1e2}'
    entry = BalanceEntry.from_json(text)
    assert str(entry.balance) == "0.1000000000000000000001"
    assert entry.debt == 100


@every_model
def test_pydantic_validates_and_serializes_every_model(model: Any) -> None:
    """As it is, as plain values and as JSON; and writes what `to_json` writes."""
    adapter = pydantic.TypeAdapter(type(model))
    assert adapter.validate_python(model) is model
    assert adapter.validate_python(model.to_dict()) == model
    assert adapter.validate_json(model.to_json()) == model
    assert json.loads(adapter.dump_json(model)) == model.to_dict()
    assert adapter.dump_python(model) == model.to_dict()
    for mode in ("validation", "serialization"):
        schema = adapter.json_schema(mode=mode)
        assert schema["title"] == type(model).__name__


@pytest.mark.parametrize(
    "plain", [{**ENTRY, "balance": 0.1}, {**ENTRY, "balance": "x"}, {"currency": "usdt"}]
)
def test_pydantic_rejects_malformed_values(plain: dict[str, Any]) -> None:
    """In its own words: a validation error, not one of ours."""
    with pytest.raises(pydantic.ValidationError):
        pydantic.TypeAdapter(BalanceEntry).validate_python(plain)
    long = {**ENTRY, "balance": "1" * 5001}
    with pytest.raises(pydantic.ValidationError, match="balance must be a decimal number"):
        pydantic.TypeAdapter(BalanceEntry).validate_python(long)


async def test_fastapi_returns_models() -> None:
    """As return types and as `response_model`, with amounts as text in the OpenAPI schema."""
    app = FastAPI()

    @app.get("/balance")
    async def balance() -> AccountBalance:
        return BALANCE

    @app.get("/accounts")
    async def listed() -> list[Account]:
        return [ACCOUNT]

    @app.get("/points", response_model=PointBalance)
    async def point_balance() -> Any:
        return MODELS[5]

    @app.get("/snapshot")
    async def snapshot() -> Snapshot:
        return SNAPSHOT

    @app.post("/worth")
    async def worth(entry: Annotated[BalanceEntry, Body()]) -> str:
        return f"{entry.balance + 1}"

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.get("/balance")).json() == BALANCE.to_dict()
        assert (await http.get("/accounts")).json() == [ACCOUNT.to_dict()]
        assert (await http.get("/points")).json() == MODELS[5].to_dict()
        assert (await http.get("/snapshot")).json() == SNAPSHOT.to_dict()
        assert (await http.post("/worth", json=ENTRY)).json() == "2"
        assert (await http.post("/worth", json={**ENTRY, "balance": 0.5})).status_code == 422
        page = (await http.get("/openapi.json")).json()
    schemas = page["components"]["schemas"]
    response = page["paths"]["/balance"]["get"]["responses"]["200"]["content"]["application/json"]
    assert response["schema"] == {"$ref": "#/components/schemas/AccountBalance"}
    entry = schemas["BalanceEntry"]["properties"]
    assert entry["balance"]["type"] == "string"
    assert re.search(entry["balance"]["pattern"], "-0.10")
    assert not re.search(entry["balance"]["pattern"], "ten")
    assert {each["type"] for each in entry["debt"]["anyOf"]} == {"string", "null"}
    assert schemas["PointGroup"]["properties"]["expiry_date"]["anyOf"][0]["format"] == "date-time"
    assert schemas["AccountBalance"]["required"] == ["id", "type", "state", "entries"]
    assert schemas["BalanceEntry"]["required"] == ["currency", "type", "balance"]
    assert schemas["BalanceEntry"]["description"] == (
        "One row of a balance: an amount of one type in one currency."
    )


def test_pydantic_model_with_our_models_as_fields() -> None:
    """Ours inside of theirs."""

    class Report(pydantic.BaseModel):
        balance: AccountBalance
        usdt: CurrencyBalance | None = None

    report = Report(balance=BALANCE, usdt=BALANCE["usdt"])
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_pandas_frame_of_entries() -> None:
    """Amounts as text, or as `Decimal` with all digits."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(entry.to_dict() for entry in BALANCE.entries)
    assert frame["balance"].map(Decimal).to_list() == [entry.balance for entry in ROWS]
    assert frame["currency"].to_list() == [entry.currency for entry in ROWS]


def test_polars_frame_of_entries() -> None:
    """The same."""
    polars = pytest.importorskip("polars")
    rows = [entry.to_dict() for entry in BALANCE.entries]
    frame = polars.DataFrame(rows, infer_schema_length=None)
    assert frame["balance"].to_list() == [f"{entry.balance:f}" for entry in ROWS]
    exact = frame["balance"].str.to_decimal(scale=18)
    assert exact[0] == ROWS[0].balance


@pytest.mark.parametrize(
    ("model", "arguments", "text"),
    [
        (AccountBalance, (1, "spot", "working", 5), "AccountBalance(id=1, "),
        (CurrencyBalance, ("usdt", 5), "CurrencyBalance(currency='usdt', entries=Ellipsis)"),
    ],
)
def test_model_whose_construction_failed_has_a_repr(
    model: type[Model], arguments: tuple[Any, ...], text: str
) -> None:
    """Tracebacks with local variables contain it."""
    with pytest.raises(TypeError) as caught:
        model(*arguments)
    frames = traceback.walk_tb(caught.value.__traceback__)
    assert text in "".join(repr(frame.f_locals) for frame, _ in frames)
