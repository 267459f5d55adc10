"""Endpoints: their declarations, and the responses of each."""

from __future__ import annotations

import pytest

from htx_async.sandbox import PointsAccount, Sandbox, SandboxAccount, SandboxUser
from htx_async.sandbox.endpoint import Endpoint
from htx_async.sandbox.endpoints import ENDPOINTS, find
from tests.sandbox.signer import ManualClock, client, get_json, signed_url

BALANCE = "/v1/account/accounts/{}/balance"
POINTS = "/v2/point/account"
VALUATION = "/v2/account/asset-valuation"
SUB = {"access_key": "sub-access-key", "secret_key": "sub-secret-key"}


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(clock=ManualClock(), limits=False)


@pytest.mark.parametrize(
    ("path", "limit", "per", "permission"),
    [
        ("/v1/account/accounts", 100, 2.0, "read"),
        ("/v1/account/accounts/{account-id}/balance", 100, 2.0, "read"),
        ("/v2/account/asset-valuation", 100, 2.0, "read"),
        ("/v2/point/account", 2, 1.0, "read"),
        ("/v2/account/valuation", 3, 1.0, "read"),
        ("/v1/account/history", 5, 2.0, "read"),
        ("/v2/account/ledger", 10, 1.0, "read"),
        ("/v1/query/deposit-withdraw", 20, 2.0, "read"),
        ("/v1/account/switch/user/info", 5, 1.0, "read"),
        ("/v1/account/overview/info", 5, 1.0, "read"),
        ("/v2/user/uid", 10, 1.0, "read"),
        ("/v2/user/api-key", 10, 1.0, "read"),
        ("/v2/sub-user/user-list", 10, 1.0, "read"),
        ("/v2/sub-user/account-list", 10, 1.0, "read"),
        ("/v1/account/accounts/{sub-uid}", 20, 2.0, "read"),
        ("/v1/subuser/aggregate-balance", 2, 2.0, "read"),
        ("/v1/common/timestamp", 10, 1.0, None),
    ],
)
def test_endpoint_has_the_documented_limit(
    path: str, limit: int, per: float, permission: str | None
) -> None:
    endpoint, _ = find("GET", path)
    assert endpoint is not None
    assert endpoint.path == path
    assert (endpoint.limit, endpoint.per, endpoint.permission) == (limit, per, permission)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
async def test_endpoint_enforces_its_limit(endpoint: Endpoint) -> None:
    """Per window, with limits scaled down to 2 requests. API errors count."""
    clock = ManualClock()
    sandbox = Sandbox(clock=clock, limits=2 / endpoint.limit)
    path = endpoint.path.replace("{", "").replace("}", "")
    async with client(sandbox) as http:
        for passed, status in ((0.0, 200), (0.0, 200), (0.0, 429), (endpoint.per, 200)):
            clock.passed += passed
            response = await http.get(signed_url(path, at=clock.now()))
            assert response.status_code == status


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
async def test_endpoint_requires_a_signature_unless_it_needs_no_permission(
    sandbox: Sandbox, endpoint: Endpoint
) -> None:
    """The error has the envelope of the path."""
    async with client(sandbox) as http:
        response = (await http.get(endpoint.path)).json()
    code = response.get("err-code", response.get("code"))
    signed = {1: "login-required", 2: 1003}[endpoint.version]
    assert code == (None if endpoint.permission is None else signed)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/account/accounts"),
        ("HEAD", "/v1/account/accounts"),
        ("GET", "/v1/Account/accounts"),
        ("GET", "/v1/account/accounts/1/"),
        ("GET", "//v1/account/accounts"),
        ("GET", "/"),
        ("GET", ""),
    ],
)
def test_find_ignores_unknown_paths(method: str, path: str) -> None:
    """Paths are case sensitive and complete."""
    assert find(method, path) == (None, ())


async def test_accounts_list_has_all_accounts(sandbox: Sandbox) -> None:
    """With type, subtype and state; the otc account too."""
    response = await get_json(sandbox, "/v1/account/accounts")
    assert response["status"] == "ok"
    assert set(response) == {"status", "data"}
    first, spot, margin, *_, last = response["data"]
    assert first == {"id": 14403739, "type": "point", "subtype": "", "state": "working"}
    assert spot == {"id": 1000001, "type": "spot", "subtype": "", "state": "working"}
    assert margin == {"id": 1000002, "type": "margin", "subtype": "btcusdt", "state": "working"}
    assert last["type"] == "otc"


async def test_balance_of_the_spot_account_is_the_documented_example(
    sandbox: Sandbox,
) -> None:
    """To the letter, with its invalid fields."""
    invalid = {"debt": "invalid", "available": "invalid"}
    assert await get_json(sandbox, BALANCE.format(1000001)) == {
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


async def test_balance_omits_fields_that_are_none(sandbox: Sandbox) -> None:
    """Rows of the point account have neither debt nor available; frozen rows no available."""
    response = await get_json(sandbox, BALANCE.format(14403739))
    assert set(response["data"]["list"][0]) == {"currency", "type", "balance", "seq-num"}
    response = await get_json(sandbox, BALANCE.format(1000002))
    trade, frozen, loan, *_ = response["data"]["list"]
    assert set(trade) - set(frozen) == {"available"}
    assert loan["balance"] == "-2.433000000000000000"


async def test_balance_is_the_same_when_requested_twice(sandbox: Sandbox) -> None:
    """Its JSON is created once."""
    first = await get_json(sandbox, BALANCE.format(1000001))
    assert await get_json(sandbox, BALANCE.format(1000001)) == first


async def test_balance_of_five_hundred_accounts() -> None:
    """For each id from 1000001 on."""
    sandbox = Sandbox(accounts=500, limits=False, clock=ManualClock())
    async with client(sandbox) as http:
        for number in range(1000001, 1000501):
            response = await http.get(signed_url(BALANCE.format(number)))
            assert response.json()["data"]["id"] == number


@pytest.mark.parametrize(
    ("number", "printed"), [(372736492, "372,736,492"), (9000001, "9,000,001"), (0, "0")]
)
async def test_balance_of_another_user_is_an_api_error(
    sandbox: Sandbox, number: int, printed: str
) -> None:
    """HTX prints the ids with thousands separators; 9000001 is the sub user's."""
    assert await get_json(sandbox, BALANCE.format(number)) == {
        "status": "error",
        "err-code": "account-get-balance-account-inexistent-error",
        "err-msg": f"account for id `{printed}` and user id `1,000` does not exist",
        "data": None,
    }


@pytest.mark.parametrize("text", ["abc", "1.0", "-1", "", "9" * 20, "%D9%A1", "+1", "1%20"])
async def test_balance_rejects_a_malformed_account_id(sandbox: Sandbox, text: str) -> None:
    """Only ASCII digits are an id, and at most 19."""
    response = await get_json(sandbox, BALANCE.format(text))
    assert response["err-code"] == "validation-format-error"
    assert response["err-msg"] == "Format Error: account-id."


async def test_balance_of_an_otc_account_is_an_api_error(sandbox: Sandbox) -> None:
    """As HTX documents it."""
    response = await get_json(sandbox, BALANCE.format(1000005))
    assert response["err-msg"] == "OTC account inquiries are not supported."
    assert response["status"] == "error"


async def test_points_have_the_documented_form() -> None:
    """Groups with their expiry dates; the envelope has a code and `success`."""
    assert await get_json(Sandbox(clock=ManualClock()), POINTS) == {
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


async def test_points_of_a_sub_user_are_returned_to_its_parent(sandbox: Sandbox) -> None:
    """Each sub user has its own."""
    response = await get_json(sandbox, POINTS, ("subUid", "1001"))
    assert response["data"]["acctBalance"] == "7.25000000"
    response = await get_json(sandbox, POINTS, ("subUid", "1002"))
    assert response["data"]["groupIds"] == []


async def test_points_of_a_sub_user_are_returned_to_itself(sandbox: Sandbox) -> None:
    """Without a parameter."""
    response = await get_json(sandbox, POINTS, **SUB)
    assert response["data"]["accountId"] == "14403740"


@pytest.mark.parametrize(
    ("keys", "uid"), [({}, "1000"), ({}, "5"), (SUB, "1001"), (SUB, "1002"), (SUB, "1000")]
)
async def test_points_of_other_users_are_forbidden(
    sandbox: Sandbox, keys: dict[str, str], uid: str
) -> None:
    """Only a parent gets those of its sub users."""
    assert await get_json(sandbox, POINTS, ("subUid", uid), **keys) == {
        "code": 1002,
        "message": "forbidden",
    }


@pytest.mark.parametrize("uid", ["", "abc", "1001x", "1" * 20, "\u0661\u0660\u0660\u0661"])
async def test_points_reject_a_malformed_sub_uid(sandbox: Sandbox, uid: str) -> None:
    """An empty one too."""
    assert await get_json(sandbox, POINTS, ("subUid", uid)) == {
        "code": 2002,
        "message": "invalid field value in `subUid`",
    }


async def test_valuation_has_the_documented_form(sandbox: Sandbox) -> None:
    """That of spot accounts in BTC is the page's example; the envelope has a code and `ok`."""
    documented = {
        "code": 200,
        "data": {"balance": "34.75", "timestamp": 1700000000000},
        "ok": True,
    }
    params = (("accountType", "spot"), ("valuationCurrency", "BTC"))
    assert await get_json(sandbox, VALUATION, *params) == documented
    assert await get_json(sandbox, VALUATION) == documented


@pytest.mark.parametrize(
    ("params", "keys", "balance"),
    [
        ((("valuationCurrency", "USD"),), {}, "2259791.50"),
        ((("accountType", "margin"),), {}, "0.015000000000000001"),
        ((("accountType", "otc"),), {}, "0"),
        ((("subUid", "1001"),), {}, "0.00019230"),
        ((("subUid", "1002"),), {}, "0"),
        ((), SUB, "0.00019230"),
    ],
)
async def test_valuation_depends_on_user_type_and_currency(
    sandbox: Sandbox, params: tuple[tuple[str, str], ...], keys: dict[str, str], balance: str
) -> None:
    """The value is 0 unless the user has a valuation."""
    response = await get_json(sandbox, VALUATION, *params, **keys)
    assert response["data"]["balance"] == balance


@pytest.mark.parametrize(
    ("param", "field"),
    [
        (("accountType", "point"), "accountType"),
        (("accountType", ""), "accountType"),
        (("valuationCurrency", "usd"), "valuationCurrency"),
        (("subUid", "x"), "subUid"),
    ],
)
async def test_valuation_rejects_undocumented_values(
    sandbox: Sandbox, param: tuple[str, str], field: str
) -> None:
    """Currencies in lower case too."""
    error = {"code": 2002, "message": f"invalid field value in `{field}`"}
    assert await get_json(sandbox, VALUATION, param) == error


async def test_valuation_of_other_users_is_forbidden(sandbox: Sandbox) -> None:
    """Only a parent gets those of its sub users."""
    error = {"code": 1002, "message": "forbidden"}
    assert await get_json(sandbox, VALUATION, ("subUid", "5")) == error
    assert await get_json(sandbox, VALUATION, ("subUid", "1000"), **SUB) == error


async def test_timestamp_needs_no_signature(sandbox: Sandbox) -> None:
    """It is in milliseconds of the sandbox's clock."""
    async with client(sandbox) as http:
        response = await http.get("/v1/common/timestamp")
    assert response.json() == {"status": "ok", "data": 1700000000000}


async def test_balance_and_points_return_the_values_of_the_user() -> None:
    """States and amounts are sent unchanged."""
    points = PointsAccount("5", account_status="fl-negative", acct_balance="-1")
    users = Sandbox().users[0]
    locked = SandboxUser(77, users.keys, (SandboxAccount(3, "spot", state="lock"),), points)
    sandbox = Sandbox((locked,), clock=ManualClock())
    assert (await get_json(sandbox, BALANCE.format(3)))["data"] == {
        "id": 3,
        "type": "spot",
        "state": "lock",
        "list": [],
    }
    assert (await get_json(sandbox, POINTS))["data"] == {
        "accountId": "5",
        "groupIds": [],
        "acctBalance": "-1",
        "accountStatus": "fl-negative",
    }
