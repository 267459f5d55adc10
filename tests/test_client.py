"""`HTXClient`: the documented examples, options, lifetime, deadlines and input validation."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import pickle
import warnings
import weakref
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import formatdate
from itertools import cycle, repeat
from typing import Any

import httpx
import pytest

from htx_async import (
    UNLIMITED,
    Account,
    AccountBalance,
    AccountNotFoundError,
    ClientClosedError,
    Credentials,
    DeadlineExceededError,
    Event,
    EventLoopError,
    HTXClient,
    InvalidInputError,
    PointBalance,
    RateLimitedError,
    RateLimitQueueError,
    RetryPolicy,
    SignatureError,
)
from htx_async.resources import ENDPOINTS
from htx_async.sandbox import Sandbox
from htx_async.testing import ScriptedTransport
from tests.error_text import full_text
from tests.virtual import DAY, VirtualClock, run

KEYS = Credentials("access-key", "secret-key")


class HangingTransport(httpx.AsyncBaseTransport):
    """An httpx transport that blocks until `release` is set, and counts its requests."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.is_started = asyncio.Event()
        self.started = 0
        self.finished = 0
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        self.started += 1
        self.is_started.set()
        try:
            await self.release.wait()
        finally:
            self.finished += 1
        return httpx.Response(200, json={"status": "ok", "data": []})

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def sandbox() -> Sandbox:
    """A sandbox with the default accounts."""
    return Sandbox()


@pytest.fixture
def transport(sandbox: Sandbox) -> httpx.ASGITransport:
    """A transport to that sandbox, without a socket."""
    return httpx.ASGITransport(app=sandbox)


async def test_client_reads_accounts_balance_and_points(transport: httpx.ASGITransport) -> None:
    """The documented example works."""
    async with HTXClient(Credentials("access-key", "secret-key"), transport=transport) as htx:
        accounts = await htx.accounts.list()
        balance = await htx.accounts.balance(1000001)
        points = await htx.points.balance()

    assert all(isinstance(account, Account) for account in accounts)
    assert accounts[0].type == "point"
    assert balance["usdt"].trade == Decimal("91.850043797676510303")
    assert balance["usdt"].total == Decimal("97.010043797676510318")
    assert sum(group.remain_amt for group in points.group_ids) == points.acct_balance
    assert [group.expiry_date is None for group in points.group_ids].count(True) == 1


async def test_balance_and_points_have_the_time_of_the_response(
    virtual_time: VirtualClock,
) -> None:
    """In UTC, by the client's clock. Coalesced callers get the same time."""
    sandbox = httpx.ASGITransport(app=Sandbox(clock=virtual_time))
    transport = ScriptedTransport(
        repeat(sandbox.handle_async_request), delay=0.5, clock=virtual_time
    )
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        first, second = await asyncio.gather(*(htx.accounts.balance(1000001) for _ in range(2)))
        points = await htx.points.balance()
    assert first.received_at == datetime.fromtimestamp(DAY + 0.5, UTC)
    assert second.received_at is first.received_at
    assert points.received_at == datetime.fromtimestamp(DAY + 1.0, UTC)
    assert AccountBalance.from_json(first.to_json()).received_at == first.received_at


@pytest.mark.slow
async def test_client_reads_a_balance_over_a_socket() -> None:
    """The client connects to a `base_url`."""
    keys = Credentials("access-key", "secret-key")
    async with Sandbox().serve() as base_url, HTXClient(keys, base_url=base_url) as htx:
        balance = await htx.accounts.balance(1000001)
    assert balance["usdt"].trade == Decimal("91.850043797676510303")


async def test_balance_accepts_an_int_digits_or_an_account(
    transport: httpx.ASGITransport,
) -> None:
    """All three forms of the id return the same balance."""
    async with HTXClient(KEYS, transport=transport) as htx:
        spot = await htx.accounts.find("spot")
        balances = [await htx.accounts.balance(account) for account in (1000001, "1000001", spot)]
    assert balances[0] == balances[1] == balances[2]


async def test_asset_valuation_returns_typed_values(transport: httpx.ASGITransport) -> None:
    """The valuation works by type and currency, and for a sub user."""
    async with HTXClient(KEYS, transport=transport) as htx:
        in_usd = await htx.accounts.asset_valuation("spot", valuation_currency="USD")
        of_sub_user = await htx.accounts.asset_valuation("spot", sub_uid=1001)
    assert str(in_usd.balance) == "2259791.50"
    assert str(of_sub_user.balance) == "0.00019230"
    assert of_sub_user.timestamp is not None
    assert of_sub_user.timestamp.tzinfo is UTC


async def test_points_balance_accepts_a_sub_uid(
    sandbox: Sandbox, transport: httpx.ASGITransport
) -> None:
    """The parent user reads the points of a sub user by its UID."""
    sub_uid = sandbox.users[1].uid
    async with HTXClient(KEYS, transport=transport) as htx:
        assert await htx.points.balance(sub_uid=sub_uid) != await htx.points.balance()


async def test_find_caches_the_account_list(
    sandbox: Sandbox, transport: httpx.ASGITransport
) -> None:
    """Two hits cost one request; a miss reads the list again and the error lists the accounts."""
    async with HTXClient(KEYS, transport=transport) as htx:
        await htx.accounts.find("spot")
        await htx.accounts.find("margin")
        assert len(sandbox.arrivals) == 1
        with pytest.raises(AccountNotFoundError, match=r"1000001 \(spot\)"):
            await htx.accounts.find("etf")
        assert len(sandbox.arrivals) == 2


@pytest.mark.parametrize(
    "value",
    [True, -1, 1.0, None, "", " 1", "1 ", "1/2", "1?x", "+1", "-1", "\u0661", "1e3", b"1", []],
)
async def test_balance_rejects_invalid_ids_before_any_request(
    value: object, sandbox: Sandbox, transport: httpx.ASGITransport
) -> None:
    async with HTXClient(KEYS, transport=transport) as htx:
        with pytest.raises(InvalidInputError, match="account must be"):
            await htx.accounts.balance(value)  # type: ignore[arg-type]
        if value is not None:
            with pytest.raises(InvalidInputError, match="sub_uid must be"):
                await htx.points.balance(sub_uid=value)  # type: ignore[arg-type]
    assert not sandbox.arrivals


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 0),
        ("timeout", -1.0),
        ("timeout", float("nan")),
        ("timeout", float("inf")),
        ("timeout", None),
        ("timeout", True),
        ("max_connections", 0),
        ("retry", 3),
        ("queue_timeout", -0.5),
        ("max_queue", 1.5),
        ("max_connections", 1.5),
        ("max_body", 0),
        ("base_url", "http://api.huobi.pro"),
        ("base_url", "https://api.huobi.pro/v1"),
        ("base_url", "https://user:pass@api.huobi.pro"),
        ("base_url", "https://api.huobi.pro?x=1"),
    ],
)
def test_client_rejects_invalid_options(option: str, value: object) -> None:
    """The constructor raises, and the error names the option."""
    with pytest.raises(InvalidInputError, match=option):
        HTXClient(KEYS, **{option: value})  # type: ignore[arg-type]


def test_client_rejects_credentials_of_a_wrong_type() -> None:
    """The error about a string names its type but not its value."""
    with pytest.raises(InvalidInputError, match="got str") as caught:
        HTXClient("secret-key")  # type: ignore[arg-type]
    assert "secret-key" not in str(caught.value)


async def test_closed_client_raises_client_closed_error(transport: httpx.ASGITransport) -> None:
    """A call after `aclose` is an error; closing twice is not."""
    htx = HTXClient(KEYS, transport=transport)
    await htx.aclose()
    await htx.aclose()
    with pytest.raises(ClientClosedError, match="closed"):
        await htx.accounts.list()


def test_client_rejects_a_second_event_loop(transport: httpx.ASGITransport) -> None:
    """One client serves one event loop."""
    htx = HTXClient(KEYS, transport=transport)

    async def use() -> None:
        await htx.accounts.list()

    asyncio.run(use())
    with pytest.raises(EventLoopError, match="another event loop"):
        asyncio.run(use())
    with pytest.raises(EventLoopError, match="another event loop"):
        asyncio.run(htx.aclose())


def is_reported_as_unclosed(clients: list[HTXClient]) -> bool:
    """Drop the clients, and return whether that causes a `ResourceWarning`."""
    reference = weakref.ref(clients[0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.disable()  # there is no reference cycle
        try:
            clients.clear()
        finally:
            gc.enable()
    assert reference() is None
    messages = [str(warning.message) for warning in caught]
    assert all(message.startswith("unclosed HTXClient(") for message in messages), messages
    assert {warning.category for warning in caught} <= {ResourceWarning}
    return bool(messages)


@pytest.mark.parametrize("is_closed", [False, True])
async def test_client_that_is_not_closed_after_a_request_causes_a_resource_warning(
    transport: httpx.ASGITransport, is_closed: bool
) -> None:
    clients = [HTXClient(KEYS, transport=transport)]
    await clients[0].accounts.balance("spot")
    await clients[0].points.balance()
    if is_closed:
        await clients[0].aclose()
    assert is_reported_as_unclosed(clients) is not is_closed


async def test_client_that_sent_nothing_causes_no_resource_warning(
    transport: httpx.ASGITransport,
) -> None:
    """Also after a call that failed before its request was sent."""
    async with HTXClient(KEYS, transport=transport) as htx:
        await htx.points.balance()
        await htx.points.balance()
        clients = [HTXClient(KEYS, transport=transport, queue_timeout=0)]
        with pytest.raises(RateLimitQueueError):
            await clients[0].points.balance()
    assert not is_reported_as_unclosed(clients)


async def test_client_with_a_request_in_flight_causes_a_resource_warning() -> None:
    transport = HangingTransport()
    clients = [HTXClient(KEYS, transport=transport)]
    task = asyncio.create_task(clients[0].get("/v1/x"))
    await transport.is_started.wait()
    task.cancel()
    await asyncio.wait([task])
    del task
    assert is_reported_as_unclosed(clients)
    transport.release.set()


async def test_copy_with_options_causes_no_resource_warning_of_its_own(
    transport: httpx.ASGITransport,
) -> None:
    """A copy whose original has gone cannot be closed: it causes the warning instead."""
    async with HTXClient(KEYS, transport=transport) as htx:
        copies = [htx.with_options(timeout=5.0)]
        await copies[0].accounts.list()
        assert not is_reported_as_unclosed(copies)
    copies = [HTXClient(KEYS, transport=transport).with_options(timeout=5.0)]
    await copies[0].accounts.list()
    assert is_reported_as_unclosed(copies)


async def test_aclose_leaves_a_passed_transport_open() -> None:
    """The client closes only a transport that it created."""
    transport = HangingTransport()
    transport.release.set()
    async with HTXClient(KEYS, transport=transport) as htx:
        await htx.accounts.list()
    assert not transport.closed


@pytest.mark.usefixtures("virtual_time")
async def test_aclose_drains_requests_in_flight_and_ends_queued_calls() -> None:
    """A queued call raises `ClientClosedError`; a call in flight returns its response."""
    transport = HangingTransport()
    htx = HTXClient(KEYS, transport=transport, clock=VirtualClock())
    calls = [asyncio.create_task(htx.points.balance(sub_uid=uid)) for uid in (1, 2, 3)]
    await asyncio.sleep(0.1)
    assert transport.started == 2
    asyncio.get_running_loop().call_later(3.0, transport.release.set)
    await htx.aclose()
    assert calls[0].done()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "DecodeError",  # the response has a list instead of points
        "DecodeError",
        "ClientClosedError",
    ]
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_aclose_drains_for_five_seconds_at_most() -> None:
    """A request that takes longer is aborted, and its caller gets `ClientClosedError`."""

    async def main() -> float:
        transport = HangingTransport()
        htx = HTXClient(KEYS, transport=transport, clock=VirtualClock())
        call = asyncio.create_task(htx.accounts.list())
        await asyncio.sleep(1.0)
        await htx.aclose()
        with pytest.raises(ClientClosedError) as caught:
            await call
        assert caught.value.delivery == "unknown"
        assert transport.finished == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(6.0)


async def test_timeout_bounds_the_whole_call_and_reports_delivery(
    virtual_time: VirtualClock,
) -> None:
    """The caller resumes at its deadline, and the error reports the delivery."""
    transport = HangingTransport()
    async with HTXClient(KEYS, transport=transport, timeout=2.0, clock=virtual_time) as htx:
        calls = [asyncio.create_task(htx.points.balance(sub_uid=uid)) for uid in (1, 2, 3)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert virtual_time.monotonic() == pytest.approx(2.0)
        assert all(isinstance(outcome, DeadlineExceededError) for outcome in outcomes)
        deliveries = [getattr(outcome, "delivery", "") for outcome in outcomes]
        assert deliveries == ["unknown", "unknown", "not_sent"]
        assert all(isinstance(outcome, TimeoutError) for outcome in outcomes)
        await asyncio.sleep(0)
        assert transport.finished == 2


@pytest.mark.usefixtures("virtual_time")
async def test_cancellation_does_not_interrupt_a_request_in_flight() -> None:
    """The caller resumes immediately, and the transport is not cancelled."""
    transport = HangingTransport()
    async with HTXClient(KEYS, transport=transport, clock=VirtualClock()) as htx:
        call = asyncio.create_task(htx.accounts.list())
        await asyncio.sleep(1.0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (transport.started, transport.finished) == (1, 0)
        transport.release.set()
        await asyncio.sleep(0.1)
        assert transport.finished == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(("timeout", "ends_at"), [(30.0, 3.0), (2.0, 2.0)])
def test_request_without_callers_ends_after_two_seconds(timeout: float, ends_at: float) -> None:
    """Or when the `timeout` of the last caller has passed, if that is earlier."""

    async def main() -> None:
        transport = HangingTransport()
        clock = VirtualClock()
        async with HTXClient(KEYS, transport=transport, timeout=timeout, clock=clock) as htx:
            call = asyncio.create_task(htx.accounts.list())
            await asyncio.sleep(1.0)
            call.cancel()
            await asyncio.sleep(ends_at - clock.monotonic() - 0.1)
            assert transport.finished == 0
            await asyncio.sleep(0.2)
            assert transport.finished == 1

    run(main())


@pytest.mark.usefixtures("virtual_time")
async def test_retry_after_date_is_compared_with_the_corrected_clock() -> None:
    """If its response has no date: the local clock is an hour ahead."""
    dated = {"date": formatdate(DAY, usegmt=True)}
    blocked = {"retry-after": formatdate(DAY + 60, usegmt=True)}
    responses = iter(
        [
            httpx.Response(200, headers=dated, json={"status": "ok", "data": []}),
            httpx.Response(429, headers=blocked, json={"code": 1006}),
        ]
    )
    transport = httpx.MockTransport(lambda _: next(responses))
    async with HTXClient(KEYS, transport=transport, clock=VirtualClock(skew=3600.0)) as htx:
        await htx.accounts.list()
        with pytest.raises(RateLimitedError) as caught:
            await htx.accounts.list()
        assert caught.value.retry_after == pytest.approx(59.5)
        assert htx.limits()["GET /v1/account/accounts"].wait == pytest.approx(59.5)


def test_rate_limiting_serves_five_hundred_balances_without_429() -> None:
    """All return within 11.1 s (just over four windows of 2 s), and none is rate limited."""

    async def main() -> float:
        clock = VirtualClock()
        sandbox = Sandbox(accounts=500, clock=clock)
        inner = httpx.ASGITransport(app=sandbox)
        delays = cycle([0.005, 0.08, 0.03, 0.012])

        async def respond(request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(next(delays))
            response = await inner.handle_async_request(request)
            await asyncio.sleep(next(delays))
            return response

        transport = ScriptedTransport(repeat(respond))
        async with HTXClient(KEYS, transport=transport, clock=clock) as htx:
            balances = await asyncio.gather(*map(htx.accounts.balance, sandbox.account_ids))
            status = htx.limits()["GET /v1/account/accounts/{account-id}/balance"]
        assert sorted(balance.id for balance in balances) == sorted(sandbox.account_ids)
        assert (sandbox.rate_limited, status.used_elsewhere) == (0, 0)
        return clock.monotonic()

    assert run(main()) < 11.1


async def test_limits_show_use_by_other_programs(
    virtual_time: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Two clients of one user have a rate limiter each; a warning is logged once."""
    transport = httpx.ASGITransport(app=Sandbox(clock=virtual_time))
    name = "GET /v2/point/account"
    async with (
        HTXClient(KEYS, transport=transport, clock=virtual_time) as first,
        HTXClient(KEYS, transport=transport, clock=virtual_time) as second,
    ):
        await first.points.balance()
        assert first.limits()[name].used_elsewhere == 0
        assert not caplog.records
        for _ in range(3):
            await second.points.balance()
        assert second.limits()[name].used_elsewhere == 1
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("htx_async", "WARNING")
    assert name in record.getMessage()


async def test_unlimited_sends_calls_without_queueing() -> None:
    """Without limits on the server, 50 concurrent calls need no waiting."""
    transport = httpx.ASGITransport(app=Sandbox(limits=False))
    async with (
        HTXClient(KEYS, transport=transport, rate_limiter=UNLIMITED) as htx,
        asyncio.timeout(5),
    ):
        await asyncio.gather(
            *(htx.with_options(coalesce=False).points.balance() for _ in range(50))
        )


async def test_wrong_secret_raises_signature_error(transport: httpx.ASGITransport) -> None:
    """The error says what to check."""
    async with HTXClient(Credentials("access-key", "wrong"), transport=transport) as htx:
        with pytest.raises(SignatureError, match="secret key belongs to this access key") as caught:
            await htx.accounts.list()
    assert caught.value.code == "api-signature-not-valid"
    assert caught.value.delivery == "answered"


async def test_from_env_reads_keys_and_base_url(
    monkeypatch: pytest.MonkeyPatch, transport: httpx.ASGITransport, sandbox: Sandbox
) -> None:
    """Options take precedence over the environment."""
    monkeypatch.setenv("HTX_ACCESS_KEY", "access-key")
    monkeypatch.setenv("HTX_SECRET_KEY", "secret-key")
    monkeypatch.setenv("HTX_BASE_URL", "https://api-aws.huobi.pro")
    async with HTXClient.from_env(transport=transport) as htx:
        await htx.accounts.list()
        assert "https://api-aws.huobi.pro" in repr(htx)
    assert sandbox.arrivals[0].status == 200
    assert "api.huobi.pro'" in repr(HTXClient.from_env(base_url="https://api.huobi.pro"))


def test_from_env_names_the_missing_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTX_ACCESS_KEY", "access-key")
    monkeypatch.delenv("HTX_SECRET_KEY", raising=False)
    with pytest.raises(InvalidInputError, match="set HTX_SECRET_KEY"):
        HTXClient.from_env()


@pytest.mark.parametrize("options", [{"timeout": -1}, {"max_body": 0}, {"retry": 1}])
def test_client_whose_construction_failed_has_a_repr(options: dict[str, Any]) -> None:
    """Tracebacks with local variables contain it."""
    with pytest.raises(InvalidInputError) as caught:
        HTXClient(KEYS, **options)
    assert "HTXClient(...)" in full_text(caught.value)


@pytest.mark.parametrize("path", ["", "/path"])
def test_password_in_base_url_is_in_no_traceback(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is it in a local variable of a frame of the package."""
    base_url = f"https://user:{'p4ssw0rd'}@api.huobi.pro{path}"
    variables = {
        "HTX_ACCESS_KEY": "access-key",
        "HTX_SECRET_KEY": "secret-key",
        "HTX_BASE_URL": base_url,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    create: list[Callable[[], object]] = [
        lambda: HTXClient(KEYS, base_url=base_url),
        HTXClient.from_env,
        lambda: HTXClient.from_env(base_url=base_url),
    ]
    for function in create:
        with pytest.raises(InvalidInputError, match="user or password") as caught:
            function()
        assert "p4ssw0rd" not in full_text(caught.value)


def test_client_options_have_the_documented_defaults() -> None:
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(HTXClient.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert options == {
        "base_url": "https://api.huobi.pro",
        "timeout": 30.0,
        "attempt_timeout": 10.0,
        "retry": RetryPolicy(attempts=5, initial_delay=0.25, max_delay=8.0),
        "rate_limiter": None,
        "coalesce": True,
        "queue_timeout": None,
        "max_queue": None,
        "refresh_interval": 30.0,
        "transport": None,
        "max_connections": 20,
        "max_body": 16 * 2**20,
        "on_event": None,
        "clock": None,
    }


async def test_coalescing_of_ten_thousand_calls_through_the_client(
    virtual_time: VirtualClock,
) -> None:
    """They cost one more request, although some callers cancel, and none is rate limited."""
    sandbox = Sandbox(clock=virtual_time)
    transport = httpx.ASGITransport(app=sandbox)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        await htx.points.balance(sub_uid=1001)
        await htx.points.balance(sub_uid=1002)
        tasks = [asyncio.create_task(htx.points.balance()) for _ in range(10_000)]
        await asyncio.sleep(0.5)
        for task in tasks[::10]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(outcome, PointBalance) for outcome in outcomes) == 9_000
    assert len(sandbox.arrivals) == 3
    assert sandbox.rate_limited == 0


async def test_with_options_returns_a_copy_that_closes_with_the_original(
    transport: httpx.ASGITransport, sandbox: Sandbox
) -> None:
    """The copy shares tokens, connections and the cached accounts; closing it has no effect."""
    async with HTXClient(KEYS, transport=transport) as htx:
        await htx.accounts.find("spot")
        async with htx.with_options(timeout=5.0, queue_timeout=0) as fail_fast:
            await fail_fast.accounts.find("spot")
            assert len(sandbox.arrivals) == 1
            await fail_fast.points.balance()
            await fail_fast.points.balance()
            with pytest.raises(RateLimitQueueError):
                await fail_fast.points.balance()
        await htx.accounts.list()
    with pytest.raises(ClientClosedError):
        await fail_fast.accounts.list()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 0),
        ("queue_timeout", -1),
        ("queue_timeout", True),
        ("max_queue", -1),
        ("retries", 3),
    ],
)
def test_with_options_rejects_invalid_options(option: str, value: object) -> None:
    """The error names the option."""
    with pytest.raises(InvalidInputError, match=option):
        HTXClient(KEYS).with_options(**{option: value})  # type: ignore[arg-type]


async def test_snapshot_skips_otc_accounts(transport: httpx.ASGITransport) -> None:
    """HTX returns an error for their balances; they are read if they are wanted."""
    async with HTXClient(KEYS, transport=transport) as htx:
        snapshot = await htx.accounts.snapshot()
        with_otc = await htx.accounts.snapshot(types=("spot", "otc"))
    assert [item.account.type for item in snapshot.accounts][:2] == ["point", "spot"]
    assert snapshot.balances[1000001]["poly"].trade == Decimal("147.928994082840236")
    assert not snapshot.errors
    assert [account.type for account in snapshot.skipped] == ["otc"]
    assert [type(error).__name__ for error in with_otc.errors.values()] == ["APIError"]


async def test_limits_return_the_state_of_each_endpoint(transport: httpx.ASGITransport) -> None:
    """The state is available before the first call and includes HTX's last headers."""
    async with HTXClient(KEYS, transport=transport) as htx:
        before = htx.limits()["GET /v2/point/account"]
        assert (before.available, before.wait, before.remaining) == (2, 0.0, None)
        await htx.points.balance()
        status = htx.limits()["GET /v2/point/account"]
    assert (status.available, status.queued, status.rate_limited, status.remaining) == (1, 0, 0, 1)
    assert status.resets_at is not None


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_limits_can_be_copied_and_pickled(duplicate: Callable[[object], object]) -> None:
    """To pass them to another process, for example."""
    limits = HTXClient(KEYS).limits()
    assert duplicate(limits) in (limits, pickle.dumps(limits))


def test_limits_are_readable_without_an_event_loop() -> None:
    """An unused client has all its tokens."""
    status = HTXClient(KEYS).limits()
    available = {name: state.available for name, state in status.items()}
    assert available == {endpoint.name: endpoint.limit.requests for endpoint in ENDPOINTS}
    assert available["GET /v1/account/accounts/{account-id}/balance"] == 100
    assert available["GET /v2/point/account"] == 2


async def test_events_of_coalesced_calls_have_the_same_request_id(
    transport: httpx.ASGITransport,
) -> None:
    events: list[Event] = []
    async with HTXClient(KEYS, transport=transport, on_event=events.append) as htx:
        await asyncio.gather(htx.accounts.list(), htx.accounts.list())
    kinds = [
        "started",
        "started",
        "coalesced",
        "acquired",
        "sent",
        "response",
        "finished",
        "finished",
    ]
    assert [event.kind for event in events] == kinds
    first, second = events[0].call_id, events[1].call_id
    assert [event.request_id for event in events] == [0, 0, *[first] * 6]
    calls = [event.call_id for event in events if event.call_id]
    assert calls[:3] == [first, second, second]
    assert set(calls[3:]) == {first, second}


async def test_refresh_credentials_uses_the_new_key_at_once(virtual_time: VirtualClock) -> None:
    """A planned rotation costs no request that HTX rejects, and needs no interval."""
    other = Credentials("sub-access-key", "sub-secret-key")
    keys = iter([KEYS, other, other])

    async def provider() -> Credentials:
        return next(keys)

    sandbox = Sandbox(clock=virtual_time)
    transport = httpx.ASGITransport(app=sandbox)
    async with HTXClient(provider, transport=transport, clock=virtual_time) as htx:
        await htx.accounts.list()
        assert await htx.refresh_credentials()
        assert not await htx.with_options(timeout=5.0).refresh_credentials()
        await htx.accounts.list()
    before, after = sandbox.arrivals
    assert None is not before.uid != after.uid
    assert (before.status, after.code) == (200, None)


async def test_refresh_credentials_raises_what_prevents_it(virtual_time: VirtualClock) -> None:
    """No provider, one that hangs, and a closed client."""
    async with HTXClient(KEYS, clock=virtual_time) as htx:
        with pytest.raises(InvalidInputError, match="has no credentials provider"):
            await htx.refresh_credentials()

    async def provider() -> Credentials:
        await asyncio.Event().wait()
        raise AssertionError

    async with HTXClient(provider, clock=virtual_time, timeout=3.0) as htx:
        with pytest.raises(DeadlineExceededError, match="did not respond within 3 s") as caught:
            await htx.refresh_credentials()
        assert caught.value.__context__ is None
        assert virtual_time.monotonic() == 3.0
    with pytest.raises(ClientClosedError):
        await htx.refresh_credentials()


@pytest.mark.parametrize(
    "call",
    [
        lambda htx: htx.accounts.balance("spot"),
        lambda htx: htx.accounts.snapshot(),
        lambda htx: htx.points.deduction(),
        lambda htx: htx.users.api_key(),
    ],
    ids=["balance", "snapshot", "deduction", "api_key"],
)
async def test_timeout_bounds_calls_of_several_requests(
    virtual_time: VirtualClock, call: Callable[[HTXClient], Awaitable[object]]
) -> None:
    """Both requests together, and the error names the timeout that was set."""
    sandbox = httpx.ASGITransport(app=Sandbox(clock=virtual_time))
    transport = ScriptedTransport(
        repeat(sandbox.handle_async_request), delay=3.0, clock=virtual_time
    )
    async with HTXClient(KEYS, transport=transport, timeout=5.0, clock=virtual_time) as htx:
        with pytest.raises(DeadlineExceededError, match="no response within 5 s"):
            await call(htx)
        assert virtual_time.monotonic() == pytest.approx(5.0)
