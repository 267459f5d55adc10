"""State of `htx-async watch` on a stream: what it survives, and its output."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import attrs
import pytest
from rich.console import Console

from htx_async import (
    AccessKeyError,
    AccountBalance,
    AccountNotFoundError,
    BalanceChange,
    BalanceType,
    ConnectError,
    HTXClient,
    HTXError,
    LiveBalances,
    NoResponseError,
    StreamEvent,
)
from htx_async.cli.watch import live_view
from htx_async.cli.watch.live_state import RETRY_DELAY, LiveState, watch_stream
from htx_async.cli.watch.state import MAX_CHANGES
from htx_async.stream.events import StreamStatus
from tests.stream.exchange import FakeExchange, Setup, make, refusal
from tests.virtual import DAY, VirtualClock

DOWN = NoResponseError("no response")
LONG = Decimal("1234567.123456789012345678")


@attrs.frozen
class _Accounts:
    setup: Setup

    def stream(self, account: int) -> LiveBalances:
        return self.setup.stream(account, timeout=10.0)


@attrs.frozen
class _Client:
    """What a watch needs of a client."""

    accounts: _Accounts


@attrs.frozen
class _Shown:
    """What a watch shows of a stream."""

    status: StreamStatus = "synced"
    age: float = 3.2
    bound: float = 25.0


def watching(setup: Setup, opened: list[LiveBalances] | None = None) -> Any:
    """Return the states of a watch of the first account of an exchange."""
    streams = [] if opened is None else opened
    htx = cast("HTXClient", _Client(_Accounts(setup)))
    fetch = lambda: setup.exchange.balance(1)  # noqa: E731 - shorter
    return aclosing(watch_stream(htx, fetch, setup.exchange.clock, streams.append))


async def test_watch_yields_a_state_for_each_event(virtual_time: VirtualClock) -> None:
    """The first one is that it is synced; it reconnects by itself after a cut."""
    setup, opened = make(virtual_time), list[LiveBalances]()
    states: list[LiveState] = []
    async with watching(setup, opened) as results:
        async for state in results:
            states.append(state)
            kind = state.event.kind
            if len(states) == 1:
                setup.exchange.move("usdt", "3", "0.5")
            elif kind == "changed" and state.change_count == 2:
                setup.exchange.move("usdt", "4", "0.5", push=False)
                setup.exchange.socket.cut()
            elif kind == "synced":
                break
    assert [state.event.kind for state in states if state.event] == [
        "synced", "changed", "changed", "gap", "changed", "resynced", "synced"
    ]  # fmt: skip
    gap, last = states[3], states[-1]
    assert (gap.status, gap.gap_count) == ("disconnected", 1)
    assert [item.change.cause for item in last.changes] == ["resync", "order.match", "order.match"]
    assert last.changes[0].change.after == 4
    assert (last.status, last.change_count, last.error) == ("synced", 3, None)
    assert last.balance is not None
    assert (last.balance.id, last.bound, last.age < 1) == (1, 25.0, True)
    assert [live.status for live in opened] == ["closed"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_watch_opens_the_stream_again(virtual_time: VirtualClock) -> None:
    """If the balance cannot be read, or the stream is not synced within the timeout."""
    setup = make(virtual_time)
    exchange: FakeExchange = setup.exchange
    exchange.read_errors.append(DOWN)
    exchange.connect_errors += [ConnectError("refused", retryable=True)] * 6
    states: list[LiveState] = []
    async with watching(setup) as results:
        async for state in results:
            states.append(state)
            if state.event is not None:
                break
    first, second, synced = states
    assert (first.error, first.status, first.bound) == (DOWN, "disconnected", 0.0)
    assert isinstance(second.error, ConnectError)
    assert (synced.error, synced.status) == (None, "synced")
    assert second.at - first.at == pytest.approx(10.0 + RETRY_DELAY, abs=0.2)


@pytest.mark.parametrize("error", [AccessKeyError("wrong key"), AccountNotFoundError("none")])
async def test_watch_raises_an_error_that_stays(
    virtual_time: VirtualClock, error: HTXError
) -> None:
    setup = make(virtual_time)
    setup.exchange.read_errors.append(error)
    with pytest.raises(type(error)):
        async with watching(setup) as results:
            await anext(results)


async def test_watch_ends_when_htx_refuses_the_key(virtual_time: VirtualClock) -> None:
    """The refusal is an event first, then the error."""
    setup = make(virtual_time)
    states: list[LiveState] = []
    with pytest.raises(AccessKeyError, match="revoked"):  # noqa: PT012 - the step that raises is not known
        async with watching(setup) as results:
            async for state in results:
                states.append(state)
                if len(states) == 1:
                    setup.exchange.auth.append(refusal(2002, "auth.fail"))
                    setup.exchange.list_errors.append(AccessKeyError("revoked"))
                    setup.exchange.socket.cut()
    assert [state.event.kind for state in states if state.event] == ["synced", "gap", "refused"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_watch_ends_with_the_stream(virtual_time: VirtualClock) -> None:
    """When its client is closed."""
    setup = make(virtual_time)
    async with watching(setup) as results:
        await anext(results)
        await setup.hub.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(results)


def change(after: Decimal | int = 1, cause: str | None = "order.match") -> StreamEvent:
    row = BalanceChange(7, "usdt", BalanceType.TRADE, Decimal(0), Decimal(after), cause, 12)
    return StreamEvent(kind="changed", change=row)


def state_after(*events: StreamEvent | HTXError, shown: _Shown = _Shown()) -> LiveState:
    """Return the state after these events, a second apart from `DAY` on."""
    live = cast("LiveBalances", shown)
    balance = AccountBalance(7, cast("Any", "spot"), cast("Any", "working"), ())
    state = LiveState(DAY, balance=balance)
    for number, event in enumerate(events):
        if isinstance(event, HTXError):
            state = state.with_error(event, DAY + number)
        else:
            state = state.with_event(event, live, DAY + number)
    return state


def text_of(renderable: object, width: int = 80) -> str:
    console = Console(width=width, no_color=True, markup=False)
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(DAY + seconds, UTC)


SYNCED = StreamEvent(kind="synced")
GAP = StreamEvent(kind="gap", since=at(0), reason="disconnected")
RESYNCED = StreamEvent(kind="resynced", since=at(0), until=at(9), reason="disconnected")
STALE = StreamEvent(kind="stale", error=DOWN)


def test_changes_are_limited() -> None:
    """The count includes those that are dropped."""
    state = state_after(*[change()] * (MAX_CHANGES + 5))
    assert (len(state.changes), state.change_count) == (MAX_CHANGES, MAX_CHANGES + 5)
    assert f"The latest {MAX_CHANGES} are shown." in text_of(live_view.summary(state), 160)


def test_error_stays_until_the_stream_is_synced() -> None:
    """Changes, and events without an error, do not hide it."""
    assert state_after(STALE, change()).error is DOWN
    assert state_after(STALE, GAP).error is DOWN
    assert state_after(STALE, RESYNCED).error is None
    assert state_after(DOWN, SYNCED).error is None


@pytest.mark.parametrize("width", [40, 80, 160])
def test_screen_fits_the_terminal(width: int) -> None:
    """It shows the status, the age, the bound, and every digit of a change."""
    state = state_after(SYNCED, change(LONG), GAP, shown=_Shown("suspect"))
    text = text_of(live_view.render(state, 24), width)
    status = " ".join(text.splitlines()).replace("  ", " ")
    assert "suspect, equal to REST 3 s ago (bound 25 s), 1 change, 1 gap. Stop: Ctrl-C" in status
    assert f"+{LONG}" in text
    assert max(map(len, text.splitlines())) <= width


def test_screen_shows_why_there_is_no_stream() -> None:
    text = text_of(live_view.render(LiveState(DAY), 24))
    assert text.splitlines()[0] == "connecting, 0 changes, 0 gaps. Stop: Ctrl-C"
    assert "Waiting for the first balance" in text
    lines = text_of(live_view.render(state_after(DOWN), 24)).splitlines()
    assert lines[0] == "Not synced, retrying: no response"
    assert lines[1].startswith("disconnected, 0 changes")


def test_screen_shows_the_newest_changes_on_a_small_terminal() -> None:
    text = text_of(live_view.render(state_after(*map(change, range(1, 31))), 12))
    assert len(text.splitlines()) <= 12
    assert "+30" in text
    assert "+1\n" not in text


def test_summary_omits_empty_parts() -> None:
    assert text_of(live_view.summary(LiveState(DAY))) == ""
    assert text_of(live_view.summary(state_after(SYNCED))) == "0 changes, 0 gaps."
    text = text_of(live_view.summary(state_after(SYNCED, change(), GAP, STALE)))
    assert text.startswith("Changes in spot account 7 since ")
    assert text.endswith("+1\nThe stream was not synced: no response\n1 change, 1 gap.")


def test_line_has_the_cause() -> None:
    """Only a change has one; a cause of HTX may be anything, but is on one line."""
    assert list(live_view.lines(state_after(SYNCED, change()))) == [
        "2023-11-14T22:13:21Z usdt trade 0 -> 1 (+1) order.match"
    ]
    (line,) = live_view.lines(state_after(change(cause="a\nb")))
    assert line.endswith("(+1) a b")
    (line,) = live_view.lines(state_after(change(cause=None)))
    assert line.endswith("(+1)")
    assert not list(live_view.lines(state_after(change(), GAP)))
    assert not list(live_view.lines(LiveState(DAY)))


def test_json_has_an_object_for_each_event() -> None:
    """Amounts are strings; events that are not changes have the status."""
    (changed,) = map(json.loads, live_view.json_lines(state_after(change(LONG))))
    assert changed == {
        "at": "2023-11-14T22:13:20Z",
        "kind": "changed",
        "account_id": 7,
        "currency": "usdt",
        "type": "trade",
        "before": "0",
        "after": str(LONG),
        "cause": "order.match",
        "seq": 12,
        "delta": str(LONG),
    }
    status = {"at": "2023-11-14T22:13:20Z", "status": "synced", "age": 3.2, "bound": 25.0}
    (gap,) = map(json.loads, live_view.json_lines(state_after(GAP)))
    assert gap == status | {
        "kind": "gap", "since": "2023-11-14T22:13:20Z", "reason": "disconnected"
    }  # fmt: skip
    (stale,) = map(json.loads, live_view.json_lines(state_after(STALE)))
    assert stale == status | {"kind": "stale", "error": "no response"}
    (resynced,) = map(json.loads, live_view.json_lines(state_after(RESYNCED)))
    assert resynced["until"] == "2023-11-14T22:13:29Z"
    assert not list(live_view.json_lines(state_after(DOWN)))


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (SYNCED, "watching spot account 7, synced"),
        (GAP, "gap from 22:13:20 to now: disconnected"),
        (
            StreamEvent(kind="gap", since=at(0), until=at(5), reason="lost_push"),
            "gap from 22:13:20 to 22:13:25: lost push",
        ),
        (RESYNCED, "resynced, gap from 22:13:20 to 22:13:29: disconnected"),
        (STALE, "not proven equal to REST for 3 s: no response"),
        (StreamEvent(kind="stale"), "not proven equal to REST for 3 s"),
        (
            StreamEvent(kind="contradiction"),
            "the serial numbers of REST and of the stream are not comparable",
        ),
        (StreamEvent(kind="overflow"), "too many changes: some of them were joined"),
        (StreamEvent(kind="refused", error=DOWN), ""),
        (change(), ""),
    ],
)
def test_notice_of_event(event: StreamEvent, message: str) -> None:
    """A change is a line of its own, and a refusal the error that ends the watch."""
    assert live_view.notice(LiveState(DAY), state_after(event)) == message


def test_notice_of_failure_is_given_once() -> None:
    failed, again = state_after(DOWN), state_after(DOWN, DOWN)
    assert live_view.notice(LiveState(DAY), failed) == "no stream, retrying: no response"
    assert live_view.notice(failed, again) == ""
    assert live_view.failure_notice(LiveState(DAY), state_after(GAP)) == ""
    assert live_view.notice(state_after(change()), state_after(change(), SYNCED)) == ""
