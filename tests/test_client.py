"""The client as its users see it: the contract, its life, and its bad input."""

from __future__ import annotations

import asyncio
import inspect
from datetime import UTC
from decimal import Decimal
from itertools import cycle

import httpx
import pytest

from htx_async import (
    UNLIMITED,
    Account,
    AccountNotFoundError,
    ClientClosedError,
    Credentials,
    DeadlineExceededError,
    Event,
    EventLoopError,
    HTXClient,
    InvalidInputError,
    PointBalance,
    RateLimitQueueError,
    RetryPolicy,
    SignatureError,
)
from htx_async.sandbox import Sandbox
from tests.virtual import VirtualClock, run

KEYS = Credentials("access-key", "secret-key")


class Hanging(httpx.AsyncBaseTransport):
    """Answers nothing until it is told to; counts what comes in and out."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.began = 0
        self.ended = 0
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        self.began += 1
        try:
            await self.answer.wait()
        finally:
            self.ended += 1
        return httpx.Response(200, json={"status": "ok", "data": []})

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def sandbox() -> Sandbox:
    """An HTX with the default world."""
    return Sandbox()


@pytest.fixture
def transport(sandbox: Sandbox) -> httpx.ASGITransport:
    """The way into that HTX without a socket."""
    return httpx.ASGITransport(app=sandbox)


async def test_the_example_of_the_contract(transport: httpx.ASGITransport) -> None:
    """Accounts, a balance and points come as the contract says."""
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


@pytest.mark.slow
async def test_the_example_over_a_socket() -> None:
    """The same with nothing but a `base_url` added."""
    keys = Credentials("access-key", "secret-key")
    async with Sandbox().serve() as base_url, HTXClient(keys, base_url=base_url) as htx:
        balance = await htx.accounts.balance(1000001)
    assert balance["usdt"].trade == Decimal("91.850043797676510303")


async def test_a_balance_takes_a_number_its_digits_or_an_account(
    transport: httpx.ASGITransport,
) -> None:
    """All three ask for the same."""
    async with HTXClient(KEYS, transport=transport) as htx:
        spot = await htx.accounts.find("spot")
        balances = [await htx.accounts.balance(given) for given in (1000001, "1000001", spot)]
    assert balances[0] == balances[1] == balances[2]


async def test_a_valuation_comes_through_all_layers(transport: httpx.ASGITransport) -> None:
    """By type and currency, one's own and that of a sub user."""
    async with HTXClient(KEYS, transport=transport) as htx:
        in_dollars = await htx.accounts.asset_valuation("spot", valuation_currency="USD")
        of_another = await htx.accounts.asset_valuation("spot", sub_uid=1001)
    assert str(in_dollars.balance) == "2259791.50"
    assert str(of_another.balance) == "0.00019230"
    assert of_another.timestamp is not None
    assert of_another.timestamp.tzinfo is UTC


async def test_a_sub_user_has_points_of_its_own(
    sandbox: Sandbox, transport: httpx.ASGITransport
) -> None:
    """The parent asks for them by UID."""
    sub_uid = sandbox.users[1].uid
    async with HTXClient(KEYS, transport=transport) as htx:
        assert await htx.points.balance(sub_uid=sub_uid) != await htx.points.balance()


async def test_find_remembers_the_list(sandbox: Sandbox, transport: httpx.ASGITransport) -> None:
    """Two finds cost one read; a miss reads once more, and then says what there is."""
    async with HTXClient(KEYS, transport=transport) as htx:
        await htx.accounts.find("spot")
        await htx.accounts.find("margin")
        assert len(sandbox.arrivals) == 1
        with pytest.raises(AccountNotFoundError, match=r"1000001 \(spot\)"):
            await htx.accounts.find("etf")
        assert len(sandbox.arrivals) == 2


@pytest.mark.parametrize(
    "given",
    [True, -1, 1.0, None, "", " 1", "1 ", "1/2", "1?x", "+1", "-1", "\u0661", "1e3", b"1", []],
)
async def test_bad_ids_are_told_before_anything_is_sent(
    given: object, sandbox: Sandbox, transport: httpx.ASGITransport
) -> None:
    """One sentence, and no request."""
    async with HTXClient(KEYS, transport=transport) as htx:
        with pytest.raises(InvalidInputError, match="account must be"):
            await htx.accounts.balance(given)  # type: ignore[arg-type]
        if given is not None:
            with pytest.raises(InvalidInputError, match="sub_uid must be"):
                await htx.points.balance(sub_uid=given)  # type: ignore[arg-type]
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
def test_bad_options_are_told_at_once(option: str, value: object) -> None:
    """A client is not made with what cannot be right."""
    with pytest.raises(InvalidInputError, match=option):
        HTXClient(KEYS, **{option: value})  # type: ignore[arg-type]


def test_credentials_must_be_credentials() -> None:
    """A plain text where credentials go is told, and not shown."""
    with pytest.raises(InvalidInputError, match="got str") as caught:
        HTXClient("secret-key")  # type: ignore[arg-type]
    assert "secret-key" not in str(caught.value)


async def test_a_closed_client_says_so(transport: httpx.ASGITransport) -> None:
    """Use after closing is an error; closing twice is none."""
    htx = HTXClient(KEYS, transport=transport)
    await htx.aclose()
    await htx.aclose()
    with pytest.raises(ClientClosedError, match="closed"):
        await htx.accounts.list()


def test_a_second_loop_is_told(transport: httpx.ASGITransport) -> None:
    """One client serves one event loop."""
    htx = HTXClient(KEYS, transport=transport)

    async def use() -> None:
        await htx.accounts.list()

    asyncio.run(use())
    with pytest.raises(EventLoopError, match="another event loop"):
        asyncio.run(use())
    with pytest.raises(EventLoopError, match="another event loop"):
        asyncio.run(htx.aclose())


async def test_a_transport_that_was_passed_in_stays_open() -> None:
    """Closing the client does not close what it did not make."""
    transport = Hanging()
    transport.answer.set()
    async with HTXClient(KEYS, transport=transport) as htx:
        await htx.accounts.list()
    assert not transport.closed


@pytest.mark.usefixtures("virtual_time")
async def test_closing_ends_who_waits_and_waits_for_who_has_left() -> None:
    """A read without a token gets `ClientClosedError`; one that is out gets its answer."""
    transport = Hanging()
    htx = HTXClient(KEYS, transport=transport, clock=VirtualClock())
    reads = [asyncio.create_task(htx.points.balance(sub_uid=uid)) for uid in (1, 2, 3)]
    await asyncio.sleep(0.1)
    assert transport.began == 2
    asyncio.get_running_loop().call_later(3.0, transport.answer.set)
    await htx.aclose()
    assert reads[0].done()
    outcomes = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "DecodeError",  # it was answered: with a list where points should be
        "DecodeError",
        "ClientClosedError",
    ]
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_closing_waits_five_seconds_at_most() -> None:
    """What does not come back in time is cut off, and its caller told."""

    async def main() -> float:
        transport = Hanging()
        htx = HTXClient(KEYS, transport=transport, clock=VirtualClock())
        read = asyncio.create_task(htx.accounts.list())
        await asyncio.sleep(1.0)
        await htx.aclose()
        with pytest.raises(ClientClosedError) as caught:
            await read
        assert caught.value.delivery == "unknown"
        assert transport.ended == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(6.0)


async def test_timeout_bounds_the_whole_call(virtual_time: VirtualClock) -> None:
    """The caller is free at its deadline, and learns what became of the request."""
    transport = Hanging()
    async with HTXClient(KEYS, transport=transport, timeout=2.0, clock=virtual_time) as htx:
        reads = [asyncio.create_task(htx.points.balance(sub_uid=uid)) for uid in (1, 2, 3)]
        outcomes = await asyncio.gather(*reads, return_exceptions=True)
        assert virtual_time.monotonic() == pytest.approx(2.0)
        assert all(isinstance(outcome, DeadlineExceededError) for outcome in outcomes)
        fates = [getattr(outcome, "delivery", "") for outcome in outcomes]
        assert fates == ["unknown", "unknown", "not_sent"]
        assert all(isinstance(outcome, TimeoutError) for outcome in outcomes)
        await asyncio.sleep(0)
        assert transport.ended == 2


@pytest.mark.usefixtures("virtual_time")
async def test_a_cancelled_call_leaves_what_is_out_to_end_by_itself() -> None:
    """Cancellation frees the caller at once, and does not reach the transport."""
    transport = Hanging()
    async with HTXClient(KEYS, transport=transport, clock=VirtualClock()) as htx:
        read = asyncio.create_task(htx.accounts.list())
        await asyncio.sleep(1.0)
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        assert (transport.began, transport.ended) == (1, 0)
        transport.answer.set()
        await asyncio.sleep(0.1)
        assert transport.ended == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}


def test_an_abandoned_read_ends_with_its_timeout() -> None:
    """Nobody waits, nothing answers: it is over `timeout` seconds after the call began."""

    async def main() -> float:
        transport = Hanging()
        clock = VirtualClock()
        async with HTXClient(KEYS, transport=transport, timeout=7.0, clock=clock) as htx:
            read = asyncio.create_task(htx.accounts.list())
            await asyncio.sleep(1.0)
            read.cancel()
            await asyncio.sleep(5.9)
            assert transport.ended == 0
            await asyncio.sleep(0.2)
            assert transport.ended == 1
        return clock.monotonic()

    assert run(main()) == pytest.approx(7.1)


def test_five_hundred_balances_at_once() -> None:
    """All return within 11.1 s, none is refused: four windows of 2 s, and little more."""

    async def main() -> float:
        clock = VirtualClock()
        sandbox = Sandbox(accounts=500, clock=clock)
        inner = httpx.ASGITransport(app=sandbox)
        delays = cycle([0.005, 0.08, 0.03, 0.012])

        class Network(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                await asyncio.sleep(next(delays))
                answer = await inner.handle_async_request(request)
                await asyncio.sleep(next(delays))
                return answer

        async with HTXClient(KEYS, transport=Network(), clock=clock) as htx:
            balances = await asyncio.gather(*map(htx.accounts.balance, sandbox.account_ids))
        assert sorted(balance.id for balance in balances) == sorted(sandbox.account_ids)
        assert sandbox.rate_limited == 0
        return clock.monotonic()

    assert run(main()) < 11.1


async def test_unlimited_does_not_wait() -> None:
    """Against a server that does not count, calls go at once."""
    transport = httpx.ASGITransport(app=Sandbox(limits=False))
    async with (
        HTXClient(KEYS, transport=transport, rate_limiter=UNLIMITED) as htx,
        asyncio.timeout(5),
    ):
        await asyncio.gather(
            *(htx.with_options(coalesce=False).points.balance() for _ in range(50))
        )


async def test_a_wrong_secret_is_a_signature_error(transport: httpx.ASGITransport) -> None:
    """The error says what to look at."""
    async with HTXClient(Credentials("access-key", "wrong"), transport=transport) as htx:
        with pytest.raises(SignatureError, match="secret key belongs to this access key") as caught:
            await htx.accounts.list()
    assert caught.value.code == "api-signature-not-valid"
    assert caught.value.delivery == "answered"


async def test_from_env(
    monkeypatch: pytest.MonkeyPatch, transport: httpx.ASGITransport, sandbox: Sandbox
) -> None:
    """Keys and address come from the environment; options go before it."""
    monkeypatch.setenv("HTX_ACCESS_KEY", "access-key")
    monkeypatch.setenv("HTX_SECRET_KEY", "secret-key")
    monkeypatch.setenv("HTX_BASE_URL", "https://api-aws.huobi.pro")
    async with HTXClient.from_env(transport=transport) as htx:
        await htx.accounts.list()
        assert "https://api-aws.huobi.pro" in repr(htx)
    assert sandbox.arrivals[0].status == 200
    assert "api.huobi.pro'" in repr(HTXClient.from_env(base_url="https://api.huobi.pro"))


def test_from_env_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named."""
    monkeypatch.setenv("HTX_ACCESS_KEY", "access-key")
    monkeypatch.delenv("HTX_SECRET_KEY", raising=False)
    with pytest.raises(InvalidInputError, match="set HTX_SECRET_KEY"):
        HTXClient.from_env()


def test_the_options_of_the_contract() -> None:
    """Names and defaults are fixed."""
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(HTXClient.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert options == {
        "base_url": "https://api.huobi.pro",
        "timeout": 30.0,
        "retry": RetryPolicy(attempts=5, initial_delay=0.25, max_delay=8.0),
        "rate_limiter": None,
        "coalesce": True,
        "queue_timeout": None,
        "max_queue": None,
        "transport": None,
        "max_connections": 20,
        "max_body": 16 * 2**20,
        "on_event": None,
        "clock": None,
    }


async def test_ten_thousand_ask_for_the_same_points(virtual_time: VirtualClock) -> None:
    """Two free tokens and one shared flight at most; some leave, nobody is refused."""
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


async def test_with_options_is_a_copy_that_ends_with_its_original(
    transport: httpx.ASGITransport, sandbox: Sandbox
) -> None:
    """It shares tokens, connections and the list of accounts; closing it does nothing."""
    async with HTXClient(KEYS, transport=transport) as htx:
        await htx.accounts.find("spot")
        async with htx.with_options(timeout=5.0, queue_timeout=0) as hurried:
            await hurried.accounts.find("spot")
            assert len(sandbox.arrivals) == 1
            await hurried.points.balance()
            await hurried.points.balance()
            with pytest.raises(RateLimitQueueError):
                await hurried.points.balance()
        await htx.accounts.list()
    with pytest.raises(ClientClosedError):
        await hurried.accounts.list()


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
def test_bad_options_of_a_copy_are_told(option: str, value: object) -> None:
    """With the name of the option."""
    with pytest.raises(InvalidInputError, match=option):
        HTXClient(KEYS).with_options(**{option: value})  # type: ignore[arg-type]


async def test_a_snapshot_keeps_failures_beside_their_account(
    transport: httpx.ASGITransport,
) -> None:
    """HTX does not tell what is in an OTC account: the others are read all the same."""
    async with HTXClient(KEYS, transport=transport) as htx:
        snapshot = await htx.accounts.snapshot()
    assert [each.account.type for each in snapshot.accounts][:2] == ["point", "spot"]
    assert snapshot.balances[1000001]["poly"].trade == Decimal("147.928994082840236")
    assert [type(error).__name__ for error in snapshot.errors.values()] == ["APIError"]
    assert len(snapshot.accounts) == len(snapshot.balances) + 1


async def test_limits_tell_how_things_stand(transport: httpx.ASGITransport) -> None:
    """Also before the first call, and what HTX's headers last said."""
    async with HTXClient(KEYS, transport=transport) as htx:
        before = htx.limits()["GET /v2/point/account"]
        assert (before.available, before.wait, before.remaining) == (2, 0.0, None)
        await htx.points.balance()
        status = htx.limits()["GET /v2/point/account"]
    assert (status.available, status.queued, status.rate_limited, status.remaining) == (1, 0, 0, 1)
    assert status.resets_at is not None


def test_limits_can_be_read_without_a_loop() -> None:
    """A client that has not been used yet has all its tokens."""
    status = HTXClient(KEYS).limits()
    assert {name: state.available for name, state in status.items()} == {
        "GET /v1/account/accounts": 100,
        "GET /v1/account/accounts/{account-id}/balance": 100,
        "GET /v2/account/asset-valuation": 100,
        "GET /v2/point/account": 2,
    }


async def test_events_link_those_who_join_to_their_flight(
    transport: httpx.ASGITransport,
) -> None:
    """The number of the flight is on every event of it."""
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
