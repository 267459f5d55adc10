"""Gaps that are filled from the account history."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import (
    BalanceChange,
    BalanceType,
    Credentials,
    HistoryRecord,
    HTXClient,
    NoResponseError,
    StreamEvent,
    TransactType,
)
from htx_async.sandbox import Sandbox, faults
from htx_async.stream.filling import LONGEST_GAP, TIMEOUT, GapFiller, explain
from tests.stream.exchange import Setup, make
from tests.stream.test_live import drain
from tests.virtual import VirtualClock

TIME = datetime(2026, 1, 31, tzinfo=UTC)
CHANGE = BalanceChange(1, "usdt", BalanceType.TRADE, Decimal(10), Decimal(40), "resync", 7)
Step = tuple[str, str, str | None]


def record(trade: int, total: int, kind: str = "trade") -> HistoryRecord:
    """Return a record with these amounts."""
    amounts = (Decimal(trade), Decimal(total))
    return HistoryRecord(1, "usdt", 1, Decimal(0), TransactType(kind), *amounts, TIME)


def steps(changes: list[BalanceChange]) -> list[Step]:
    """Return before, after and cause of each change."""
    return [(f"{each.before:f}", f"{each.after:f}", each.cause) for each in changes]


def test_explain_divides_a_change_by_the_history() -> None:
    """What was shown before the gap is omitted; the last step keeps the number."""
    records = [record(5, 5), record(10, 10), record(25, 25, "deposit"), record(40, 40)]
    explained = explain(CHANGE, records)
    assert steps(explained) == [("10", "25", "deposit"), ("25", "40", "trade")]
    assert [change.seq for change in explained] == [None, 7]


def test_explain_ends_with_what_the_history_does_not_contain() -> None:
    """Such as an order that was placed: the history has changes of the total only."""
    explained = explain(CHANGE, [record(50, 50)])
    assert steps(explained) == [("10", "50", "trade"), ("50", "40", "resync")]
    assert steps(explain(CHANGE, [])) == [("10", "40", "resync")]


def test_explain_of_frozen_amounts_uses_the_total() -> None:
    """HTX's history names the total and the available amount."""
    change = attrs.evolve(CHANGE, type=BalanceType.FROZEN, before=Decimal(0), after=Decimal(15))
    assert steps(explain(change, [record(25, 40)])) == [("0", "15", "trade")]


def test_explain_ignores_rows_that_the_history_does_not_have() -> None:
    """Loans, for example."""
    change = attrs.evolve(CHANGE, type=BalanceType.LOAN)
    assert explain(change, [record(25, 40)]) == [change]


@given(
    before=st.integers(0, 4),
    after=st.integers(0, 4),
    trades=st.lists(st.integers(0, 4), max_size=6),
)
def test_explain_is_unbroken(before: int, after: int, trades: list[int]) -> None:
    """From the first amount before to the last one after, without an empty step."""
    if before == after:
        after = 5
    change = attrs.evolve(CHANGE, before=Decimal(before), after=Decimal(after))
    explained = explain(change, [record(trade, 9) for trade in trades])
    amounts = [change.before, *(each.after for each in explained)]
    assert amounts[-1] == change.after
    assert [each.before for each in explained] == amounts[:-1]
    assert all(each.before != each.after for each in explained)


async def gap(setup: Setup, seconds: float = 30.0) -> None:
    """Cut the connection; the balance is changed twice before the stream is back."""
    exchange = setup.exchange
    exchange.connect_errors += [NoResponseError("down", retryable=True)] * 2
    exchange.socket.cut()
    await setup.exchange.clock.sleep(0.1)
    exchange.move("usdt", "5", push=False, cause="withdraw")
    exchange.move("usdt", "8", push=False, cause="deposit")
    await setup.exchange.clock.sleep(seconds)


async def test_stream_fills_a_gap_from_the_history(virtual_time: VirtualClock) -> None:
    """The causes are those of the history, in its order, before the event that ends the gap."""
    setup = make(virtual_time)
    async with setup.stream(fill=True) as live:
        events = live.events()
        await gap(setup)
        received = await drain(events)
        changes = [event.change for event in received if event.change is not None]
        assert steps(changes) == [("1", "5", "withdraw"), ("5", "8", "deposit")]
        assert [event.kind for event in received] == [
            *("gap", "changed", "changed", "resynced", "synced")
        ]
        setup.exchange.move("usdt", "9")
        await virtual_time.sleep(1)
        assert [event.kind for event in await drain(events)] == ["changed"]


async def test_stream_without_fill_reports_the_difference(virtual_time: VirtualClock) -> None:
    """It is the default: nothing is read."""
    setup = make(virtual_time)
    async with setup.stream() as live:
        changes = live.changes()
        await gap(setup)
        assert steps(await drain(changes)) == [("1", "8", "resync")]


async def test_fill_delivers_the_difference_if_the_history_fails(
    virtual_time: VirtualClock,
) -> None:
    """Nothing is lost."""
    setup = make(virtual_time)
    setup.exchange.history_errors.append(NoResponseError("down"))
    async with setup.stream(fill=True) as live:
        changes = live.changes()
        await gap(setup)
        assert steps(await drain(changes)) == [("1", "8", "resync")]


async def test_fill_delivers_what_is_held_back_when_the_stream_is_left(
    virtual_time: VirtualClock,
) -> None:
    """Also while the history is being read: no task is left."""
    setup = make(virtual_time)
    setup.exchange.rest_delay = 0.2
    async with setup.stream(fill=True) as live:
        changes = live.changes()
        await gap(setup, 0.0)
        while trade_of(live) != "8":
            await virtual_time.sleep(0.05)
    assert steps([change async for change in changes]) == [("1", "8", "resync")]
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def trade_of(live: object) -> str:
    """Return the amount that a stream shows."""
    return f"{live['spot']['usdt'].trade:f}"  # type: ignore[index]


class ScriptedHistory:
    """A history that never ends, or has these records."""

    def __init__(self, records: list[HistoryRecord] | None) -> None:
        self.records = records
        self.reads = 0

    async def history(self, account: int, *, start: datetime):  # type: ignore[no-untyped-def]  # noqa: ANN201
        """Yield the records of an account."""
        del account, start
        self.reads += 1
        if self.records is None:
            await asyncio.Event().wait()
        for each in self.records or ():
            yield each


GAP = StreamEvent(kind="gap", since=TIME, reason="disconnected")
RESYNCED = StreamEvent(kind="resynced", since=TIME, until=TIME, reason="disconnected")
CHANGED = StreamEvent(kind="changed", change=CHANGE)
SECOND = StreamEvent(
    kind="changed", change=attrs.evolve(CHANGE, before=Decimal(40), after=Decimal(10))
)
PUSHED = StreamEvent(kind="changed", change=attrs.evolve(CHANGE, cause="order.match"))
REFUSED = StreamEvent(kind="refused")


async def delivered(
    clock: VirtualClock, history: ScriptedHistory, *events: StreamEvent, seconds: float = 0.1
) -> list[StreamEvent]:
    """Return what is delivered of these events."""
    result: list[StreamEvent] = []
    filler = GapFiller(history, clock, result.append, 1000)
    for event in events:
        filler.put(event)
    await clock.sleep(seconds)
    filler.release()
    return result


async def test_fill_passes_other_events_on_at_once(virtual_time: VirtualClock) -> None:
    """Outside of a gap."""
    history = ScriptedHistory([record(25, 25)])
    lost = attrs.evolve(GAP, until=TIME, reason="lost_push")
    events = [PUSHED, CHANGED, lost, StreamEvent(kind="stale")]
    assert await delivered(virtual_time, history, *events) == events
    assert history.reads == 0


async def test_fill_stops_waiting_for_the_history(virtual_time: VirtualClock) -> None:
    """After its timeout, everything is delivered as it is."""
    history = ScriptedHistory(None)
    events = [GAP, CHANGED, RESYNCED]
    assert await delivered(virtual_time, history, *events, seconds=TIMEOUT + 1) == events


async def test_fill_does_not_read_the_history_of_a_long_gap(virtual_time: VirtualClock) -> None:
    """HTX's window is an hour."""
    history = ScriptedHistory([record(25, 25)])
    long = attrs.evolve(RESYNCED, until=TIME + LONGEST_GAP * 1.01)
    assert await delivered(virtual_time, history, GAP, CHANGED, long) == [GAP, CHANGED, long]
    assert history.reads == 0


async def test_fill_explains_only_the_first_difference_of_a_row(
    virtual_time: VirtualClock,
) -> None:
    """A later one is not that of the gap."""
    history = ScriptedHistory([record(25, 25)])
    received = await delivered(virtual_time, history, GAP, CHANGED, SECOND, RESYNCED)
    changes = [event.change for event in received if event.change is not None]
    assert [change.cause for change in changes] == ["trade", "resync", "resync"]


async def test_fill_keeps_the_order_of_two_gaps(virtual_time: VirtualClock) -> None:
    """The second one begins while the history of the first is read."""
    history = ScriptedHistory([])
    events = [GAP, CHANGED, RESYNCED, PUSHED, GAP, SECOND, RESYNCED, PUSHED]
    assert await delivered(virtual_time, history, *events) == events
    assert history.reads == 2


async def test_fill_delivers_everything_before_a_refusal(virtual_time: VirtualClock) -> None:
    """The stream will not be synced again."""
    events = [GAP, CHANGED, REFUSED]
    assert await delivered(virtual_time, ScriptedHistory([]), *events) == events


@pytest.mark.parametrize("read", ["pending", "not started"])
async def test_fill_close_delivers_what_is_held_back(virtual_time: VirtualClock, read: str) -> None:
    """Whether or not the history is being read."""
    events = [GAP, CHANGED, *([RESYNCED] if read == "pending" else [])]
    assert await delivered(virtual_time, ScriptedHistory(None), *events) == events
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.slow
async def test_fill_with_the_history_of_the_sandbox() -> None:
    """Over real sockets."""
    sandbox = Sandbox()
    async with (
        sandbox.serve() as base_url,
        HTXClient(Credentials("access-key", "secret-key"), base_url=base_url) as htx,
        htx.accounts.stream("spot", fill=True) as live,
    ):
        changes = live.changes()
        sandbox.interrupt_streams(faults.reset())
        sandbox.move("spot", "usdt", trade="5", frozen="0", cause="withdraw")
        sandbox.move("spot", "usdt", trade="8", cause="deposit")
        causes = [(await anext(changes)).cause for _ in range(3)]
    assert sorted(map(str, causes)) == ["deposit", "withdraw", "withdraw"]
