"""History, ledger, deposits and withdrawals: requests, records and errors; and the sandbox."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import attrs
import httpx
import pytest
import pytest_asyncio

from htx_async import (
    UNLIMITED,
    AccountNotFoundError,
    Accounts,
    APIError,
    Credentials,
    DecodeError,
    DepositWithdrawalState,
    HistoryRecord,
    HTXClient,
    InvalidInputError,
    PermissionDeniedError,
    Position,
    TransactType,
    TransferType,
)
from htx_async.resources import movements
from htx_async.sandbox import HistoryRow, LedgerRow, Sandbox, SandboxAccount, SandboxUser
from htx_async.sandbox.records import APIKey, DepositWithdrawalRow
from tests.resources.canned import CannedResponses
from tests.virtual import DAY, VirtualClock

NOW = datetime.fromtimestamp(DAY, UTC)
HOUR = timedelta(hours=1)
NOW_MS = int(DAY * 1000)
HISTORY = {
    "account-id": 1,
    "currency": "usdt",
    "record-id": 359044707902783800,
    "transact-amt": "-10.000000000000000000",
    "transact-type": "other-types",
    "avail-balance": "81.850043797676510303",
    "acct-balance": "0E-18",
    "transact-time": 1629882096557,
}
LEDGER = (
    '{"accountId":1,"currency":"usdt","transactAmt":-10.000000000000000001,'
    '"transactType":"transfer","transferType":"margin-transfer-in","transactId":0,'
    '"transactTime":1629882096562,"transferer":13496526,"transferee":28483123}'
)
WITHDRAWAL = (
    '{"id":45182894,"type":"withdraw","sub-type":"FAST","currency":"usdt","chain":"trc20usdt",'
    '"tx-hash":"","amount":0.1000000000000000055511151231257827,"from-addr-tag":"","address":"T",'
    '"address-tag":"","fee":0,"state":"confirmed","created-at":1612261330443,'
    '"updated-at":1612261389250}'
)


def page(rows: str, next_id: str = "") -> str:
    return f'{{"status":"ok","data":[{rows}]{next_id}}}'


def test_endpoints_have_the_documented_rate_limits() -> None:
    """That of the ledger is HTX's rule where a page states none."""
    limits = {
        endpoint.name: (endpoint.limit.requests, endpoint.limit.per)
        for endpoint in (movements.HISTORY, movements.LEDGER, movements.DEPOSITS_WITHDRAWALS)
    }
    assert limits == {
        "GET /v1/account/history": (5, 2.0),
        "GET /v2/account/ledger": (10, 1.0),
        "GET /v1/query/deposit-withdraw": (20, 2.0),
    }


async def test_history_sends_the_documented_parameters() -> None:
    """A window of an hour, the largest page, and then the id of the next page."""
    rows = json.dumps(HISTORY)
    later = json.dumps(HISTORY | {"transact-time": 1629882096558, "record-id": 3})
    last = json.dumps(HISTORY | {"transact-time": 1629882096559, "record-id": 4})
    canned = CannedResponses([page(f"{rows},{later}", ',"next-id":47996522235'), page(last)])
    start = NOW - HOUR
    records = (
        await Accounts(canned)
        .history(1, start=start, currency="usdt", types={"transfer", "trade"})
        .collect()
    )
    expected = (
        ("sort", "asc"),
        ("account-id", "1"),
        ("start-time", str(NOW_MS - 3_600_000)),
        ("end-time", str(NOW_MS)),
        ("size", "500"),
        ("currency", "usdt"),
        ("transact-types", "trade,transfer"),
    )
    path = "GET /v1/account/history"
    assert canned.requests == [(path, expected), (path, (*expected, ("from-id", "47996522235")))]
    assert [record.record_id for record in records] == [359044707902783800, 3, 4]
    record = records[0]
    assert record.transact_type is TransactType.OTHER_TYPES
    assert str(record.transact_amt) == "-10.000000000000000000"
    assert record.acct_balance == 0
    assert record.transact_time == datetime(2021, 8, 25, 9, 1, 36, 557000, UTC)


async def test_history_newest_first_reads_the_last_hour_first() -> None:
    canned = CannedResponses([page(""), page("")])
    await Accounts(canned).history(1, start=NOW - 2 * HOUR, newest_first=True).collect()
    sent = [dict(params) for _, params in canned.requests]
    assert [params["end-time"] for params in sent] == [str(NOW_MS), str(NOW_MS - 3_600_000)]
    assert {params["sort"] for params in sent} == {"desc"}


async def test_ledger_sends_the_documented_parameters() -> None:
    """Its amounts are JSON numbers, and exact."""
    canned = CannedResponses([page(LEDGER), page("")])
    start = NOW - timedelta(days=12)
    records = await Accounts(canned).ledger(1, start=start, types=["transfer"]).collect()
    first = dict(canned.requests[0][1])
    assert first == {
        "sort": "asc",
        "accountId": "1",
        "startTime": str(NOW_MS - 12 * 86_400_000),
        "endTime": str(NOW_MS - 2 * 86_400_000),
        "limit": "500",
        "transactTypes": "transfer",
    }
    assert dict(canned.requests[1][1])["startTime"] == first["endTime"]
    assert str(records[0].transact_amt) == "-10.000000000000000001"
    assert records[0].transfer_type is TransferType.MARGIN_TRANSFER_IN
    assert (records[0].transferer, records[0].transferee) == (13496526, 28483123)


async def test_ledger_that_ignores_the_order_is_sorted() -> None:
    """HTX calls the parameter deprecated, and its example has the newest first."""
    rows = [LEDGER.replace("1629882096562", str(1629882096562 - number)) for number in range(4)]
    canned = CannedResponses(
        [page(",".join(rows[:2]), ',"nextId":"9"'), page(",".join(rows[2:]), ',"nextId":0')]
    )
    iterator = Accounts(canned).ledger(1, start=NOW - timedelta(days=10))
    first = await anext(iterator)
    assert len(canned.requests) == 2
    times = [record.transact_time for record in (first, *await iterator.collect())]
    assert times == sorted(times)
    assert len(times) == 4


async def test_ledger_record_without_parties_is_accepted() -> None:
    row = '{"accountId":1,"currency":"usdt","transactAmt":1,"transactType":"transfer"'
    canned = CannedResponses([page(f'{row},"transactId":5,"transactTime":1629882096562}}')])
    (record,) = await Accounts(canned).ledger(1, start=NOW).collect()
    assert (record.transfer_type, record.transferer) == (TransferType.NONE, None)


async def test_both_sides_of_a_transfer_at_an_edge_are_returned() -> None:
    """They have the same id and time; each is in two windows, and is returned once."""
    sides = f"{LEDGER},{LEDGER.replace('-10', '10')}".replace("1629882096562", str(NOW_MS - 1))
    edge = sides.replace(str(NOW_MS - 1), str(NOW_MS - 2 * 86_400_000))
    canned = CannedResponses([page(edge), page(edge)])
    records = await Accounts(canned).ledger(1, start=NOW - timedelta(days=12)).collect()
    assert [record.transact_amt > 0 for record in records] == [False, True]


@pytest.mark.parametrize("name", [*HISTORY])
async def test_history_record_without_a_field_is_an_error(name: str) -> None:
    """All fields matter. The error has the path."""
    row = json.dumps({key: value for key, value in HISTORY.items() if key != name})
    with pytest.raises(DecodeError) as caught:
        await Accounts(CannedResponses([page(row)])).history(1, start=NOW).collect()
    assert caught.value.path == f"data[0].{name}"


@pytest.mark.parametrize("next_id", ["1.5", '"x"', "[]", "true", "-1", "1e3"])
async def test_malformed_next_page_is_an_error(next_id: str) -> None:
    """A page must not be missed silently."""
    canned = CannedResponses([page("", f',"next-id":{next_id}')])
    with pytest.raises(DecodeError, match="next-id must be a whole number") as caught:
        await Accounts(canned).history(1, start=NOW).collect()
    assert caught.value.path == "next-id"


@pytest.mark.parametrize("next_id", ["", ',"next-id":null', ',"next-id":0'])
async def test_page_without_a_next_one_is_the_last(next_id: str) -> None:
    canned = CannedResponses([page("", next_id)])
    assert await Accounts(canned).history(1, start=NOW).collect() == ()


async def test_deposits_and_withdrawals_are_read_until_a_page_has_nothing_new() -> None:
    """HTX may or may not repeat the record with the id in `from`."""
    deposit = WITHDRAWAL.replace('"withdraw"', '"deposit"')
    second = deposit.replace("45182894", "45182895")
    canned = CannedResponses(
        [page(deposit), page(f"{deposit},{second}"), page(""), page(WITHDRAWAL), page(WITHDRAWAL)]
    )
    records = await Accounts(canned).deposits_and_withdrawals(currency="usdt").collect()
    assert [record.id for record in records] == [45182894, 45182895, 45182894]
    sent = [dict(params) for _, params in canned.requests]
    assert sent[0] == {"type": "deposit", "direct": "prev", "size": "500", "currency": "usdt"}
    assert [params.get("from") for params in sent] == [
        None,
        "45182894",
        "45182895",
        None,
        "45182894",
    ]
    assert sent[-1]["type"] == "withdraw"
    assert str(records[0].amount) == "0.1000000000000000055511151231257827"
    assert records[0].fee == 0
    assert records[0].state is DepositWithdrawalState.CONFIRMED


async def test_deposits_that_do_not_continue_are_an_error() -> None:
    """Such as those of a server that ignores `from`: the iterator would not end."""
    rows = [WITHDRAWAL.replace("45182894", str(number)) for number in (1, 2)]
    canned = CannedResponses([page(",".join(rows)), page(",".join(rows))])
    iterator = Accounts(canned).deposits_and_withdrawals("withdraw")
    for _ in rows:
        await anext(iterator)
    with pytest.raises(DecodeError, match="does not continue the list"):
        await anext(iterator)


async def test_resume_needs_the_same_arguments() -> None:
    accounts = Accounts(CannedResponses([page("")] * 9))
    iterator = accounts.history("7", start=NOW - HOUR, currency="usdt")
    position = iterator.position
    assert position == Position("history currency=usdt", start=NOW - HOUR, end=NOW)
    same: dict[str, Any] = {"start": NOW - HOUR, "currency": "usdt", "resume": position}
    for accepted in ({}, {"end": NOW}, {"end": NOW + HOUR}, {"start": position.start}):
        accounts.history(7, **same | accepted)
    for wrong, text in (
        ({"currency": "btc"}, "resume is a position of 'history currency=usdt', not of"),
        ({"newest_first": True}, "resume is a position of"),
        ({"start": NOW}, "start must be that of the list that resume is from: pass 2023-11-14"),
        ({"end": NOW - HOUR / 2}, "end must be that of the list that resume is from: omit it"),
        ({"resume": attrs.evolve(position, start=None)}, "resume has no start and end"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            accounts.history(7, **same | wrong)
    with pytest.raises(InvalidInputError, match="not of 'ledger currency=usdt'"):
        accounts.ledger(7, **same)


async def test_resume_of_another_account_is_rejected() -> None:
    """The account of a name is known when it was looked up."""
    rows = [json.dumps(HISTORY | {"account-id": 7, "record-id": number}) for number in (1, 2)]
    accounts = Accounts(CannedResponses([page(",".join(rows))]))
    iterator = accounts.history(7, start=NOW - HOUR)
    await anext(iterator)
    assert iterator.position.account_id == 7
    other = accounts.history(8, start=NOW - HOUR, resume=iterator.position)
    with pytest.raises(InvalidInputError, match="resume is a position of account 7, not of 8"):
        await other.collect()


@pytest_asyncio.fixture
async def sandbox(virtual_time: VirtualClock) -> Sandbox:
    return Sandbox(clock=virtual_time, limits=False)


@pytest_asyncio.fixture
async def htx(virtual_time: VirtualClock, sandbox: Sandbox) -> AsyncIterator[HTXClient]:
    async with HTXClient(
        Credentials("access-key", "secret-key"),
        transport=httpx.ASGITransport(app=sandbox),
        rate_limiter=UNLIMITED,
        clock=virtual_time,
    ) as client:
        yield client


async def test_history_of_thirty_days_is_complete(sandbox: Sandbox, htx: HTXClient) -> None:
    """720 windows; a record at the first and the last millisecond is included."""
    start = NOW - timedelta(days=30)
    edges = [sandbox.add_movement("spot", "usdt", 1, at=at) for at in (start, NOW)]
    progress: list[tuple[int, int]] = []
    records = await htx.accounts.history(
        "spot", start=start, on_progress=lambda *numbers: progress.append(numbers)
    ).collect()
    assert len(records) == 2 + 30 * 4
    assert [records[0].record_id, records[-1].record_id] == [row.record_id for row in edges]
    assert progress == [(number, 720) for number in range(1, 721)]
    backwards = htx.accounts.history("spot", start=start, newest_first=True)
    assert await backwards.collect() == records[::-1]


async def test_history_of_a_busy_hour_is_read_in_pages(sandbox: Sandbox, htx: HTXClient) -> None:
    """Records that are added meanwhile are returned once, if they come later."""
    start = NOW - HOUR
    for number in range(1200):
        sandbox.add_movement("spot", "usdt", number, at=start + timedelta(seconds=number // 2))
    iterator = htx.accounts.history("spot", start=start, types={"transfer"})
    records: list[HistoryRecord] = []
    async for record in iterator:
        records.append(record)
        if len(records) % 400 == 0:
            sandbox.add_movement("spot", "usdt", -1, at=NOW)
            iterator = htx.accounts.history(
                "spot", start=start, types={"transfer"}, resume=iterator.position
            )
            records += await iterator.collect()
            break
    assert [int(record.transact_amt) for record in records[:1200]] == list(range(1200))
    assert records[-1].transact_amt == -1
    assert len({record.record_id for record in records}) == len(records)


async def test_ledger_of_the_sandbox_has_both_sides(htx: HTXClient) -> None:
    start = NOW - timedelta(days=180)
    paid = await htx.accounts.ledger("spot", start=start).collect()
    received = await htx.accounts.ledger("margin", start=start, currency="usdt").collect()
    assert len(paid) == 36
    assert {record.transact_amt for record in paid} == {
        -record.transact_amt for record in received if record.transferee == 1000002
    }


async def test_deposits_and_withdrawals_of_the_sandbox(htx: HTXClient) -> None:
    assert [record.id for record in await htx.accounts.deposits_and_withdrawals().collect()] == [
        24383070,
        45182894,
        61003926,
    ]
    iterator = htx.accounts.deposits_and_withdrawals("withdraw", newest_first=True)
    first = await anext(iterator)
    resumed = htx.accounts.deposits_and_withdrawals(
        "withdraw", newest_first=True, resume=iterator.position
    )
    assert [first.id, *[record.id async for record in resumed]] == [61003926, 45182894]
    assert await htx.accounts.deposits_and_withdrawals(currency="btc").collect() == ()


async def test_records_of_an_unknown_account_are_an_error(htx: HTXClient) -> None:
    """By the iterator: it looks the account up."""
    iterator = htx.accounts.history("otc-options", start=NOW - HOUR)
    with pytest.raises(AccountNotFoundError):
        await anext(iterator)
    with pytest.raises(PermissionDeniedError):  # HTX's v2 paths have no other code
        await anext(htx.accounts.ledger(5, start=NOW - HOUR))


async def test_history_of_another_account_is_an_error(sandbox: Sandbox, htx: HTXClient) -> None:
    """A response never answers another request than its own."""
    row = HistoryRow(1000002, 1, "usdt", "1", "trade", NOW_MS)
    user = attrs.evolve(sandbox.users[0], history=(row,))
    rows = [HISTORY | {"account-id": 1000002}]
    sandbox.route("/v1/account/history", rows)
    with pytest.raises(DecodeError, match=r"data\[\]\.account-id is that of another account"):
        await anext(htx.accounts.history(1000001, start=NOW - HOUR))
    assert user.history == (row,)


async def test_each_page_has_its_own_timeout(virtual_time: VirtualClock, sandbox: Sandbox) -> None:
    """A list may take longer than the timeout of a call."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await virtual_time.sleep(0.9)
        await sandbox(scope, receive, send)

    async with HTXClient(
        Credentials("access-key", "secret-key"),
        transport=httpx.ASGITransport(app=slow),
        timeout=1.0,
        clock=virtual_time,
    ) as htx:
        start = NOW - timedelta(hours=5)
        assert await htx.accounts.history(1000001, start=start).collect()
    assert sandbox.requests == 5
    assert virtual_time.monotonic() >= 4.5


LISTED = SandboxUser(
    1,
    (APIKey("access-key", "secret-key"),),
    (SandboxAccount(7, "spot"),),
    ledger=tuple(
        LedgerRow(7, "usdt", f"{number}.000000000000000001", "otc-to-spot", 0, NOW_MS, 7, 8)
        for number in range(3)
    ),
    deposits_withdrawals=(DepositWithdrawalRow(1, "deposit", "usdt", "1e-18", NOW_MS),),
)


async def test_sandbox_sends_amounts_of_the_ledger_as_exact_numbers(
    virtual_time: VirtualClock,
) -> None:
    transport = httpx.ASGITransport(app=Sandbox((LISTED,), clock=virtual_time))
    credentials = Credentials("access-key", "secret-key")
    async with HTXClient(credentials, transport=transport, clock=virtual_time) as htx:
        assert await htx.accounts.history(7, start=NOW).collect() == ()
        records = await htx.accounts.ledger(7, start=NOW).collect()
        assert [record.transact_amt for record in records] == [
            Decimal(f"{number}.000000000000000001") for number in range(3)
        ]
        (deposit,) = await htx.accounts.deposits_and_withdrawals("deposit").collect()
        assert deposit.amount == Decimal("1E-18")


async def sandbox_error(htx: HTXClient, path: str, **params: str | int) -> str | int | None:
    """Return the code of the API error to a request."""
    names = {name.replace("_", "-"): value for name, value in params.items()}
    with pytest.raises(APIError) as caught:
        await htx.get(path, params=names)
    return caught.value.code


async def test_sandbox_rejects_windows_that_htx_rejects(htx: HTXClient) -> None:
    path, account = "/v1/account/history", 1000001
    hour, day = 3_600_000, 86_400_000
    for start, end in (
        (NOW_MS - hour - 1, NOW_MS),  # too long
        (NOW_MS - 31 * day, NOW_MS - 31 * day + hour),  # too old
        (NOW_MS, NOW_MS + hour),  # in the future
        (NOW_MS, NOW_MS - 1),
    ):
        times = {"start_time": start, "end_time": end}
        assert (
            await sandbox_error(htx, path, account_id=account, **times) == "base-date-limit-error"
        )
    ledger = "/v2/account/ledger"
    start = NOW_MS - 10 * day - 1
    assert await sandbox_error(htx, ledger, accountId=account, startTime=start) == 2002
    assert (await htx.get(path, params={"account-id": account})).data is not None


async def test_sandbox_rejects_parameters_that_htx_rejects(htx: HTXClient) -> None:
    path, own = "/v1/account/history", {"account_id": 1000001}
    assert await sandbox_error(htx, path) == "validation-constraints-required"
    assert "inexistent" in str(await sandbox_error(htx, path, account_id=9_000_001))
    for wrong in (
        {"size": 0},
        {"size": 501},
        {"sort": "up"},
        {"currency": "USDT"},
        {"transact_types": "gift"},
        {"start_time": "x"},
    ):
        assert await sandbox_error(htx, path, **own, **wrong) == "validation-format-error"
    assert await sandbox_error(htx, path, **own, from_id=5) == "validation-constraints-error"
    deposits = "/v1/query/deposit-withdraw"
    assert await sandbox_error(htx, deposits) == "validation-constraints-required"
    assert await sandbox_error(htx, deposits, type="gift") == "validation-format-error"
    assert await sandbox_error(htx, "/v2/account/ledger") == 2003


async def test_sandbox_returns_only_deposits_to_a_sub_user(
    sandbox: Sandbox, virtual_time: VirtualClock
) -> None:
    credentials = Credentials("sub-access-key", "sub-secret-key")
    transport = httpx.ASGITransport(app=sandbox)
    async with HTXClient(credentials, transport=transport, clock=virtual_time) as htx:
        assert await htx.accounts.deposits_and_withdrawals("deposit").collect() == ()
        with pytest.raises(APIError) as caught:
            await htx.accounts.deposits_and_withdrawals("withdraw").collect()
        assert isinstance(caught.value, PermissionDeniedError | APIError)


async def test_sandbox_has_no_examples_of_otc_accounts(htx: HTXClient) -> None:
    start = NOW - timedelta(hours=12)
    assert await htx.accounts.history("otc", start=start).collect() == ()
    assert await htx.accounts.history("point", start=start).collect() == ()


def test_movement_that_is_added_is_checked(virtual_time: VirtualClock) -> None:
    sandbox = Sandbox(clock=virtual_time)
    with pytest.raises(ValueError, match="amount must be"):
        sandbox.add_movement("spot", "usdt", 1.5, at=NOW)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 accounts are"):
        sandbox.add_movement("nothing", "usdt", 1, at=NOW)
