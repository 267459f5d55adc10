"""What the endpoints answer, and which paths there are."""

from __future__ import annotations

from typing import Any

import pytest

from htx_async.sandbox import PointsAccount, Sandbox, SandboxAccount, SandboxUser
from htx_async.sandbox.endpoints import ENDPOINTS, find
from htx_async.sandbox.state import World
from tests.sandbox.signer import HandClock, ask, client, url

BALANCE = "/v1/account/accounts/{}/balance"
POINTS = "/v2/point/account"
VALUATION = "/v2/account/asset-valuation"
SUB = {"access_key": "sub-access-key", "secret_key": "sub-secret-key"}


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(clock=HandClock(), limits=False)


def test_the_table_has_the_documented_limits() -> None:
    """Requests per seconds, and who must sign."""
    limits = {each.path: (each.limit, each.per, each.permission) for each in ENDPOINTS}
    assert limits == {
        "/v1/account/accounts": (100, 2.0, "read"),
        "/v1/account/accounts/{account-id}/balance": (100, 2.0, "read"),
        "/v2/account/asset-valuation": (100, 2.0, "read"),
        "/v2/point/account": (2, 1.0, "read"),
        "/v1/common/timestamp": (10, 1.0, None),
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/account/accounts"),
        ("HEAD", "/v1/account/accounts"),
        ("GET", "/v1/Account/accounts"),
        ("GET", "/v1/account/accounts/"),
        ("GET", "/v1/account/accounts/1"),
        ("GET", "//v1/account/accounts"),
        ("GET", "/"),
        ("GET", ""),
    ],
)
def test_other_paths_are_not_there(method: str, path: str) -> None:
    """Paths are case sensitive, and end where they end."""
    assert find(method, path) is None


async def test_the_list_of_accounts(sandbox: Sandbox) -> None:
    """All accounts with type, subtype and state, the otc account too."""
    answer = await ask(sandbox, "/v1/account/accounts")
    assert answer["status"] == "ok"
    assert set(answer) == {"status", "data"}
    first, spot, margin, *_, last = answer["data"]
    assert first == {"id": 14403739, "type": "point", "subtype": "", "state": "working"}
    assert spot == {"id": 1000001, "type": "spot", "subtype": "", "state": "working"}
    assert margin == {"id": 1000002, "type": "margin", "subtype": "btcusdt", "state": "working"}
    assert last["type"] == "otc"


async def test_the_balance_of_the_spot_account_is_the_documented_example(
    sandbox: Sandbox,
) -> None:
    """To the letter, with its invalid fields."""
    invalid = {"debt": "invalid", "available": "invalid"}
    assert await ask(sandbox, BALANCE.format(1000001)) == {
        "status": "ok",
        "data": {
            "id": 1000001,
            "type": "spot",
            "state": "working",
            "list": [
                {
                    "currency": "usdt",
                    "type": "trade",
                    "balance": "91.850043797676510303",
                    **invalid,
                    "seq-num": "477",
                },
                {
                    "currency": "usdt",
                    "type": "frozen",
                    "balance": "5.160000000000000015",
                    **invalid,
                    "seq-num": "477",
                },
                {
                    "currency": "poly",
                    "type": "trade",
                    "balance": "147.928994082840236",
                    **invalid,
                    "seq-num": "2",
                },
            ],
        },
    }


async def test_fields_that_are_none_are_left_out(sandbox: Sandbox) -> None:
    """Rows of the point account have neither debt nor available; frozen rows no available."""
    answer = await ask(sandbox, BALANCE.format(14403739))
    assert set(answer["data"]["list"][0]) == {"currency", "type", "balance", "seq-num"}
    answer = await ask(sandbox, BALANCE.format(1000002))
    trade, frozen, loan, *_ = answer["data"]["list"]
    assert set(trade) - set(frozen) == {"available"}
    assert loan["balance"] == "-2.433000000000000000"


async def test_a_balance_is_the_same_when_asked_twice(sandbox: Sandbox) -> None:
    """Its JSON is made once."""
    first = await ask(sandbox, BALANCE.format(1000001))
    assert await ask(sandbox, BALANCE.format(1000001)) == first


async def test_five_hundred_accounts_can_be_read() -> None:
    """Each id that the sandbox names, and each one from 1000001 on."""
    sandbox = Sandbox(accounts=500, limits=False, clock=HandClock())
    async with client(sandbox) as http:
        for number in range(1000001, 1000501):
            answer = await http.get(url(BALANCE.format(number)))
            assert answer.json()["data"]["id"] == number


@pytest.mark.parametrize(
    ("number", "printed"), [(372736492, "372,736,492"), (9000001, "9,000,001"), (0, "0")]
)
async def test_an_account_of_somebody_else_does_not_exist(
    sandbox: Sandbox, number: int, printed: str
) -> None:
    """HTX prints the ids with thousands separators; 9000001 is the sub user's."""
    assert await ask(sandbox, BALANCE.format(number)) == {
        "status": "error",
        "err-code": "account-get-balance-account-inexistent-error",
        "err-msg": f"account for id `{printed}` and user id `1,000` does not exist",
        "data": None,
    }


@pytest.mark.parametrize("text", ["abc", "1.0", "-1", "", "9" * 20, "%D9%A1", "+1", "1%20"])
async def test_what_is_no_id_is_a_format_error(sandbox: Sandbox, text: str) -> None:
    """Only ASCII digits are an id, and not too many."""
    answer = await ask(sandbox, BALANCE.format(text))
    assert answer["err-code"] == "validation-format-error"
    assert answer["err-msg"] == "Format Error: account-id."


async def test_an_otc_account_cannot_be_read(sandbox: Sandbox) -> None:
    """HTX says so in its documentation."""
    answer = await ask(sandbox, BALANCE.format(1000005))
    assert answer["err-msg"] == "OTC account inquiries are not supported."
    assert answer["status"] == "error"


async def test_points_look_as_documented() -> None:
    """Groups with their expiry dates; the envelope has a code and success."""
    assert await ask(Sandbox(clock=HandClock()), POINTS) == {
        "code": 200,
        "data": {
            "accountId": "14403739",
            "groupIds": [
                {"groupId": 26, "expiryDate": 1893456000000, "remainAmt": "0.3"},
                {"groupId": 418, "expiryDate": 1924992000000, "remainAmt": "120.50000000"},
                {"groupId": 5077, "expiryDate": 1956528000000, "remainAmt": "3.14159265"},
                {"groupId": 0, "expiryDate": None, "remainAmt": "25.00000001"},
            ],
            "acctBalance": "148.94159266",
            "accountStatus": "working",
        },
        "success": True,
    }


async def test_a_parent_asks_for_the_points_of_its_sub_users(sandbox: Sandbox) -> None:
    """Each sub user has its own."""
    answer = await ask(sandbox, POINTS, ("subUid", "1001"))
    assert answer["data"]["acctBalance"] == "7.25000000"
    answer = await ask(sandbox, POINTS, ("subUid", "1002"))
    assert answer["data"]["groupIds"] == []


async def test_a_sub_user_asks_for_its_own_points(sandbox: Sandbox) -> None:
    """Without naming anybody."""
    answer = await ask(sandbox, POINTS, **SUB)
    assert answer["data"]["accountId"] == "14403740"


@pytest.mark.parametrize(
    ("who", "uid"), [({}, "1000"), ({}, "5"), (SUB, "1001"), (SUB, "1002"), (SUB, "1000")]
)
async def test_points_of_others_are_forbidden(
    sandbox: Sandbox, who: dict[str, str], uid: str
) -> None:
    """Only a parent may ask, and only for its sub users."""
    assert await ask(sandbox, POINTS, ("subUid", uid), **who) == {
        "code": 1002,
        "message": "forbidden",
    }


@pytest.mark.parametrize("uid", ["", "abc", "1001x", "1" * 20, "\u0661\u0660\u0660\u0661"])
async def test_a_malformed_sub_uid_is_an_invalid_field(sandbox: Sandbox, uid: str) -> None:
    """An empty one too."""
    assert await ask(sandbox, POINTS, ("subUid", uid)) == {
        "code": 2002,
        "message": "invalid field value in `subUid`",
    }


async def test_a_valuation_looks_as_documented(sandbox: Sandbox) -> None:
    """That of spot accounts in BTC is the page's example; the envelope has a code and ok."""
    documented = {
        "code": 200,
        "data": {"balance": "34.75", "timestamp": 1700000000000},
        "ok": True,
    }
    asked = (("accountType", "spot"), ("valuationCurrency", "BTC"))
    assert await ask(sandbox, VALUATION, *asked) == documented
    assert await ask(sandbox, VALUATION) == documented


@pytest.mark.parametrize(
    ("asked", "who", "balance"),
    [
        ((("valuationCurrency", "USD"),), {}, "2259791.50"),
        ((("accountType", "margin"),), {}, "0.015000000000000001"),
        ((("accountType", "otc"),), {}, "0"),
        ((("subUid", "1001"),), {}, "0.00019230"),
        ((("subUid", "1002"),), {}, "0"),
        ((), SUB, "0.00019230"),
    ],
)
async def test_everybody_is_valued_by_type_and_currency(
    sandbox: Sandbox, asked: tuple[tuple[str, str], ...], who: dict[str, str], balance: str
) -> None:
    """What the world does not say is worth nothing."""
    answer = await ask(sandbox, VALUATION, *asked, **who)
    assert answer["data"]["balance"] == balance


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (("accountType", "point"), "accountType"),
        (("accountType", ""), "accountType"),
        (("valuationCurrency", "usd"), "valuationCurrency"),
        (("subUid", "x"), "subUid"),
    ],
)
async def test_what_the_page_does_not_name_is_an_invalid_field(
    sandbox: Sandbox, asked: tuple[str, str], field: str
) -> None:
    """Currencies in lower case too."""
    refused = {"code": 2002, "message": f"invalid field value in `{field}`"}
    assert await ask(sandbox, VALUATION, asked) == refused


async def test_the_valuation_of_others_is_forbidden(sandbox: Sandbox) -> None:
    """Only a parent may ask, and only for its sub users."""
    refused = {"code": 1002, "message": "forbidden"}
    assert await ask(sandbox, VALUATION, ("subUid", "5")) == refused
    assert await ask(sandbox, VALUATION, ("subUid", "1000"), **SUB) == refused


async def test_the_timestamp_needs_no_signature(sandbox: Sandbox) -> None:
    """Milliseconds by the sandbox's clock."""
    async with client(sandbox) as http:
        response = await http.get("/v1/common/timestamp")
    assert response.json() == {"status": "ok", "data": 1700000000000}


@pytest.mark.parametrize(
    ("users", "what"),
    [
        ((SandboxUser(1), SandboxUser(1)), "UID occurs twice: 1"),
        (
            (
                SandboxUser(1, accounts=(SandboxAccount(7, "spot"),)),
                SandboxUser(2, accounts=(SandboxAccount(7, "otc"),)),
            ),
            "account id occurs twice: 7",
        ),
    ],
)
def test_nothing_may_occur_twice(users: Any, what: str) -> None:
    """Ids are unique over all users."""
    with pytest.raises(ValueError, match=what):
        World(users)


async def test_accounts_and_points_say_what_they_were_given() -> None:
    """States and amounts go out as they are."""
    points = PointsAccount("5", account_status="fl-negative", acct_balance="-1")
    users = Sandbox().users[0]
    locked = SandboxUser(77, users.keys, (SandboxAccount(3, "spot", state="lock"),), points)
    sandbox = Sandbox((locked,), clock=HandClock())
    assert (await ask(sandbox, BALANCE.format(3)))["data"] == {
        "id": 3,
        "type": "spot",
        "state": "lock",
        "list": [],
    }
    assert (await ask(sandbox, POINTS))["data"] == {
        "accountId": "5",
        "groupIds": [],
        "acctBalance": "-1",
        "accountStatus": "fl-negative",
    }
