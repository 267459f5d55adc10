"""A sandbox that a test changes: balances, points, accounts and routes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from htx_async import (
    NO_RETRY,
    AccountNotFoundError,
    APIError,
    BalanceEntry,
    BalanceType,
    Credentials,
    HTXClient,
    RateLimit,
    RateLimitedError,
    RateLimiter,
    SignatureError,
)
from htx_async.sandbox import BalanceRow, Sandbox, SandboxAccount, SandboxUser, faults
from htx_async.sandbox.changes import with_balance
from tests.virtual import DAY, VirtualClock

KEYS = Credentials("access-key", "secret-key")


@pytest.fixture
def sandbox(virtual_time: VirtualClock) -> Sandbox:
    return Sandbox(clock=virtual_time)


@pytest.fixture
async def htx(sandbox: Sandbox, virtual_time: VirtualClock) -> AsyncIterator[HTXClient]:
    transport = httpx.ASGITransport(app=sandbox)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as client:
        yield client


async def test_set_balance_changes_the_next_response(sandbox: Sandbox, htx: HTXClient) -> None:
    """Amounts that are not passed stay; the serial number of the currency grows."""
    before = await htx.accounts.balance("spot")
    sandbox.set_balance("spot", "usdt", frozen="7.10")
    after = await htx.accounts.balance("spot")
    (change,) = after.changes(since=before)
    assert (change.currency, change.type, str(change.after)) == ("usdt", "frozen", "7.10")
    assert after.currencies == before.currencies
    assert [entry.seq_num for entry in after["usdt"].entries] == [478, 478]
    assert after["poly"] == before["poly"]


async def test_set_balance_adds_a_currency(sandbox: Sandbox, htx: HTXClient) -> None:
    """With a trade and a frozen row."""
    sandbox.set_balance("spot", "btc", trade=3)
    balance = await htx.accounts.balance("spot")
    assert balance.currencies == ("usdt", "poly", "btc")
    assert balance["btc"].entries == (
        BalanceEntry("btc", BalanceType.TRADE, Decimal(3), Decimal(0), None, 1),
        BalanceEntry("btc", BalanceType.FROZEN, Decimal(0), Decimal(0), None, 1),
    )


@pytest.mark.parametrize("account", [1000002, "1000002", "margin", "margin:btcusdt"])
async def test_set_balance_finds_the_account(sandbox: Sandbox, account: Any) -> None:
    sandbox.set_balance(account, "usdt", trade=Decimal("1E+3"))
    rows = sandbox.users[0].accounts[2].rows
    assert rows[-2] == BalanceRow("usdt", "trade", "1000", "0", "1000", "21")


async def test_set_balance_accepts_an_account(sandbox: Sandbox, htx: HTXClient) -> None:
    """Of a client, or of the sandbox; also that of a sub user."""
    sandbox.set_balance(await htx.accounts.find("grid-trading"), "usdt", trade="1")
    sandbox.set_balance(sandbox.users[1].accounts[0], "usdt", trade="2")
    assert (await htx.accounts.balance(1000004))["usdt"].trade == 1
    assert sandbox.users[1].accounts[0].rows[0].balance == "2"
    with pytest.raises(AccountNotFoundError):
        await htx.accounts.balance(9000001)


@pytest.mark.parametrize(
    ("account", "message"),
    [
        ("swap", "0 accounts are 'swap'. Accounts: 14403739 (point), 1000001 (spot), 10"),
        ("margin:ethusdt", "0 accounts are 'margin:ethusdt'"),
        (7, "0 accounts are '7'"),
    ],
)
def test_set_balance_lists_the_accounts_if_there_is_none(account: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Sandbox().set_balance(account, "usdt", trade="1")


def test_set_balance_rejects_a_type_of_several_accounts() -> None:
    sandbox = Sandbox(accounts=7)
    with pytest.raises(ValueError, match="3 accounts are 'margin'"):
        sandbox.set_balance("margin", "usdt", trade="1")
    sandbox.set_balance("margin:btcusdt", "usdt", trade="1")


@pytest.mark.parametrize("amount", [1.5, True, "", "x", "1,5", "NaN", Decimal("Infinity"), b"1"])
def test_set_balance_rejects_what_is_not_an_amount(amount: Any) -> None:
    sandbox = Sandbox()
    users = sandbox.users
    with pytest.raises(ValueError, match=r"^frozen must be an amount as text, int or Decimal, got"):
        sandbox.set_balance("spot", "usdt", trade="1", frozen=amount)
    assert sandbox.users is users


@pytest.mark.parametrize(
    ("rows", "currencies"),
    [
        ("", "usdt usdt"),
        ("btc", "btc usdt usdt"),
        ("usdt", "usdt usdt"),
        ("usdt eth", "usdt usdt eth"),
        ("btc usdt eth usdt", "btc usdt eth usdt usdt"),
    ],
)
def test_set_balance_adds_missing_rows_after_those_of_the_currency(
    rows: str, currencies: str
) -> None:
    types = ("trade", "trade", "trade", "loan")
    entries = [BalanceRow(name, kind, "1") for name, kind in zip(rows.split(), types, strict=False)]
    changed = with_balance(SandboxAccount(1, "spot", rows=tuple(entries)), "usdt", {"trade": "5"})
    assert [row.currency for row in changed.rows] == currencies.split()
    usdt = [(row.type, row.balance) for row in changed.rows if row.currency == "usdt"]
    assert ("trade", "5") in usdt
    assert {balance for kind, balance in usdt if kind != "trade"} <= {"0", "1"}


async def test_set_points_changes_the_sum(sandbox: Sandbox, htx: HTXClient) -> None:
    """Also in the point account."""
    sandbox.set_points("5")
    points = await htx.points.balance()
    termless = [group for group in points.group_ids if group.is_termless]
    assert [group.remain_amt for group in termless] == [5]
    assert points.acct_balance == sum(group.remain_amt for group in points.group_ids)
    point_account = await htx.accounts.balance("point")
    assert point_account["hbpoint"].trade == points.acct_balance


async def test_set_points_adds_a_group_that_expires_in_a_year(virtual_time: VirtualClock) -> None:
    users = (SandboxUser(1, accounts=(SandboxAccount(2, "spot"),)),)
    sandbox = Sandbox(users, clock=virtual_time)
    sandbox.set_points(Decimal("1.5"), 77)
    sandbox.set_points(Decimal("2.5"), 77)
    (group,) = sandbox.users[0].points.groups
    assert (group.group_id, group.remain_amt) == (77, "2.5")
    assert group.expiry_date == (int(DAY) + 365 * 24 * 3600) * 1000
    assert sandbox.users[0].accounts[0].rows == ()


@pytest.mark.parametrize(("amount", "group_id"), [(1.5, 0), ("x", 0), (1, -1)])
def test_set_points_rejects_invalid_arguments(amount: Any, group_id: int) -> None:
    with pytest.raises(ValueError, match=r"^(amount|group_id) must be"):
        Sandbox().set_points(amount, group_id)


async def test_add_account_is_listed_with_an_empty_balance(
    sandbox: Sandbox, htx: HTXClient
) -> None:
    account = sandbox.add_account("margin", "ethusdt")
    assert (await htx.accounts.find("margin", "ethusdt")).id == account.id
    assert not await htx.accounts.balance(account.id)
    sandbox.set_balance(account, "eth", trade="2")
    assert (await htx.accounts.balance("margin:ethusdt"))["eth"].trade == 2
    assert sandbox.account_ids[-1] == account.id
    assert len({account.id for user in sandbox.users for account in user.accounts}) == 8


def test_changes_need_a_user() -> None:
    for change in (
        lambda: Sandbox(()).add_account("spot"),
        lambda: Sandbox(()).set_points(1),
        lambda: Sandbox(()).set_balance(1, "usdt"),
    ):
        with pytest.raises(ValueError, match=r"the sandbox has no user|0 accounts are '1'"):
            change()


@pytest.mark.parametrize(
    ("path", "called", "data"),
    [
        ("/v2/user/mail", "/v2/user/mail", 1000),
        ("/v1/order/openOrders", "/v1/order/openOrders", [{"id": 7, "amount": "0.10"}]),
        ("/v1/order/orders/{order-id}", "/v1/order/orders/7", {"id": 7}),
        ("/v1/common/timestamp", "/v1/common/timestamp", 7),
    ],
)
@pytest.mark.parametrize("signed", [True, False])
async def test_route_responds_with_the_data(
    sandbox: Sandbox, htx: HTXClient, path: str, called: str, data: Any, signed: bool
) -> None:
    """In the envelope of the path, also instead of a path that the sandbox serves."""
    with pytest.raises(APIError) if "timestamp" not in path else pytest.raises(AssertionError):
        assert (await htx.get(called, signed=signed)).data == data
    sandbox.route(path, data)
    assert (await htx.get(called, signed=signed)).data == data
    assert sandbox.arrivals[-1].endpoint == path
    assert sandbox.arrivals[-1].uid == (1000 if signed else None)


async def test_route_can_be_replaced(sandbox: Sandbox, htx: HTXClient) -> None:
    """The data is that of the time of the call: a list that changes later has no effect."""
    rows = [1]
    sandbox.route("/v2/user/uid", rows)
    rows.append(2)
    assert (await htx.get("/v2/user/uid")).data == [1]
    sandbox.route("/v2/user/uid", rows)
    assert (await htx.get("/v2/user/uid")).data == [1, 2]


async def test_route_checks_signature_limit_and_faults(
    sandbox: Sandbox, virtual_time: VirtualClock
) -> None:
    """As every path of HTX, and fails as any other."""
    sandbox.route("/v2/user/uid", 7, limit=RateLimit(1, per=5.0))
    options: dict[str, Any] = {
        "transport": httpx.ASGITransport(app=sandbox),
        "clock": virtual_time,
        "retry": NO_RETRY,
    }
    async with HTXClient(Credentials("access-key", "wrong"), **options) as htx:
        with pytest.raises(SignatureError):
            await htx.get("/v2/user/uid")
    async with HTXClient(KEYS, **options, rate_limiter=RateLimiter()) as htx:
        await htx.get("/v2/user/uid")
        with pytest.raises(RateLimitedError):
            await htx.get("/v2/user/uid")
        await virtual_time.sleep(6)
        sandbox.faults.next(faults.maintenance(), endpoint="GET /v2/user/uid")
        with pytest.raises(APIError, match="maintenance"):
            await htx.get("/v2/user/uid")


@pytest.mark.parametrize("path", ["v2/user/uid", "", "/v2/user?x=1"])
def test_route_rejects_what_is_not_a_path(path: str) -> None:
    with pytest.raises(ValueError, match="path must start with / and not contain a query"):
        Sandbox().route(path, 1)


def test_route_rejects_data_that_is_not_json() -> None:
    with pytest.raises(TypeError, match="unsupported"):
        Sandbox().route("/v2/user/uid", object())


def test_move_is_in_the_history_if_the_total_changes() -> None:
    """With the amounts after it; an order that is placed is not, as at HTX."""
    sandbox = Sandbox()
    sandbox.set_balance("spot", "usdt", trade="10", frozen="1")
    sandbox.move("spot", "usdt", trade="4", frozen="7", cause="order.place")
    sandbox.move("spot", "usdt", frozen="2.5", cause="order.match")
    rows = [row for row in sandbox.users[0].history if row.currency == "usdt"]
    shown = [(row.transact_amt, row.transact_type) for row in rows[-2:]]
    assert shown == [("-86.010043797676510318", "other-types"), ("-4.5", "trade")]
    assert (rows[-1].avail_balance, rows[-1].acct_balance) == ("4", "6.5")
    assert rows[-1].record_id > rows[-2].record_id


def test_added_movement_has_the_present_balance() -> None:
    """It does not change it."""
    sandbox = Sandbox()
    sandbox.set_balance("spot", "usdt", trade="10", frozen="1")
    row = sandbox.add_movement("spot", "usdt", "-3")
    assert (row.avail_balance, row.acct_balance) == ("10", "11")
