"""`Accounts`: requests, decoded models, the account cache, snapshots and valuations."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from htx_async import (
    Account,
    AccountNotFoundError,
    Accounts,
    AccountState,
    AccountType,
    APIError,
    AssetValuation,
    DecodeError,
    HTXError,
    InvalidInputError,
    ServiceUnavailableError,
)
from htx_async.resources import accounts
from tests.resources.canned import CannedResponses

ROWS = [
    {"id": 3, "type": "point", "subtype": "", "state": "working"},
    {"id": 1, "type": "spot", "subtype": "", "state": "working"},
    {"id": 4, "type": "margin", "subtype": "btcusdt", "state": "working"},
    {"id": 5, "type": "margin", "subtype": "ethusdt", "state": "fl-sys"},
    {"id": 6, "type": "borrow", "subtype": "x", "state": "working"},
]
LIST = json.dumps(ROWS)
BALANCE = '{"id":1,"type":"spot","state":"working","list":[]}'
SPOT = Account(1, AccountType.SPOT, "", AccountState.WORKING)
MARGINS = "4 (margin btcusdt), 5 (margin ethusdt)"
LIST_PATH = "GET /v1/account/accounts"


def test_endpoints_have_the_documented_rate_limits() -> None:
    """100 requests in 2 s for all accounts together; all endpoints are signed."""
    for endpoint in (accounts.LIST, accounts.BALANCE, accounts.VALUATION):
        assert (endpoint.limit.requests, endpoint.limit.per) == (100, 2.0)
        assert endpoint.signed
    assert accounts.BALANCE.name == "GET /v1/account/accounts/{account-id}/balance"


async def test_list_returns_accounts_in_the_order_of_the_response() -> None:
    canned = CannedResponses([LIST])
    listed = await Accounts(canned).list()
    assert [account.id for account in listed] == [3, 1, 4, 5, 6]
    assert listed[1] == SPOT
    assert canned.requests == [(LIST_PATH, ())]


@pytest.mark.parametrize(
    ("account", "digits"),
    [
        (1000001, "1000001"),
        ("1000001", "1000001"),
        (SPOT, "1"),
        (2**70, "1180591620717411303424"),
    ],
)
async def test_balance_requests_the_path_of_the_id(account: Any, digits: str) -> None:
    """The id is an int, digits or an `Account`."""
    canned = CannedResponses([BALANCE])
    assert (await Accounts(canned).balance(account)).id == 1
    assert canned.requests == [(f"GET /v1/account/accounts/{digits}/balance", ())]


@pytest.mark.parametrize(
    "account",
    [
        *(
            -1,
            True,
            None,
            1.0,
            "",
            "1/../2",
            "{account-id}",
            (1,),
            b"spot",
            "-5",
            " spot",
            "spot\n",
        ),
        *("margin:", ":btcusdt", "margin:btc:usdt", "margin btcusdt", "1x", "x" * 41, "\u0661"),
        Account("../x", AccountType.SPOT, "", AccountState.WORKING),  # type: ignore[arg-type]
    ],
)
async def test_balance_rejects_invalid_ids(account: Any) -> None:
    """Nothing is sent."""
    canned = CannedResponses([])
    with pytest.raises(InvalidInputError, match=r"^account must be"):
        await Accounts(canned).balance(account)
    assert canned.requests == []


@pytest.mark.parametrize(
    ("account", "account_id"),
    [("spot", 1), (AccountType.POINT, 3), ("margin:ethusdt", 5), ("borrow", 6), ("borrow:x", 6)],
)
async def test_balance_finds_the_account_of_a_type(account: str, account_id: int) -> None:
    """The list of accounts is cached, as `find` does."""
    canned = CannedResponses([LIST, BALANCE, BALANCE])
    htx = Accounts(canned)
    await htx.balance(account)
    await htx.balance(account)
    assert canned.paths == [LIST_PATH, *[f"{LIST_PATH}/{account_id}/balance"] * 2]


@pytest.mark.parametrize(
    ("account", "error", "text"),
    [
        ("margin", InvalidInputError, f"2 accounts have the type margin. .*: {MARGINS}"),
        ("margin:dogeusdt", AccountNotFoundError, "no account has the type margin dogeusdt"),
        ("SPOT", AccountNotFoundError, "no account has the type SPOT. .* 1 \\(spot\\)"),
    ],
)
async def test_balance_of_a_type_fails_as_find(
    account: str, error: type[Exception], text: str
) -> None:
    canned = CannedResponses([LIST])
    with pytest.raises(error, match=text.replace("(m", r"\(m").replace("t)", r"t\)")):
        await Accounts(canned).balance(account)
    assert canned.paths == [LIST_PATH]


@pytest.mark.parametrize(
    ("account_type", "subtype", "account_id"),
    [
        ("spot", "", 1),
        (AccountType.POINT, "", 3),
        ("margin", "ethusdt", 5),
        ("borrow", "x", 6),
        ("borrow", "", 6),
    ],
)
async def test_find_selects_by_type_and_subtype(
    account_type: str, subtype: str, account_id: int
) -> None:
    """The subtype may be omitted if the type has only one account."""
    assert (await Accounts(CannedResponses([LIST])).find(account_type, subtype)).id == account_id


async def test_find_caches_the_list() -> None:
    """A hit sends no further request; a miss reads the list again."""
    newer = json.dumps([*ROWS, {"id": 7, "type": "otc", "subtype": "", "state": "working"}])
    canned = CannedResponses([LIST, newer])
    htx = Accounts(canned)
    await htx.find("spot")
    await htx.find("margin", "btcusdt")
    assert len(canned.requests) == 1
    assert (await htx.find("otc")).id == 7
    assert (await htx.find("otc")).id == 7
    assert canned.paths == [LIST_PATH] * 2


async def test_list_replaces_the_cache() -> None:
    """The most recent list is used."""
    canned = CannedResponses([LIST, "[]", "[]"])
    htx = Accounts(canned)
    await htx.list()
    await htx.list()
    with pytest.raises(AccountNotFoundError):
        await htx.find("spot")
    assert len(canned.requests) == 3


@pytest.mark.parametrize(
    ("rows", "account_type", "subtype", "text"),
    [
        (
            LIST,
            "otc",
            "",
            f"type otc. Accounts of this user: 3 (point), 1 (spot), {MARGINS}, 6 (borrow x)",
        ),
        (
            LIST.replace("spot", "x"),
            "spot",
            "y",
            "type spot y. Accounts of this user: 3 (point), 1 (x)",
        ),
        ("[]", "spot", "", "type spot. Accounts of this user: none"),
    ],
)
async def test_find_error_lists_the_accounts(
    rows: str, account_type: str, subtype: str, text: str
) -> None:
    """The list is read once before the error is raised."""
    canned = CannedResponses([rows])
    with pytest.raises(AccountNotFoundError) as caught:
        await Accounts(canned).find(account_type, subtype)
    assert str(caught.value).startswith(f"{LIST_PATH}: no account has the {text}")
    assert len(canned.requests) == 1


async def test_find_requires_a_matching_subtype() -> None:
    with pytest.raises(AccountNotFoundError, match="no account has the type margin dogeusdt"):
        await Accounts(CannedResponses([LIST])).find("margin", "dogeusdt")


async def test_find_rejects_several_matches() -> None:
    """The error lists the matching accounts."""
    with pytest.raises(InvalidInputError) as caught:
        await Accounts(CannedResponses([LIST])).find("margin")
    assert str(caught.value) == (f"2 accounts have the type margin. Pass a subtype: {MARGINS}")


async def test_snapshot_contains_every_account() -> None:
    """Each account has a balance or an error."""
    broken = ServiceUnavailableError("maintenance")
    canned = CannedResponses([json.dumps(ROWS[:3]), BALANCE, broken, BALANCE])
    snapshot = await Accounts(canned).snapshot()
    assert canned.paths == [
        LIST_PATH,
        *(f"{LIST_PATH}/{number}/balance" for number in (3, 1, 4)),
    ]
    assert [item.account.id for item in snapshot.accounts] == [3, 1, 4]
    assert list(snapshot.balances) == [3, 4]
    assert dict(snapshot.errors) == {1: broken}
    assert pickle.dumps((snapshot.balances, snapshot.errors))
    assert [item.balance is None for item in snapshot.accounts] == [False, True, False]
    assert hash(snapshot) == hash(type(snapshot)(snapshot.accounts))


async def test_snapshot_reads_the_types_that_are_wanted() -> None:
    canned = CannedResponses([LIST, BALANCE, BALANCE])
    snapshot = await Accounts(canned).snapshot(types={"margin", "otc"})
    assert [item.account.id for item in snapshot.accounts] == [4, 5]
    assert [account.id for account in snapshot.skipped] == [3, 1, 6]


async def test_snapshot_without_accounts_is_empty() -> None:
    """Also a strict one; nothing has failed."""
    canned = CannedResponses([LIST])
    snapshot = await Accounts(canned).snapshot(types=[AccountType.ETF], strict=True)
    assert (snapshot.accounts, len(snapshot.skipped), len(canned.requests)) == ((), 5, 1)


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ("spot", "types must be a collection such as {'spot'}, got str"),
        (b"spot", "types must be a collection such as {'spot'}, got bytes"),
        ({"spot": 1}, "types must be a collection such as {'spot'}, got dict"),
        (7, "types must be a collection such as {'spot'}, got 7"),
        (["SPOT"], "each of types must be a word in lower case, for example spot: got 'SPOT'"),
        ([["spot"]], "each of types must be a word in lower case, for example spot: got list"),
    ],
)
async def test_snapshot_rejects_invalid_types(types: Any, message: str) -> None:
    canned = CannedResponses([])
    with pytest.raises(InvalidInputError) as caught:
        await Accounts(canned).snapshot(types=types)
    assert str(caught.value) == message
    assert canned.requests == []


async def test_strict_snapshot_raises_the_first_error() -> None:
    """It is a copy: what callers add to it is not in the snapshot, and is not added twice."""
    first, second = APIError("first", code="x"), APIError("second")
    first.add_note("attempt 1: this error")
    responses: list[str | HTXError] = [json.dumps(ROWS[:3]), BALANCE, first, second]
    with pytest.raises(APIError, match="first") as caught:
        await Accounts(CannedResponses(list(responses))).snapshot(strict=True)
    note = "account 1: 2 of 3 balances failed"
    assert caught.value.__notes__ == ["attempt 1: this error", note]
    assert caught.value.code == "x"
    snapshot = await Accounts(CannedResponses(list(responses))).snapshot()
    assert snapshot.errors[1].__notes__ == ["attempt 1: this error"]
    for _ in range(2):
        with pytest.raises(APIError) as caught:
            snapshot.raise_for_errors()
        assert caught.value is not first
        assert caught.value.__notes__[1:] == [note]


async def test_snapshot_raises_if_every_balance_fails() -> None:
    canned = CannedResponses([json.dumps(ROWS[:2]), APIError("first"), APIError("second")])
    with pytest.raises(APIError, match="first"):
        await Accounts(canned).snapshot()


async def test_raise_for_errors_returns_if_there_are_none() -> None:
    snapshot = await Accounts(CannedResponses([json.dumps(ROWS[:2]), BALANCE, BALANCE])).snapshot()
    snapshot.raise_for_errors()


async def test_snapshot_raises_if_the_list_fails() -> None:
    with pytest.raises(ServiceUnavailableError):
        await Accounts(CannedResponses([ServiceUnavailableError("maintenance")])).snapshot()


VALUATION = '{"balance":"34.75","timestamp":1594901254363}'
VALUATION_PATH = "GET /v2/account/asset-valuation"


async def test_asset_valuation_decodes_the_documented_example() -> None:
    canned = CannedResponses([VALUATION])
    valuation = await Accounts(canned).asset_valuation("spot")
    assert valuation == AssetValuation(
        Decimal("34.75"), datetime(2020, 7, 16, 12, 7, 34, 363000, tzinfo=UTC)
    )
    params = (("valuationCurrency", "BTC"), ("accountType", "spot"))
    assert canned.requests == [(VALUATION_PATH, params)]


async def test_asset_valuation_sends_only_given_parameters() -> None:
    """Without a type, HTX applies its default."""
    canned = CannedResponses([VALUATION, VALUATION])
    await Accounts(canned).asset_valuation()
    await Accounts(canned).asset_valuation(
        AccountType.SUPER_MARGIN, valuation_currency="EUR", sub_uid=0
    )
    first, second = (params for _, params in canned.requests)
    assert first == (("valuationCurrency", "BTC"),)
    assert dict(second) == {
        "valuationCurrency": "EUR",
        "accountType": "super-margin",
        "subUid": "0",
    }
    assert {type(value) for _, value in second} == {str}


@pytest.mark.parametrize("data", ["{}", '{"balance":null}', '{"balance":"x"}', "null"])
async def test_asset_valuation_without_an_amount_is_a_decode_error(data: str) -> None:
    with pytest.raises(DecodeError):
        await Accounts(CannedResponses([data])).asset_valuation("spot")


@pytest.mark.parametrize("timestamp", ["", ',"timestamp":null', ',"timestamp":"soon"'])
async def test_asset_valuation_accepts_a_missing_timestamp(timestamp: str) -> None:
    """A missing or malformed timestamp is `None`."""
    canned = CannedResponses(['{"balance":1.50' + timestamp + "}"])
    valuation = await Accounts(canned).asset_valuation("spot")
    assert (str(valuation.balance), valuation.timestamp) == ("1.50", None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"account_type": "Spot"}, "account_type must be a word in lower case, for example spot"),
        ({"account_type": ""}, "account_type must be"),
        ({"account_type": 1}, "account_type must be .*: got int"),
        ({"valuation_currency": "usd"}, "valuation_currency must be a word in upper case"),
        ({"valuation_currency": None}, "valuation_currency must be .*: got NoneType"),
        ({"sub_uid": "x"}, "sub_uid must be"),
    ],
)
async def test_asset_valuation_rejects_invalid_options(
    options: dict[str, Any], message: str
) -> None:
    """Nothing is sent."""
    canned = CannedResponses([])
    with pytest.raises(InvalidInputError, match=f"^{message}"):
        await Accounts(canned).asset_valuation(**options)
    assert canned.requests == []
