"""Models go everywhere: plain values, JSON and back, frames, pydantic and FastAPI."""

from __future__ import annotations

import decimal
import inspect
import json
import re
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
from htx_async.errors import with_attempt_notes
from htx_async.resources import accounts, points
from tests import strategies
from tests.decoded import decoded
from tests.models.test_balance import ALL_SIGNALS, MODELS, ROWS

ACCOUNT = Account(1, AccountType.MARGIN, "btcusdt", AccountState.WORKING)
BALANCE = AccountBalance(2**60, AccountType.SPOT, AccountState.WORKING, ROWS)


def refused() -> RateLimitedError:
    error = RateLimitedError(
        "HTX refused: too many", endpoint="GET /v1/x", code=1006, retry_after=0.1, http_status=429
    )
    return with_attempt_notes(error, [RateLimitQueueError("no token", retry_after=0.3)])


SNAPSHOT = Snapshot(
    (AccountSnapshot(ACCOUNT, BALANCE, None), AccountSnapshot(ACCOUNT, None, refused()))
)
CHANGE = BalanceChange("usdt", BalanceType.TRADE, Decimal("0.10"), Decimal(0))
VALUATION = AssetValuation(Decimal("34.75"), datetime(2020, 7, 16, 12, 7, tzinfo=UTC))
ALL: list[Model] = [*MODELS, SNAPSHOT, *SNAPSHOT.accounts, CHANGE, VALUATION]
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


def test_every_public_model_is_here() -> None:
    """All frozen values that a read can answer with."""
    public = {kind for kind in vars(htx_async).values() if inspect.isclass(kind)}
    models = {kind for kind in public if issubclass(kind, Model)} - {Model}
    assert models == {type(model) for model in ALL}


@every_model
def test_a_model_comes_back(model: Model) -> None:
    """By a dict and by JSON, with the same hash."""
    assert type(model).from_dict(model.to_dict()) == model
    assert again(model) == model
    assert hash(again(model)) == hash(model)
    assert again(model).to_json(indent=2) == json.dumps(
        model.to_dict(), indent=2, ensure_ascii=False
    )


@given(strategies.balances())
def test_any_balance_comes_back(drawn: strategies.Drawn) -> None:
    """In any decimal context, with every row."""
    balance = decoded(accounts.BALANCE, drawn.text.encode())
    with decimal.localcontext(decimal.Context(prec=3, Emax=3, Emin=-3, traps=ALL_SIGNALS)) as here:
        other = AccountBalance.from_json(balance.to_json())
        assert not any(here.flags.values())
    assert other == balance
    for currency in balance.values():
        assert again(currency) == currency


@given(strategies.account_lists(), strategies.point_balances())
def test_any_accounts_and_points_come_back(
    listed: strategies.Drawn, drawn: strategies.Drawn
) -> None:
    """Unknown words too."""
    for account in decoded(accounts.LIST, listed.text.encode()):
        assert again(account) == account
    found = decoded(points.BALANCE, drawn.text.encode())
    assert again(found) == found


@given(st.lists(errors, max_size=3))
def test_any_snapshot_comes_back(failures: list[HTXError]) -> None:
    """With the errors that it keeps: class, text, facts and notes."""
    snapshot = Snapshot(tuple(AccountSnapshot(ACCOUNT, None, error) for error in failures))
    other = again(snapshot)
    assert other == snapshot
    assert hash(other) == hash(snapshot)
    assert isinstance(other, Snapshot)
    for picture, error in zip(other.accounts, failures, strict=True):
        assert type(picture.error) is type(error)
        assert str(picture.error) == str(error)
        assert getattr(picture.error, "__notes__", []) == getattr(error, "__notes__", [])


def test_the_repr_names_every_field() -> None:
    """As attrs would write it, though it is one for all models."""
    assert repr(CHANGE) == (
        "BalanceChange(currency='usdt', type=BalanceType('trade'), before=Decimal('0.10'), "
        "after=Decimal('0'))"
    )
    (picture, _) = SNAPSHOT.accounts
    shown = f"AccountSnapshot(account={ACCOUNT!r}, balance={BALANCE!r}, error=None)"
    assert repr(picture) == shown


def test_pictures_with_other_errors_differ() -> None:
    """By class, text, fact or note."""
    picture = SNAPSHOT.accounts[1]
    other_note = refused()
    other_note.add_note("more")
    others = [None, HTXError("HTX refused: too many"), RateLimitedError("x"), other_note]
    assert attrs.evolve(picture, error=refused()) == picture
    assert all(attrs.evolve(picture, error=error) != picture for error in others)


def test_what_a_dict_says() -> None:
    """Names of attributes, amounts without exponent, moments in UTC, words as text."""
    east = timezone(timedelta(hours=8))
    found = PointBalance(
        7,
        PointAccountStatus("new"),
        Decimal("1E+3"),
        (PointGroup(0, datetime(2020, 1, 1, 8, tzinfo=east), Decimal("0E-18")),),
    )
    assert found.to_dict() == {
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
    }
    assert type(found.to_dict()["account_status"]) is str
    assert again(found) == found


def test_what_an_error_says() -> None:
    """Its name, its text, what is known of it, and its notes."""
    assert SNAPSHOT.to_dict()["accounts"][1]["error"] == {
        "error": "RateLimitedError",
        "text": "HTX refused: too many",
        "endpoint": "GET /v1/x",
        "retryable": True,
        "delivery": "answered",
        "code": 1006,
        "message": None,
        "http_status": 429,
        "retry_after": 0.1,
        "notes": ["attempt 1: RateLimitQueueError: no token", "attempt 2: this error"],
    }


def test_errors_that_this_version_does_not_know() -> None:
    """A newer one's is an `HTXError`; one of the user's own is the nearest of ours."""

    class OursError(RateLimitQueueError):
        pass

    said = AccountSnapshot(ACCOUNT, None, OursError("x", retry_after=0.5)).to_dict()
    assert said["error"]["error"] == "RateLimitQueueError"
    error = AccountSnapshot.from_dict({**said, "error": {"error": "NewError", "text": "x"}}).error
    assert type(error) is HTXError
    assert str(error) == "x"
    assert AccountSnapshot.from_dict({**said, "error": error}).error is error
    assert error is not None
    error.args = ()
    assert AccountSnapshot(ACCOUNT, None, error).to_dict()["error"]["text"] == ""


def test_unknown_fields_are_passed_over_and_defaults_stay() -> None:
    """What a newer version tells does no harm."""
    said = {"currency": "usdt", "type": "trade", "balance": "1", "new": [1]}
    assert BalanceEntry.from_dict(said) == BalanceEntry("usdt", BalanceType.TRADE, Decimal(1))
    assert type(BalanceEntry.from_dict(said).type) is BalanceType


ENTRY = {"currency": "usdt", "type": "trade", "balance": "1"}
NO_MOMENTS: list[Any] = [7, "soon", "2020-01-01T00:00:00", "0001-01-01T00:00:00+10:00", []]
HEAD = {"id": 1, "type": "spot", "state": "working"}


@pytest.mark.parametrize(
    ("model", "said", "path", "words"),
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
                "mom",
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
def test_what_is_no_model_is_a_decode_error(
    model: type[Model], said: Any, path: str, words: str
) -> None:
    """With the path, one sentence and nothing chained."""
    with pytest.raises(DecodeError, match=words) as caught:
        model.from_dict(said)
    error = caught.value
    assert (error.path, error.delivery) == (path, "not_sent")
    assert str(error).startswith(f"no {model.__name__} can be made of it: ")
    assert error.__context__ is None


@pytest.mark.parametrize("text", ["", "{", b"\xff", "[" * 100_000, '{"id":1e9999}', '"\ud800"'])
def test_what_is_no_json_is_a_decode_error(text: str | bytes) -> None:
    """And nothing of it is shown."""
    with pytest.raises(DecodeError, match="the JSON of Account cannot be read") as caught:
        Account.from_json(text)
    assert caught.value.delivery == "not_sent"


@given(strategies.json_values)
def test_any_json_is_a_model_or_a_decode_error(value: Any) -> None:
    """Nothing else is raised."""
    for kind in {type(model) for model in ALL}:
        for said in (value, {**HEAD, "entries": [value]}, {"accounts": [{"error": value}]}):
            try:
                found = kind.from_dict(said)
            except DecodeError:
                continue
            assert again(found) == found


def test_a_whole_number_may_be_long() -> None:
    """Longer than Python makes text of."""
    assert BalanceEntry.from_dict({**ENTRY, "balance": 10**4400}).balance == 10**4400


def test_json_numbers_are_taken_digit_for_digit() -> None:
    """From others, who write amounts so."""
    text = '{"currency":"usdt","type":"trade","balance":0.1000000000000000000001,"debt":1e2}'
    entry = BalanceEntry.from_json(text)
    assert str(entry.balance) == "0.1000000000000000000001"
    assert entry.debt == 100


@every_model
def test_pydantic_takes_and_gives_every_model(model: Any) -> None:
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
    "said", [{**ENTRY, "balance": 0.1}, {**ENTRY, "balance": "x"}, {"currency": "usdt"}]
)
def test_pydantic_refuses_what_is_none(said: dict[str, Any]) -> None:
    """In its own words: a validation error, not one of ours."""
    with pytest.raises(pydantic.ValidationError):
        pydantic.TypeAdapter(BalanceEntry).validate_python(said)
    long = {**ENTRY, "balance": "1" * 5001}
    with pytest.raises(pydantic.ValidationError, match="balance must be a decimal number"):
        pydantic.TypeAdapter(BalanceEntry).validate_python(long)


async def test_fastapi_answers_with_models() -> None:
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
    answer = page["paths"]["/balance"]["get"]["responses"]["200"]["content"]["application/json"]
    assert answer["schema"] == {"$ref": "#/components/schemas/AccountBalance"}
    entry = schemas["BalanceEntry"]["properties"]
    assert entry["balance"]["type"] == "string"
    assert re.search(entry["balance"]["pattern"], "-0.10")
    assert not re.search(entry["balance"]["pattern"], "ten")
    assert {each["type"] for each in entry["debt"]["anyOf"]} == {"string", "null"}
    assert schemas["PointGroup"]["properties"]["expiry_date"]["anyOf"][0]["format"] == "date-time"
    assert schemas["AccountBalance"]["required"] == ["id", "type", "state", "entries"]
    assert schemas["BalanceEntry"]["required"] == ["currency", "type", "balance"]
    assert schemas["BalanceEntry"]["description"] == (
        "One row of a balance: an amount of one kind in one currency."
    )


def test_a_field_of_a_pydantic_model() -> None:
    """Ours inside of theirs."""

    class Report(pydantic.BaseModel):
        balance: AccountBalance
        usdt: CurrencyBalance | None = None

    report = Report(balance=BALANCE, usdt=BALANCE["usdt"])
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_a_frame_of_pandas() -> None:
    """Amounts as text, or as `Decimal` with all digits."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(entry.to_dict() for entry in BALANCE.entries)
    assert frame["balance"].map(Decimal).to_list() == [entry.balance for entry in ROWS]
    assert frame["currency"].to_list() == [entry.currency for entry in ROWS]


def test_a_frame_of_polars() -> None:
    """The same."""
    polars = pytest.importorskip("polars")
    rows = [entry.to_dict() for entry in BALANCE.entries]
    frame = polars.DataFrame(rows, infer_schema_length=None)
    assert frame["balance"].to_list() == [f"{entry.balance:f}" for entry in ROWS]
    exact = frame["balance"].str.to_decimal(scale=18)
    assert exact[0] == ROWS[0].balance
