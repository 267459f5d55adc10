"""`htx.accounts.stream()`: what is shown, when it is synced, and what is reported."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import traceback
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, TypeVar

import attrs
import pytest

from htx_async import (
    AccountNotFoundError,
    AuthenticationError,
    BalanceChange,
    BalanceEntry,
    BalanceType,
    ClientClosedError,
    ConnectError,
    DeadlineExceededError,
    HTXError,
    InvalidInputError,
    IPAddressError,
    NoResponseError,
    RateLimitedError,
    ServiceUnavailableError,
    StreamEvent,
)
from htx_async.stream.live import LiveBalances
from htx_async.stream.session import Outcome
from htx_async.stream.sockets import SocketClosedError
from tests.stream.exchange import (
    KEYS,
    MARGIN,
    OTC,
    OTHER_MARGIN,
    POINT,
    SPOT,
    FakeExchange,
    make,
    refusal,
)
from tests.virtual import VirtualClock

T = TypeVar("T")
CONNECTED = ("authenticating", "subscribing", "syncing", "synced")
UNREACHABLE = NoResponseError("no response")
REFUSED = ConnectError("refused", retryable=True)


def trade(live: LiveBalances, currency: str = "usdt", account: Any = "spot") -> str:
    return f"{live[account][currency].trade:f}"


async def drain(iterator: AsyncIterator[T]) -> list[T]:
    """Return what the iterator has now."""
    items: list[T] = []
    try:
        while True:
            async with asyncio.timeout(0):
                items.append(await anext(iterator))
    except (TimeoutError, StopAsyncIteration):
        return items


def kinds(events: list[StreamEvent]) -> list[str]:
    return [event.kind for event in events]


async def test_stream_shows_pushes(virtual_time: VirtualClock) -> None:
    """From the first moment on, with before and after, cause and number."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        assert (live.synced, live.status) == (True, "synced")
        assert live.age < 0.2
        assert 10 <= live.bound <= 40
        assert trade(live) == "1"
        changes = live.changes()
        setup.exchange.move("usdt", "0.75", "0.25", cause="order.place")
        await asyncio.sleep(0.01)
        usdt = live["spot"]["usdt"]
        assert (usdt.trade, usdt.frozen) == (Decimal("0.75"), Decimal("0.25"))
        assert await drain(changes) == [
            BalanceChange(
                1, "usdt", BalanceType.TRADE, Decimal(1), Decimal("0.75"), "order.place", 2
            ),
            BalanceChange(
                1, "usdt", BalanceType.FROZEN, Decimal(0), Decimal("0.25"), "order.place", 2
            ),
        ]
        setup.exchange.move("usdt", "0.5", cause=None)
        assert [change.cause for change in [await anext(changes)]] == ["unknown"]
    assert live.status == "closed"
    assert not live.synced


async def test_balance_is_that_of_rest(virtual_time: VirtualClock) -> None:
    """Rows that are not pushed included, with REST's order and numbers."""
    setup = make(virtual_time)
    setup.exchange.loans[1] = (BalanceEntry("usdt", BalanceType.LOAN, Decimal(-5)),)
    setup.exchange.move("btc", "2", push=False)
    async with setup.stream("spot") as live:
        setup.exchange.move("eth", "3")
        setup.exchange.move("btc", "1", "1")
        await asyncio.sleep(0.01)
        rest, shown = setup.exchange.rest(1), live["spot"].balance()
        assert not rest.changes(since=shown)
        assert shown["usdt"].amount("loan") == -5
        await asyncio.sleep(11)
        assert sorted(live["spot"].balance().entries, key=repr) == sorted(rest.entries, key=repr)
        with pytest.raises(KeyError, match="lower case: 'btc'"):
            live["spot"]["BTC"]
        assert repr(live["spot"]).startswith("LiveAccount(Account(id=1")
        assert repr(live) == "LiveBalances(status='synced', accounts=1)"


async def test_two_accounts_with_one_currency_are_kept_apart(virtual_time: VirtualClock) -> None:
    """And types with several accounts need a subtype."""
    accounts = (SPOT, MARGIN, OTHER_MARGIN, OTC, POINT)
    setup = make(virtual_time, accounts=accounts)
    async with setup.stream() as live:
        assert live.accounts == accounts[:3]
        setup.exchange.move("usdt", "7", account=2)
        await asyncio.sleep(0.01)
        assert trade(live) == trade(live, account="margin:ethusdt") == "1"
        assert trade(live, account="margin:btcusdt") == trade(live, account=MARGIN) == "7"
        assert trade(live, account=2) == trade(live, account="2") == "7"
        with pytest.raises(KeyError, match=r"2 \(margin btcusdt\), 3 \(margin ethusdt\)"):
            live["margin"]
        with pytest.raises(KeyError, match="no accounts match"):
            live["otc"]
        with pytest.raises(KeyError, match="must be an id"):
            live["?"]
    async with setup.stream(["margin"]) as live:
        assert [account.id for account in live.accounts] == [2, 3]


async def test_push_of_another_type_or_account_does_not_change_trade(
    virtual_time: VirtualClock,
) -> None:
    """Nor does one without amounts: REST is read instead."""
    setup = make(virtual_time)
    exchange = setup.exchange
    async with setup.stream() as live:
        before = len(exchange.reads)
        socket = exchange.socket
        for data in (
            {"accountType": "loan", "balance": "-5", "available": "-5"},
            {"accountType": "new-type"},
            {"balance": None},
            {"available": "x"},
            {"accountId": 99},
            {"accountId": "x"},
            {"currency": None},
        ):
            push = exchange.push(1, "usdt", "other")
            push["data"].update({"available": "9", "seqNum": 9}, **data)
            socket.say(push)
        for raw in ("[]", "{", b"\xff", "1", '{"action": "push", "ch": "x"}', '{"action": "new"}'):
            socket.say(raw)
        await asyncio.sleep(1)
        assert trade(live) == "1"
        assert len(exchange.reads) > before
        assert live.synced


@pytest.mark.parametrize("seq", [2, "2", 2.5, None, 0, 2**70])
async def test_sequence_number_may_be_anything(seq: Any, virtual_time: VirtualClock) -> None:
    """A push without a usable number is applied in the order of its arrival."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        setup.exchange.amounts[1]["usdt"] = setup.exchange.amounts[1]["usdt"]._replace(
            trade=Decimal("2.5")
        )
        setup.exchange.socket.say(setup.exchange.push(1, "usdt", "deposit", seqNum=seq))
        await asyncio.sleep(0.01)
        assert trade(live) == "2.5"


async def test_pings_are_answered(virtual_time: VirtualClock) -> None:
    """With the same integer."""
    setup = make(virtual_time)
    async with setup.stream():
        setup.exchange.socket.say({"action": "ping", "data": {"ts": 1575537778295}})
        setup.exchange.socket.say({"action": "ping"})
        await asyncio.sleep(0.01)
        pongs = setup.exchange.socket.sent[-2:]
        assert pongs[0] == {"action": "pong", "data": {"ts": 1575537778295}}
        assert pongs[1] == {"action": "pong", "data": {"ts": None}}


async def test_cut_is_reported_at_once_and_then_repaired(virtual_time: VirtualClock) -> None:
    """Also in silence; the differences have the cause resync."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        events, changes = live.events(), live.changes()
        setup.exchange.socket.cut()
        await asyncio.sleep(0.01)
        (gap,) = await drain(events)
        assert (gap.kind, gap.reason, gap.until) == ("gap", "disconnected", None)
        assert gap.since is not None
        assert gap.since.tzinfo is not None
        assert (live.synced, live.status) == (False, "disconnected")
        assert trade(live) == "1"
        setup.exchange.move("usdt", "4", push=False)
        await asyncio.sleep(5)
        assert live.synced
        assert [change.cause for change in await drain(changes)] == ["resync"]
        assert kinds(repaired := await drain(events)) == ["changed", "resynced", "synced"]
        assert repaired[1].reason == "disconnected"
        assert repaired[1].until is not None
        assert repaired[1].since == gap.since
        assert trade(live) == "4"


async def test_audit_finds_a_lost_push(virtual_time: VirtualClock) -> None:
    """And reports it once it is certain that it is not merely late."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        for trade_amount in ("2", "3"):  # two different numbers prove that they are comparable
            setup.exchange.move("usdt", trade_amount)
            await asyncio.sleep(11)
        events = live.events()
        setup.exchange.move("usdt", "9", push=False)
        await asyncio.sleep(11)
        assert trade(live) == "9"
        (changed,) = await drain(events)
        assert changed.change is not None
        assert (changed.change.cause, changed.change.seq) == ("resync", 4)
        await asyncio.sleep(11)
        gap = (await drain(events))[0]
        assert (gap.kind, gap.reason) == ("gap", "lost_push")
        assert gap.until is not None


async def test_late_push_is_not_reported_as_lost(virtual_time: VirtualClock) -> None:
    """REST shows the change first; the push arrives five seconds later."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        for trade_amount in ("2", "3"):
            setup.exchange.move("usdt", trade_amount)
            await asyncio.sleep(11)
        events = live.events()
        setup.exchange.move("usdt", "9", push=False)
        await asyncio.sleep(11)
        setup.exchange.socket.say(setup.exchange.push(1, "usdt", "deposit"))
        await asyncio.sleep(30)
        assert kinds(await drain(events)) == ["changed"]


async def test_smaller_number_of_rest_never_replaces_a_push(virtual_time: VirtualClock) -> None:
    """However often it is repeated."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        old = setup.exchange.rest(1)
        setup.exchange.move("usdt", "2")
        shown: set[str] = set()
        setup.exchange.stale = old
        for _ in range(300):
            await asyncio.sleep(1)
            shown.add(trade(live))
        assert shown == {"2"}


async def test_agreement_decides_without_comparable_numbers(virtual_time: VirtualClock) -> None:
    """REST has other numbers: two reads that agree replace a value whose push was lost."""
    setup = make(virtual_time, rest_offset=100)
    async with setup.stream() as live:
        events = live.events()
        await asyncio.sleep(11)
        assert "contradiction" in kinds(await drain(events))
        setup.exchange.move("usdt", "9", push=False)
        await asyncio.sleep(18)
        assert trade(live) == "9"
        change = next(event.change for event in await drain(events) if event.change)
        assert (change.cause, change.seq) == ("resync", None)


async def test_dead_subscription_is_renewed(virtual_time: VirtualClock) -> None:
    """The socket lives, but nothing is pushed: first a new subscription, then a new connection."""
    setup = make(virtual_time)
    exchange = setup.exchange
    async with setup.stream() as live:
        events = live.events()
        exchange.socket.is_zombie = True
        exchange.move("usdt", "2")
        await asyncio.sleep(30)
        assert [message["action"] for message in exchange.sockets[0].sent].count("sub") == 2
        assert trade(live) == "2"
        assert {"lost_push", "resubscribed"} <= {event.reason for event in await drain(events)}
        exchange.move("usdt", "3")
        await asyncio.sleep(30)
        assert len(exchange.sockets) == 2
        assert live.synced


async def test_refused_subscription_is_renewed(virtual_time: VirtualClock) -> None:
    """HTX's 500 after the ack: twice on the same connection, then on a new one."""
    setup = make(virtual_time)
    error = refusal(500, "系统异常:", "accounts.update#2", "sub")
    async with setup.stream() as live:
        events = live.events()
        for connections in (1, 1, 2):
            setup.exchange.socket.say(error)
            await asyncio.sleep(3)
            assert live.synced
            assert len(setup.exchange.sockets) == connections
        reasons = [event.reason for event in await drain(events) if event.kind == "gap"]
        assert reasons == ["resubscribed", "resubscribed", "disconnected"]


async def test_stream_is_stale_while_rest_is_unreachable(virtual_time: VirtualClock) -> None:
    """And synced again afterwards, without a gap."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        events = live.events()
        setup.exchange.read_errors += [UNREACHABLE, UNREACHABLE]
        await asyncio.sleep(10.3)
        assert (live.status, live.synced) == ("suspect", False)
        await asyncio.sleep(5)
        stale, synced = await drain(events)
        assert (stale.kind, synced.kind) == ("stale", "synced")
        assert type(stale.error) is NoResponseError


async def test_synced_ends_when_the_proof_is_too_old(virtual_time: VirtualClock) -> None:
    """At that moment, while a read of REST hangs."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        events = live.events()
        setup.exchange.read_errors.append(1000.0)
        ages: list[float] = []
        while live.synced and len(ages) < 1000:
            ages.append(live.age)
            await asyncio.sleep(0.1)
        assert live.bound - 0.2 < max(ages) <= live.bound
        assert kinds(await drain(events)) == ["stale"]
        assert live.status == "suspect"


async def test_verified_reads_rest_if_needed(virtual_time: VirtualClock) -> None:
    """Always with 0, not at all while the proof is young enough."""
    setup = make(virtual_time)
    setup.exchange.loans[1] = (BalanceEntry("usdt", BalanceType.LOAN, Decimal(-5)),)
    async with setup.stream() as live:
        reads = len(setup.exchange.reads)
        balance = await live.verified("spot", max_age=5)
        assert len(setup.exchange.reads) == reads
        assert balance["usdt"].amount("loan") == -5
        setup.exchange.move("usdt", "8", push=False)
        await asyncio.sleep(1)
        assert (await live.verified("spot", max_age=60))["usdt"].trade == 1
        for number in (1, 2):
            assert (await live.verified(SPOT, max_age=0))["usdt"].trade in (1, 8)
            assert len(setup.exchange.reads) >= reads + number
        await asyncio.sleep(2)
        balance = await live.verified(SPOT, max_age=0.5)
        assert balance["usdt"].trade == 8
        setup.exchange.rest_delay, reads = 0.0, len(setup.exchange.reads)
        for number in (1, 2, 3):  # at the same moment
            await live.verified("spot", max_age=0)
            assert len(setup.exchange.reads) == reads + number
        with pytest.raises(KeyError):
            await live.verified("margin", max_age=0)
        with pytest.raises(InvalidInputError, match="max_age must be"):
            await live.verified("spot", max_age=-1)
    with pytest.raises(ClientClosedError, match="stream is closed"):
        await live.verified("spot", max_age=1)


async def test_verified_is_bounded_by_the_timeout(virtual_time: VirtualClock) -> None:
    setup = make(virtual_time)
    async with setup.stream(timeout=5.0) as live:
        setup.exchange.read_errors.append(1000.0)
        started = virtual_time.monotonic()
        with pytest.raises(DeadlineExceededError, match="not proven within 5 s"):
            await live.verified("spot", max_age=0)
        assert virtual_time.monotonic() - started == pytest.approx(5)


async def test_revoked_key_ends_the_stream(virtual_time: VirtualClock) -> None:
    """With an event, and that error from `verified`, also while it waits."""
    setup = make(virtual_time)
    error = IPAddressError("another address")
    async with setup.stream() as live:
        events = live.events()
        setup.exchange.auth.append(refusal(2002, "auth.fail"))
        setup.exchange.list_errors.append(error)
        waiting = asyncio.create_task(live.verified("spot", max_age=0))
        await asyncio.sleep(0)
        setup.exchange.socket.cut()
        await asyncio.sleep(10)
        assert kinds(await drain(events))[-1] == "refused"
        assert (live.status, live.synced) == ("disconnected", False)
        with pytest.raises(IPAddressError):
            await live.verified("spot", max_age=60)
        await asyncio.wait([waiting])
        assert trade(live) == "1"
        connections = len(setup.exchange.sockets)
        await asyncio.sleep(100)
        assert len(setup.exchange.sockets) == connections
        async with setup.stream() as another:  # the key may be valid again
            assert another.synced
            await asyncio.sleep(1)
            assert live.synced


async def test_key_that_rest_refuses_ends_the_stream(virtual_time: VirtualClock) -> None:
    """Also while the socket lives."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        events = live.events()
        setup.exchange.read_errors.append(AuthenticationError("revoked"))
        await asyncio.sleep(11)
        last = (await drain(events))[-1]
        assert last.kind == "refused"
        assert type(last.error) is AuthenticationError
        assert live.status == "disconnected"


@pytest.mark.parametrize(
    ("answers", "errors", "error"),
    [
        ([refusal(2002, "auth.fail")] * 2, [], AuthenticationError),
        ([refusal(2000, "invalid.ip")] * 2, [], IPAddressError),
        ([refusal(2001, "invalid.action")], [], HTXError),
        ([{"code": 2001, "message": "invalid.json"}], [], HTXError),
        ([refusal(2002, "auth.fail")], [IPAddressError("address")], IPAddressError),
        ([refusal(429, "limit")] * 99, [], RateLimitedError),
        ([refusal(4000, "too.many.connection")] * 99, [], RateLimitedError),
        ([None] * 99, [], NoResponseError),
    ],
)
async def test_refused_authentication_raises_within_the_timeout(
    answers: list[Any],
    errors: list[HTXError],
    error: type[HTXError],
    virtual_time: VirtualClock,
) -> None:
    """The classes that REST has; what lasts is raised at the timeout."""
    setup = make(virtual_time, auth=list(answers))
    setup.exchange.list_errors[:] = []
    started = virtual_time.monotonic()
    stream = setup.stream()

    async def enter() -> None:
        async with stream:
            pytest.fail("it is refused")

    task = asyncio.create_task(enter())
    await asyncio.sleep(0.06)  # the list of accounts is read
    setup.exchange.list_errors += errors
    with pytest.raises(error) as caught:
        await task
    assert virtual_time.monotonic() - started <= 30.01
    assert caught.value.__context__ is None
    assert stream.status == "closed"


@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        (refusal(2002, "auth.fail"), 2),
        (refusal(429, "limit"), 2),
        (refusal(4000, "too.many.request"), 2),
        (refusal(500, "error"), 2),
        (refusal(100, "time out close"), 2),
        (None, 2),
    ],
)
async def test_single_refusal_is_waited_out(
    answer: Any, requests: int, virtual_time: VirtualClock
) -> None:
    setup = make(virtual_time, auth=[answer])
    async with setup.stream() as live:
        assert live.synced
        assert len(setup.exchange.sockets) == requests


async def test_second_authentication_uses_the_time_of_htx(virtual_time: VirtualClock) -> None:
    """REST accepts the key: HTX's clock may differ by less than REST tolerates."""
    setup = make(virtual_time, auth=[refusal(2002, "auth.fail")])
    setup.server_clock.observe(virtual_time.now() + 4, virtual_time.monotonic())
    async with setup.stream():
        first, second = (socket.sent[0]["params"] for socket in setup.exchange.sockets)
    assert first["timestamp"] == "2023-11-14T22:13:20"
    assert second["timestamp"] == "2023-11-14T22:13:24"


async def test_connection_is_repeated_with_backoff(virtual_time: VirtualClock) -> None:
    """From 0.25 s, doubled, at most 20 s; no step hangs longer than 10 s."""
    setup = make(virtual_time)
    times: list[float] = []

    async def connect() -> Any:
        times.append(virtual_time.monotonic())
        if len(times) < 12:
            raise REFUSED
        if len(times) == 12:
            await asyncio.sleep(1000)
        return await setup.exchange.open()

    setup.hub.settings = setup.hub.settings._replace(open_socket=connect)
    async with setup.stream(timeout=1000) as live:
        assert live.synced
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[:3] == [pytest.approx(0.5), pytest.approx(1), pytest.approx(2)]
    assert max(gaps[:-1]) == pytest.approx(20)
    assert gaps[-1] == pytest.approx(30)


async def test_connection_that_cannot_succeed_raises_at_once(virtual_time: VirtualClock) -> None:
    error = ServiceUnavailableError("blocked", http_status=403)
    setup = make(virtual_time, connect_errors=[error])
    with pytest.raises(ServiceUnavailableError, match="blocked"):
        await setup.stream().__aenter__()
    assert virtual_time.monotonic() < 1


async def test_connection_that_fails_raises_its_error_at_the_timeout(
    virtual_time: VirtualClock,
) -> None:
    setup = make(virtual_time, connect_errors=[ConnectError("refused", retryable=True)] * 999)
    with pytest.raises(ConnectError, match="refused"):
        await setup.stream(timeout=3).__aenter__()
    setup = make(virtual_time, rest_delay=1000.0)
    with pytest.raises(DeadlineExceededError, match="was not synced within 3 s"):
        await setup.stream(timeout=3).__aenter__()


async def test_unknown_account_is_named(virtual_time: VirtualClock) -> None:
    """Before anything is connected."""
    setup = make(virtual_time)
    for accounts, text in ((7, "no account is 7"), (["spot", "margin:x"], "is margin:x")):
        with pytest.raises(AccountNotFoundError, match=text):
            await setup.stream(accounts).__aenter__()
    setup = make(virtual_time, accounts=(OTC, POINT))
    with pytest.raises(AccountNotFoundError, match="no account is any that has balances"):
        await setup.stream().__aenter__()
    assert not setup.exchange.sockets


async def test_streams_share_one_connection(virtual_time: VirtualClock) -> None:
    """The last one closes it; each has its accounts, and the shorter interval counts."""
    setup = make(virtual_time, accounts=(SPOT, MARGIN))
    async with setup.stream("spot") as spot:
        async with setup.stream([MARGIN, "spot"], audit_interval=2) as both:
            assert len(setup.exchange.sockets) == 1
            events = spot.events()
            setup.exchange.move("usdt", "5", account=2)
            await asyncio.sleep(1)
            assert trade(both, account="margin") == "5"
            assert not await drain(events)
            reads = len(setup.exchange.reads)
            await asyncio.sleep(10)
            assert len(setup.exchange.reads) - reads == pytest.approx(10, abs=2)
        assert both.status == "closed"
        assert spot.synced
        reads = len(setup.exchange.reads)
        await asyncio.sleep(21)
        assert len(setup.exchange.reads) - reads in (2, 3)
        assert setup.exchange.socket.is_open
    assert not setup.exchange.socket.is_open
    with pytest.raises(ClientClosedError):
        await spot.__aenter__()


async def test_iterators_begin_with_the_call_and_end_with_the_stream(
    virtual_time: VirtualClock,
) -> None:
    """What is in the buffer is delivered, and then the iteration ends."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        early = live.changes()
        setup.exchange.move("usdt", "2")
        await asyncio.sleep(0.01)
        late, waiting = live.changes(), asyncio.create_task(anext(live.events(), None))
        await asyncio.sleep(0)
    assert [change.after async for change in early] == [2]
    assert [change async for change in late] == []
    assert await waiting is None
    assert [event async for event in live.events()] == []


async def test_slow_consumer_is_conflated(virtual_time: VirtualClock) -> None:
    """Its chain of before and after is unbroken; fast consumers see everything."""
    setup = make(virtual_time)
    async with setup.stream(buffer=10) as live:
        slow: Any = live.changes()
        events, fast = live.events(), list[Decimal]()

        async def follow() -> None:
            async for change in live.changes():
                fast.append(change.after)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(follow())
            for amount in range(2, 102):
                setup.exchange.move("usdt", str(amount))
                setup.exchange.move("btc", str(amount))
                await asyncio.sleep(0.001)
            task.cancel()
        assert len(fast) == 200
        assert len(slow) == 2
        changes = await drain(slow)
        assert {each.currency: (int(each.before), int(each.after)) for each in changes} == {
            "usdt": (1, 101),
            "btc": (0, 101),
        }
        assert "overflow" in kinds(await drain(events))
        setup.exchange.move("usdt", "200")
        await asyncio.sleep(0.01)
        assert [(int(each.before), int(each.after)) for each in await drain(slow)] == [(101, 200)]


async def test_consumer_that_raises_or_is_cancelled_does_not_disturb_others(
    virtual_time: VirtualClock,
) -> None:
    """And one that is dropped leaves nothing behind."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        good, bad = live.changes(), live.changes()
        waiting = asyncio.ensure_future(anext(bad))
        await asyncio.sleep(0)
        waiting.cancel()
        setup.exchange.move("usdt", "2")
        await asyncio.sleep(0.01)
        change = await anext(bad)
        with pytest.raises(ZeroDivisionError):
            _ = change.after / 0
        assert [change.after for change in await drain(good)] == [2]
        del bad, waiting
        gc.collect()
        assert len(live._consumers) == 1


@pytest.mark.parametrize("step", range(40))
async def test_cancellation_and_closing_leave_nothing_behind(
    step: int, virtual_time: VirtualClock
) -> None:
    """At every await of entering, and in each state."""
    setup = make(virtual_time, auth=[refusal(2002, "auth.fail"), None, refusal(429, "limit")])

    async def run() -> None:
        async with setup.stream() as live:
            await live.verified("spot", max_age=0)
            setup.exchange.socket.cut()
            await asyncio.sleep(1)

    task = asyncio.create_task(run())
    for _ in range(step * 3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others
    assert setup.hub._shared is None
    assert not any(socket.is_open for socket in setup.exchange.sockets)


@pytest.mark.parametrize("delay", [0.01, 0.06, 0.11, 0.2, 5.0, 10.2, 11.0, 12.0])
async def test_hub_closes_streams_in_each_state(delay: float, virtual_time: VirtualClock) -> None:
    """One that is entering raises `ClientClosedError`."""
    setup = make(virtual_time, auth=[None])

    async def run() -> str:
        async with setup.stream() as live:
            async for _ in live.events():
                pass
            return live.status

    task = asyncio.create_task(run())
    await asyncio.sleep(delay)
    await setup.hub.aclose()
    if delay < 0.06:
        task.cancel()  # it still reads the list of accounts, which the client ends
    result = (await asyncio.gather(task, return_exceptions=True))[0]
    assert result == "closed" or isinstance(result, ClientClosedError | asyncio.CancelledError)
    assert not asyncio.all_tasks() - {asyncio.current_task()}


async def test_no_secret_is_shown(
    virtual_time: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by logs, events, errors or their frames, even if HTX repeats what was sent."""
    caplog.set_level(logging.DEBUG)
    setup = make(virtual_time)
    exchange = setup.exchange

    def echo(socket: Any, message: Any) -> None:
        if message["action"] == "req":
            socket.say(refusal(2001, json.dumps(message)))

    original = FakeExchange.handle
    texts: list[str] = []
    async with setup.stream() as live:
        events = live.events()
        access_key, secret = KEYS.auth_params()[0][1], "secret-key-0123456789"
        signature = exchange.socket.sent[0]["params"]["signature"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FakeExchange, "handle", lambda _, socket, message: echo(socket, message))
            exchange.socket.cut()
            await asyncio.sleep(3)
        try:
            await live.verified("spot", max_age=0)
        except HTXError as error:
            lines = traceback.TracebackException.from_exception(error, capture_locals=False)
            texts += [*lines.format(), repr(vars(error)), str(error)]
        refused = [event for event in await drain(events) if event.kind == "refused"]
        assert refused
        texts += [repr(refused), repr(live), caplog.text]
        texts += [repr(vars(live._shared))] if live._shared else []
        signature2 = exchange.socket.sent[0]["params"]["signature"]
    assert original is FakeExchange.handle
    for value in (access_key, secret, signature, signature2):
        assert not any(value in text for text in texts)


async def test_states_are_logged_without_amounts(
    virtual_time: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "htx_async")
    setup = make(virtual_time)
    async with setup.stream():
        setup.exchange.move("usdt", "123.5")
        setup.exchange.socket.cut()
        await asyncio.sleep(5)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        f"live balances: {status}"
        for status in (*CONNECTED, "disconnected", "connecting", *CONNECTED, "closed")
    ]


@attrs.frozen
class Slow:
    """A socket that is never ready to send."""

    inner: Any

    async def send(self, _: str) -> None:
        await asyncio.sleep(1000)

    async def receive(self) -> str | bytes:
        message: str | bytes = await self.inner.receive()
        return message

    async def aclose(self) -> None:
        await asyncio.sleep(1000)


async def test_socket_that_hangs_is_given_up(virtual_time: VirtualClock) -> None:
    """While it sends, and while it closes."""
    setup = make(virtual_time)

    async def connect() -> Any:
        socket = await setup.exchange.open()
        return Slow(socket) if len(setup.exchange.sockets) == 1 else socket

    setup.hub.settings = setup.hub.settings._replace(open_socket=connect)
    async with setup.stream() as live:
        assert live.synced
        assert virtual_time.monotonic() < 14


@attrs.frozen
class Broken:
    """A socket that cannot send, or fails in an unexpected way."""

    inner: Any
    error: Exception

    async def send(self, text: str) -> None:
        if isinstance(self.error, SocketClosedError):
            raise self.error
        await self.inner.send(text)

    async def receive(self) -> str | bytes:
        if not isinstance(self.error, SocketClosedError):
            raise self.error
        message: str | bytes = await self.inner.receive()
        return message

    async def aclose(self) -> None:
        await self.inner.aclose()


@pytest.mark.parametrize("error", [SocketClosedError("closed"), ZeroDivisionError()])
async def test_socket_that_fails(error: Exception, virtual_time: VirtualClock) -> None:
    """A lost connection is renewed; a fault of the package is not hidden."""
    setup = make(virtual_time)

    async def connect() -> Any:
        socket = await setup.exchange.open()
        return Broken(socket, error) if len(setup.exchange.sockets) == 1 else socket

    setup.hub.settings = setup.hub.settings._replace(open_socket=connect)
    stream = setup.stream()
    if isinstance(error, SocketClosedError):
        async with stream as live:
            assert live.synced
        return
    with pytest.raises(DeadlineExceededError):
        await stream.__aenter__()
    assert stream._shared is not None
    assert stream._shared._task is not None
    assert stream._shared._task.exception() is error


async def test_closed_connection_does_nothing_more(virtual_time: VirtualClock) -> None:
    """A read that ends at the same moment has no effect."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        shared = live._shared
    assert shared is not None
    shared._apply(Outcome(audits=[1]))
    assert not shared._audits


async def test_diagnosis_that_fails_is_repeated(virtual_time: VirtualClock) -> None:
    """REST cannot be reached: what HTX refused is not known yet."""
    setup = make(virtual_time, auth=[refusal(2002, "auth.fail")])
    task = asyncio.create_task(setup.stream().__aenter__())
    await asyncio.sleep(0.06)
    setup.exchange.list_errors.append(UNREACHABLE)
    live = await task
    assert live.synced
    await live.aclose()
    await live.aclose()
    assert live.age < 5
    assert setup.stream().age == float("inf")
    assert setup.stream().status == "connecting"


async def test_fill_does_not_change_what_is_shown(virtual_time: VirtualClock) -> None:
    setup = make(virtual_time)
    async with setup.stream(fill=True) as live:
        setup.exchange.socket.cut()
        await asyncio.sleep(5)
        assert live.synced
