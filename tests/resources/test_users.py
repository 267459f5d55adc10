"""`Users`, deductions and platform valuations: requests, models and the sandbox."""

from __future__ import annotations

import json
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
import pytest_asyncio

from htx_async import (
    AccessKeyError,
    Accounts,
    APIError,
    APIKeyInfo,
    APIKeyStatus,
    Credentials,
    DecodeError,
    Deduction,
    DistributionType,
    HTXClient,
    InvalidInputError,
    Permission,
    Points,
    SubUserState,
    Users,
)
from htx_async.models.users import APIKeyRow
from htx_async.resources import accounts, points, users
from htx_async.sandbox import APIKey, BalanceRow, Sandbox, SandboxAccount, SandboxUser
from tests.decoded import decode
from tests.resources.canned import CannedResponses
from tests.virtual import VirtualClock

KEYS: list[dict[str, Any]] = [
    {
        "accessKey": "160bb889-other-key",
        "status": "normal",
        "note": "host",
        "permission": "trade,readOnly",
        "ipAddresses": "192.168.0.1,192.168.1.1",
        "validDays": -1,
        "createTime": 1615192704000,
        "updateTime": 1623030338000,
    },
    {"accessKey": "own-key", "permission": "readOnly,trade,withdraw", "validDays": 7},
]


def test_endpoints_have_the_documented_rate_limits() -> None:
    """10 in 1 s where a page states none."""
    limits = {
        endpoint.name.removeprefix("GET "): (endpoint.limit.requests, endpoint.limit.per)
        for endpoint in (
            users.UID,
            users.API_KEY,
            users.SUB_USERS,
            users.SUB_USER_ACCOUNTS,
            users.SUB_USER_BALANCE,
            users.AGGREGATE_BALANCE,
            accounts.PLATFORM_VALUATION,
            points.SWITCHES,
            points.CURRENCIES,
        )
    }
    assert limits == {
        "/v2/user/uid": (10, 1.0),
        "/v2/user/api-key": (10, 1.0),
        "/v2/sub-user/user-list": (10, 1.0),
        "/v2/sub-user/account-list": (10, 1.0),
        "/v1/account/accounts/{sub-uid}": (20, 2.0),
        "/v1/subuser/aggregate-balance": (2, 2.0),
        "/v2/account/valuation": (3, 1.0),
        "/v1/account/switch/user/info": (5, 1.0),
        "/v1/account/overview/info": (5, 1.0),
    }


async def test_api_key_is_the_one_that_signs() -> None:
    """HTX lists all keys of the UID."""
    canned = CannedResponses(["63628520", json.dumps(KEYS)])
    key = await Users(canned).api_key()
    assert canned.requests == [
        ("GET /v2/user/uid", ()),
        ("GET /v2/user/api-key", (("uid", "63628520"),)),
    ]
    permissions = (Permission.READ_ONLY, Permission.TRADE, Permission.WITHDRAW)
    assert key == APIKeyInfo("", APIKeyStatus.NORMAL, permissions, (), 7, None, None)


async def test_api_key_of_another_key_is_compared_and_not_sent() -> None:
    canned = CannedResponses(["1", json.dumps(KEYS)])
    key = await Users(canned).api_key("160bb889-other-key")
    assert key.ip_addresses == ("192.168.0.1", "192.168.1.1")
    assert key.valid_days is None
    assert key.create_time == datetime(2021, 3, 8, 8, 38, 24, tzinfo=UTC)
    assert "other-key" not in repr(canned.requests) + repr(key) + key.to_json()
    assert APIKeyInfo.from_json(key.to_json()) == key


async def test_unknown_api_key_is_an_error_without_the_key() -> None:
    """Nor are the keys that HTX listed in the frames of the traceback."""
    canned = CannedResponses(["1", json.dumps(KEYS)])
    with pytest.raises(AccessKeyError, match="HTX lists no such API key") as caught:
        await Users(canned).api_key("unknown-key")
    frames = caught.value.__traceback__
    assert frames is not None
    trace = traceback.TracebackException(
        type(caught.value), caught.value, frames.tb_next, capture_locals=True
    )
    text = "".join(trace.format())
    assert "unknown-key" not in text
    assert "other-key" not in text


def test_row_of_an_api_key_does_not_show_the_key() -> None:
    """Tracebacks with local variables contain its repr."""
    (row, _) = decode(tuple[APIKeyRow, ...], json.dumps([*KEYS[:1], KEYS[1]]))
    assert row.access_key == "160bb889-other-key"
    assert repr(row) == "APIKeyRow(...)"


@pytest.mark.parametrize("name", ["accessKey", "permission", "validDays"])
async def test_api_key_without_what_matters_is_an_error(name: str) -> None:
    """A key that expires must not seem not to."""
    rows = [{key: value for key, value in KEYS[0].items() if key != name}]
    with pytest.raises(DecodeError) as caught:
        await Users(CannedResponses(["1", json.dumps(rows)])).api_key()
    assert caught.value.path == f"data[0].{name}"


async def test_sub_users_are_read_in_pages() -> None:
    row = '{"uid":%d,"userState":"lock","subUserName":"algo","note":"n"}'
    first = f'{{"status":"ok","data":[{row % 1},{row % 2}],"nextId":132208121}}'
    canned = CannedResponses([first, f"[{row % 132208121}]"])
    iterator = Users(canned).sub_users()
    assert [(await anext(iterator)).uid for _ in range(2)] == [1, 2]
    assert len(canned.requests) == 1
    resumed = Users(canned).sub_users(resume=iterator.position)
    (last,) = await resumed.collect()
    assert (last.uid, last.user_state, last.sub_user_name) == (132208121, SubUserState.LOCK, "algo")
    assert canned.requests[1] == ("GET /v2/sub-user/user-list", (("fromId", "132208121"),))


async def test_sub_user_accounts_are_those_of_the_documented_example() -> None:
    example = (
        '{"uid":132208121,"deductMode":"sub","list":[{"accountType":"isolated-margin",'
        '"activation":"activated"},{"accountType":"spot","activation":"activated",'
        '"transferrable":true,"accountIds":[{"accountId":12255180,"accountStatus":"normal"}]}]}'
    )
    canned = CannedResponses([example])
    result = await Users(canned).sub_user_accounts(132208121)
    assert canned.requests == [("GET /v2/sub-user/account-list", (("subUid", "132208121"),))]
    margin, spot = result.list
    assert (margin.transferrable, margin.account_ids) == (None, ())
    assert (spot.transferrable, spot.account_ids[0].account_id) == (True, 12255180)
    assert type(result).from_json(result.to_json()) == result


async def test_sub_user_balance_is_that_of_the_documented_example() -> None:
    example = (
        '[{"id":13704588,"type":"spot","state":"working","list":[{"currency":"usdt",'
        '"type":"trade","balance":"8.0855916572","debt":"invalid","available":"invalid"}],'
        '"symbol":""},{"id":24994285,"type":"point","state":"working","list":[{"currency":'
        '"hbpoint","type":"trade","balance":"10"}],"symbol":""}]'
    )
    canned = CannedResponses([example])
    spot, point = await Users(canned).sub_user_balance("5")
    assert canned.paths == ["GET /v1/account/accounts/5"]
    assert spot["usdt"].trade == Decimal("8.0855916572")
    assert point["hbpoint"].total == 10
    assert repr(spot).startswith("SubUserBalance(id=13704588")
    assert type(spot).from_json(spot.to_json()) == spot


async def test_aggregate_balance_is_that_of_the_documented_example() -> None:
    canned = CannedResponses(['[{"currency":"usdt","balance":"8.08559165","type":"spot"}]'])
    (balance,) = await Users(canned).aggregate_balance()
    assert (balance.type, str(balance.balance)) == ("spot", "8.08559165")


SWITCHES = [
    ('{"pointSwitch":"1","htxSwitch":"0","currency":"HTX"}', (True, False, "htx")),
    ('{"pointSwitch":0,"currencySwitch":1,"deductionCurrency":"TRX"}', (False, True, "trx")),
    ('{"pointSwitch":"0","htxSwitch":"0","currency":"0"}', (False, False, None)),
    ('{"pointSwitch":0,"currencySwitch":0,"deductionCurrency":0}', (False, False, None)),
    ('{"pointSwitch":false,"currencySwitch":true,"deductionCurrency":"htx"}', (False, True, "htx")),
]
"""The page's example, its table, and what HTX returns if nothing is set."""


@pytest.mark.parametrize(("switches", "expected"), SWITCHES)
async def test_deduction_accepts_both_shapes(switches: str, expected: Any) -> None:
    canned = CannedResponses([switches, '{"currency":"HTX, TRX"}'])
    result = await Points(canned).deduction()
    assert (result.point_switch, result.currency_switch, result.deduction_currency) == expected
    assert result.currencies == ("htx", "trx")
    assert canned.paths == ["GET /v1/account/switch/user/info", "GET /v1/account/overview/info"]


@pytest.mark.parametrize(
    ("switches", "path"),
    [
        ('{"htxSwitch":"0"}', "data.pointSwitch"),
        ('{"pointSwitch":"2","htxSwitch":"0"}', "data.pointSwitch"),
        ('{"pointSwitch":"1"}', "data.currencySwitch"),
        ('{"pointSwitch":"1","currencySwitch":"on"}', "data.currencySwitch"),
    ],
)
async def test_deduction_without_a_switch_is_an_error(switches: str, path: str) -> None:
    canned = CannedResponses([switches, '{"currency":"TRX"}'])
    with pytest.raises(DecodeError) as caught:
        await Points(canned).deduction()
    assert caught.value.path == path


async def test_platform_valuation_is_that_of_the_documented_example() -> None:
    example = (
        '{"updated":{"success":true,"time":1629916724000},"todayProfitRate":'
        '"0.004638293764657609","totalBalance":"0.06276321","todayProfit":"-0.00028977",'
        '"profitAccountBalanceList":[{"distributionType":"11","balance":0.05728808,'
        '"success":true,"accountBalance":"0.05728808"}]}'
    )
    canned = CannedResponses([example])
    valuation = await Accounts(canned).valuation("1")
    params = (("valuationCurrency", "BTC"), ("accountType", "1"))
    assert canned.requests == [("GET /v2/account/valuation", params)]
    (part,) = valuation.profit_account_balance_list
    assert part.distribution_type is DistributionType.USDT_SWAPS
    assert str(part.balance) == str(part.account_balance) == "0.05728808"
    assert valuation.today_profit == Decimal("-0.00028977")
    assert valuation.updated is not None
    assert valuation.updated.success is True
    assert type(valuation).from_json(valuation.to_json()) == valuation


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ("{}", "data.totalBalance"),
        ('{"totalBalance":"1","profitAccountBalanceList":{}}', "data.profitAccountBalanceList"),
        (
            (
                '{"totalBalance":"1","profitAccountBalanceList":[{"distributionType":"1",'
                '"accountBalance":"0"}]}'
            ),
            "data.profitAccountBalanceList[0].success",
        ),
    ],
)
async def test_malformed_platform_valuation_is_an_error(data: str, path: str) -> None:
    """Without `success` a part of 0 may be one that HTX could not value."""
    with pytest.raises(DecodeError) as caught:
        await Accounts(CannedResponses([data])).valuation()
    assert caught.value.path == path


@pytest_asyncio.fixture
async def htx(virtual_time: VirtualClock) -> AsyncIterator[HTXClient]:
    transport = httpx.ASGITransport(app=Sandbox(clock=virtual_time))
    credentials = Credentials("access-key", "secret-key")
    async with HTXClient(credentials, transport=transport, clock=virtual_time) as client:
        yield client


async def test_users_of_the_sandbox(htx: HTXClient) -> None:
    assert await htx.users.uid() == 1000
    assert [user.uid async for user in htx.users.sub_users()] == [1001, 1002]
    listed = await htx.users.sub_user_accounts(1001)
    assert listed.list[0].account_ids[0].account_id == 9_000_001
    (balance,) = await htx.users.sub_user_balance(1001)
    assert balance["usdt"].trade == Decimal("12.5")
    assert balance.received_at is not None
    assert await htx.users.sub_user_balance(1002) == ()
    (total,) = await htx.users.aggregate_balance()
    assert total.balance == Decimal("12.5")


async def test_api_key_of_the_sandbox(htx: HTXClient) -> None:
    """A program can check its own key when it starts."""
    for key in (await htx.users.api_key(), await htx.users.api_key("access-key")):
        assert (key.permission, key.valid_days) == ((Permission.READ_ONLY,), 90)
    with pytest.raises(AccessKeyError):
        await htx.users.api_key("sub-access-key")
    with pytest.raises(InvalidInputError):
        await htx.users.api_key(" ")


async def test_api_key_of_rotated_credentials(virtual_time: VirtualClock) -> None:
    """A provider is called for the first request, and its key is compared."""

    async def provider() -> Credentials:
        return Credentials("access-key", "secret-key")

    transport = httpx.ASGITransport(app=Sandbox(clock=virtual_time))
    async with HTXClient(provider, transport=transport, clock=virtual_time) as htx:
        assert not htx._is_own_key("access-key")
        assert (await htx.users.api_key()).status == "normal"


async def test_deduction_and_valuation_of_the_sandbox(htx: HTXClient) -> None:
    assert await htx.points.deduction() == Deduction(True, False, None, ("htx", "trx"))  # noqa: FBT003
    valuation = await htx.accounts.valuation()
    parts = valuation.profit_account_balance_list
    assert sum(part.account_balance for part in parts) == valuation.total_balance
    (spot,) = (await htx.accounts.valuation(DistributionType.SPOT)).profit_account_balance_list
    assert spot.account_balance == Decimal("34.75")


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/v2/user/api-key", {"uid": "1001"}),
        ("/v2/user/api-key", {}),
        ("/v2/sub-user/user-list", {}),
        ("/v1/subuser/aggregate-balance", {}),
        ("/v1/account/accounts/1002", {}),
    ],
)
async def test_sandbox_rejects_sub_users(
    virtual_time: VirtualClock, path: str, params: dict[str, str]
) -> None:
    """These endpoints are for parent users."""
    transport = httpx.ASGITransport(app=Sandbox(clock=virtual_time))
    credentials = Credentials("sub-access-key", "sub-secret-key")
    async with HTXClient(credentials, transport=transport, clock=virtual_time) as sub_user:
        with pytest.raises(APIError):
            await sub_user.get(path, params=params)


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("/v2/user/api-key", {}, 2003),
        ("/v2/user/api-key", {"uid": "9"}, 1002),
        ("/v2/sub-user/account-list", {}, 2003),
        ("/v2/sub-user/account-list", {"subUid": "9"}, 1002),
        ("/v2/sub-user/user-list", {"fromId": "9"}, 2002),
        ("/v1/account/accounts/9", {}, "base-operation-forbidden"),
        ("/v2/account/valuation", {"valuationCurrency": "USD"}, 2002),
        ("/v2/account/valuation", {"accountType": "17"}, 2002),
    ],
)
async def test_sandbox_rejects_wrong_users(
    htx: HTXClient, path: str, params: dict[str, str], code: str | int
) -> None:
    with pytest.raises(APIError) as caught:
        await htx.get(path, params=params)
    assert caught.value.code == code


async def test_sandbox_returns_the_keys_of_a_sub_user(htx: HTXClient) -> None:
    rows = (await htx.get("/v2/user/api-key", params={"uid": 1001})).data
    assert [row["accessKey"] for row in rows] == ["sub-access-key"]
    params: dict[str, str | int | Decimal] = {"uid": 1000, "accessKey": "other"}
    assert (await htx.get("/v2/user/api-key", params=params)).data == []


async def test_sub_users_have_no_otc_balance(virtual_time: VirtualClock) -> None:
    """Loans are not part of the aggregated balance."""
    rows = (BalanceRow("btc", "trade", "1"), BalanceRow("btc", "loan", "-5"))
    accounts = (SandboxAccount(7, "margin", "btcusdt", rows=rows), SandboxAccount(8, "otc"))
    parent = SandboxUser(1, (APIKey("access-key", "secret-key"),))
    sandbox = Sandbox((parent, SandboxUser(2, accounts=accounts, parent=1)), clock=virtual_time)
    transport = httpx.ASGITransport(app=sandbox)
    credentials = Credentials("access-key", "secret-key")
    async with HTXClient(credentials, transport=transport, clock=virtual_time) as htx:
        (balance,) = await htx.users.sub_user_balance(2)
        assert balance.symbol == "btcusdt"
        (total,) = await htx.users.aggregate_balance()
        assert total.balance == 1
        margin = (await htx.users.sub_user_accounts(2)).list[1]
        assert margin.account_ids[0].sub_type == "btcusdt"
        setting = await htx.points.deduction()
        assert (setting.point_switch, setting.deduction_currency) == (False, None)


async def test_sandbox_lists_sub_users_in_pages(virtual_time: VirtualClock) -> None:
    key = APIKey("access-key", "secret-key", expired=False, valid_days=-1, ip_addresses=())
    parent = SandboxUser(1, (key,))
    sandbox = Sandbox(
        (parent, *(SandboxUser(uid, parent=1) for uid in range(1200, 1000, -1))),
        clock=virtual_time,
    )
    transport = httpx.ASGITransport(app=sandbox)
    credentials = Credentials("access-key", "secret-key")
    async with HTXClient(credentials, transport=transport, clock=virtual_time) as htx:
        assert [user.uid async for user in htx.users.sub_users()] == list(range(1001, 1201))
        assert sandbox.requests == 2
        assert (await htx.users.api_key()).valid_days is None
