"""What the accounts ask, and what they make of the answers."""

from __future__ import annotations

import json
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
    AssetValuation,
    DecodeError,
    InvalidInputError,
    ServiceUnavailableError,
)
from htx_async.resources import accounts
from tests.resources.canned import Canned

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


def test_the_limits_are_those_of_htx_pages() -> None:
    """A hundred in two seconds, for all accounts together; all are signed."""
    for endpoint in (accounts.LIST, accounts.BALANCE, accounts.VALUATION):
        assert (endpoint.limit.requests, endpoint.limit.per) == (100, 2.0)
        assert endpoint.signed
    assert accounts.BALANCE.name == "GET /v1/account/accounts/{account-id}/balance"


async def test_the_list_keeps_the_order() -> None:
    """All accounts, as HTX lists them."""
    ask = Canned([LIST])
    found = await Accounts(ask).list()
    assert [account.id for account in found] == [3, 1, 4, 5, 6]
    assert found[1] == SPOT
    assert ask.asked == [(LIST_PATH, ())]


@pytest.mark.parametrize(
    ("account", "digits"),
    [
        (1000001, "1000001"),
        ("1000001", "1000001"),
        (SPOT, "1"),
        (2**70, "1180591620717411303424"),
    ],
)
async def test_a_balance_is_asked_by_id(account: Any, digits: str) -> None:
    """A number, its digits, or an account."""
    ask = Canned([BALANCE])
    assert (await Accounts(ask).balance(account)).id == 1
    assert ask.asked == [(f"GET /v1/account/accounts/{digits}/balance", ())]


@pytest.mark.parametrize(
    "account",
    [
        *(-1, True, None, 1.0, "", "1/../2", "{account-id}", "spot", AccountType.SPOT, (1,)),
        Account("../x", AccountType.SPOT, "", AccountState.WORKING),  # type: ignore[arg-type]
    ],
)
async def test_what_is_no_id_is_not_sent(account: Any) -> None:
    """One sentence, and nothing leaves."""
    ask = Canned([])
    with pytest.raises(InvalidInputError, match=r"^account must be"):
        await Accounts(ask).balance(account)
    assert ask.asked == []


@pytest.mark.parametrize(
    ("kind", "subtype", "number"),
    [
        ("spot", "", 1),
        (AccountType.POINT, "", 3),
        ("margin", "ethusdt", 5),
        ("borrow", "x", 6),
        ("borrow", "", 6),
    ],
)
async def test_an_account_is_found_by_its_kind(kind: str, subtype: str, number: int) -> None:
    """By type, and subtype where one type has several; the only one of a type by that alone."""
    assert (await Accounts(Canned([LIST])).find(kind, subtype)).id == number


async def test_the_list_is_remembered() -> None:
    """Found once, it costs no further request; a miss reads the list once more."""
    newer = json.dumps([*ROWS, {"id": 7, "type": "otc", "subtype": "", "state": "working"}])
    ask = Canned([LIST, newer])
    htx = Accounts(ask)
    await htx.find("spot")
    await htx.find("margin", "btcusdt")
    assert len(ask.asked) == 1
    assert (await htx.find("otc")).id == 7
    assert (await htx.find("otc")).id == 7
    assert ask.paths == [LIST_PATH] * 2


async def test_what_is_listed_anew_is_remembered() -> None:
    """The last list counts, not what was there before."""
    ask = Canned([LIST, "[]", "[]"])
    htx = Accounts(ask)
    await htx.list()
    await htx.list()
    with pytest.raises(AccountNotFoundError):
        await htx.find("spot")
    assert len(ask.asked) == 3


@pytest.mark.parametrize(
    ("rows", "kind", "subtype", "text"),
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
async def test_no_account_of_a_kind(rows: str, kind: str, subtype: str, text: str) -> None:
    """The error lists what there is, once the list was read anew."""
    ask = Canned([rows])
    with pytest.raises(AccountNotFoundError) as caught:
        await Accounts(ask).find(kind, subtype)
    assert str(caught.value).startswith(f"{LIST_PATH}: no account has the {text}")
    assert len(ask.asked) == 1


async def test_a_type_found_by_another_subtype_only() -> None:
    """A subtype that is asked for must fit."""
    with pytest.raises(AccountNotFoundError, match="no account has the type margin dogeusdt"):
        await Accounts(Canned([LIST])).find("margin", "dogeusdt")


async def test_several_accounts_of_a_kind() -> None:
    """The error lists just those."""
    with pytest.raises(InvalidInputError) as caught:
        await Accounts(Canned([LIST])).find("margin")
    assert str(caught.value) == (f"2 accounts have the type margin. Pass a subtype: {MARGINS}")


async def test_a_snapshot_has_every_account() -> None:
    """Each with its balance, or with the error beside it."""
    broken = ServiceUnavailableError("maintenance")
    ask = Canned([json.dumps(ROWS[:3]), BALANCE, broken, BALANCE])
    snapshot = await Accounts(ask).snapshot()
    assert ask.paths == [
        LIST_PATH,
        *(f"{LIST_PATH}/{number}/balance" for number in (3, 1, 4)),
    ]
    assert [each.account.id for each in snapshot.accounts] == [3, 1, 4]
    assert list(snapshot.balances) == [3, 4]
    assert dict(snapshot.errors) == {1: broken}
    assert [picture.balance is None for picture in snapshot.accounts] == [False, True, False]
    assert hash(snapshot) == hash(type(snapshot)(snapshot.accounts))


async def test_a_snapshot_needs_the_list() -> None:
    """Without it there is nothing to keep an error beside."""
    with pytest.raises(ServiceUnavailableError):
        await Accounts(Canned([ServiceUnavailableError("maintenance")])).snapshot()


VALUATION = '{"balance":"34.75","timestamp":1594901254363}'
VALUATION_PATH = "GET /v2/account/asset-valuation"


async def test_a_valuation_is_what_htx_page_shows() -> None:
    """Its example, digit for digit."""
    ask = Canned([VALUATION])
    valuation = await Accounts(ask).asset_valuation("spot")
    assert valuation == AssetValuation(
        Decimal("34.75"), datetime(2020, 7, 16, 12, 7, 34, 363000, tzinfo=UTC)
    )
    asked = (("valuationCurrency", "BTC"), ("accountType", "spot"))
    assert ask.asked == [(VALUATION_PATH, asked)]


async def test_a_valuation_asks_for_what_it_was_told() -> None:
    """Nothing that was not: without a type, HTX decides."""
    ask = Canned([VALUATION, VALUATION])
    await Accounts(ask).asset_valuation()
    await Accounts(ask).asset_valuation(
        AccountType.SUPER_MARGIN, valuation_currency="EUR", sub_uid=0
    )
    first, second = (params for _, params in ask.asked)
    assert first == (("valuationCurrency", "BTC"),)
    assert dict(second) == {
        "valuationCurrency": "EUR",
        "accountType": "super-margin",
        "subUid": "0",
    }
    assert {type(value) for _, value in second} == {str}


@pytest.mark.parametrize("data", ["{}", '{"balance":null}', '{"balance":"x"}', "null"])
async def test_a_valuation_without_an_amount_is_none(data: str) -> None:
    """There is nothing else in it."""
    with pytest.raises(DecodeError):
        await Accounts(Canned([data])).asset_valuation("spot")


@pytest.mark.parametrize("moment", ["", ',"timestamp":null', ',"timestamp":"soon"'])
async def test_a_valuation_may_lack_its_moment(moment: str) -> None:
    """Then it is `None`."""
    ask = Canned(['{"balance":1.50' + moment + "}"])
    valuation = await Accounts(ask).asset_valuation("spot")
    assert (str(valuation.balance), valuation.timestamp) == ("1.50", None)


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"account_type": "Spot"}, "account_type must be a word in lower case, for example spot"),
        ({"account_type": ""}, "account_type must be"),
        ({"account_type": 1}, "account_type must be .*: got int"),
        ({"valuation_currency": "usd"}, "valuation_currency must be a word in upper case"),
        ({"valuation_currency": None}, "valuation_currency must be .*: got NoneType"),
        ({"sub_uid": "x"}, "sub_uid must be"),
    ],
)
async def test_what_cannot_be_valued_is_not_asked(said: dict[str, Any], fault: str) -> None:
    """One sentence, and nothing leaves."""
    ask = Canned([])
    with pytest.raises(InvalidInputError, match=f"^{fault}"):
        await Accounts(ask).asset_valuation(**said)
    assert ask.asked == []
