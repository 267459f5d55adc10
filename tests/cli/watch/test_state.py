"""State of `htx-async watch`, the errors that it survives, and its output."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from decimal import Decimal
from itertools import pairwise

import attrs
import httpx
import pytest
from rich.console import Console

from htx_async import (
    AccountBalance,
    AccountNotFoundError,
    APIError,
    ConnectError,
    Credentials,
    HTXClient,
    HTXError,
    KeyExpiredError,
    RateLimit,
    RateLimitStatus,
)
from htx_async.cli.watch import view
from htx_async.cli.watch.state import MAX_CHANGES, WatchState, watch
from htx_async.resources.accounts import BALANCE
from htx_async.sandbox import Sandbox, faults
from tests.decoded import decoded
from tests.virtual import DAY, VirtualClock


def spot(**amounts: str) -> AccountBalance:
    """Return a spot account with these amounts by currency."""
    rows = (
        f'{{"currency":"{name}","type":"trade","balance":"{amount}"}}'
        for name, amount in amounts.items()
    )
    return decoded(
        BALANCE, f'{{"id":1,"type":"spot","state":"working","list":[{",".join(rows)}]}}'.encode()
    )


def returning(*outcomes: AccountBalance | HTXError) -> Callable[[], Awaitable[AccountBalance]]:
    """Return a function that returns or raises the outcomes, in order."""
    remaining = iter(outcomes)

    async def fetch() -> AccountBalance:
        outcome = next(remaining)
        if isinstance(outcome, HTXError):
            raise outcome
        return outcome

    return fetch


async def watched(
    fetch: Callable[[], Awaitable[AccountBalance]], count: int, every: float = 2.0
) -> list[WatchState]:
    """Return the states after the first *count* calls."""
    states: list[WatchState] = []
    async with aclosing(watch(fetch, every, VirtualClock())) as results:
        async for state in results:
            states.append(state)
            if len(states) == count:
                break
    return states


async def test_changes_are_newest_first(virtual_time: VirtualClock) -> None:
    """With the time at which they were received."""
    started_at = virtual_time.now()
    fetch = returning(spot(usdt="1", btc="2"), spot(usdt="3", btc="2"), spot(usdt="3", btc="0.5"))
    first, second, third = await watched(fetch, 3)
    assert (first.changes, first.updates) == ((), 1)
    assert (second.new_count, third.new_count, third.updates) == (1, 1, 3)
    assert [(item.at - started_at, item.change.currency) for item in third.changes] == [
        (4.0, "btc"),
        (2.0, "usdt"),
    ]
    assert third.changes[0].change.delta == Decimal("-1.5")


@pytest.mark.usefixtures("virtual_time")
async def test_changes_are_limited() -> None:
    """The count includes those that are dropped."""
    many = {f"c{number}": "1" for number in range(MAX_CHANGES + 5)}
    _, last = await watched(returning(spot(), spot(**many)), 2)
    assert (len(last.changes), last.new_count) == (MAX_CHANGES, MAX_CHANGES)
    counts = f"2 updates, {MAX_CHANGES + 5} changes. The latest {MAX_CHANGES} are shown."
    assert counts in summary(last)


@pytest.mark.usefixtures("virtual_time")
async def test_watch_continues_after_errors() -> None:
    """Also if the first call fails; changes during an outage are one change."""
    down = ConnectError("no connection")
    fetch = returning(down, spot(usdt="1"), down, down, spot(usdt="5"))
    states = await watched(fetch, 5)
    assert [state.last_error for state in states] == [down, None, down, down, None]
    assert [state.new_count for state in states] == [0, 0, 0, 0, 1]
    assert states[-1].changes[0].change.delta == 4


@pytest.mark.parametrize(
    "error",
    [
        KeyExpiredError("expired"),
        AccountNotFoundError("none"),
        APIError("OTC account", code="base-argument-unsupported"),
    ],
)
@pytest.mark.usefixtures("virtual_time")
async def test_watch_raises_fatal_error(error: HTXError) -> None:
    """With a wrong key or account, later calls would fail, too."""
    with pytest.raises(type(error)):
        await watched(returning(spot(), error), 3)


async def test_watch_starts_calls_at_interval(virtual_time: VirtualClock) -> None:
    """A slow call delays the next one; a fast one does not bring it forward."""
    started: list[float] = []

    async def fetch() -> AccountBalance:
        started.append(virtual_time.monotonic())
        await virtual_time.sleep(3.0 if len(started) == 2 else 0.1)
        return spot()

    await watched(fetch, 4, every=1.0)
    assert started == pytest.approx([0.0, 1.0, 4.0, 5.0])


async def test_watch_continues_after_maintenance_of_sandbox(virtual_time: VirtualClock) -> None:
    """Through a client."""
    sandbox = Sandbox(clock=VirtualClock())
    changed = faults.field("data.list[0].balance", "100")
    transport = httpx.ASGITransport(sandbox)
    keys = Credentials("access-key", "secret-key")
    states: list[WatchState] = []
    async with (
        HTXClient(keys, transport=transport, clock=virtual_time, timeout=5.0) as htx,
        aclosing(watch(lambda: htx.accounts.balance(1000001), 1.0, virtual_time)) as results,
    ):
        async for state in results:
            states.append(state)
            if len(states) == 1:
                sandbox.faults.always(faults.maintenance())
            if state.last_error is not None and len(states) > 3:
                sandbox.faults.clear()
                sandbox.faults.always(changed)
            if state.new_count:
                break
    assert [state.last_error is not None for state in states] == [False, True, True, True, False]
    assert states[-1].changes[0].change.after == 100


def screen(
    state: WatchState, now: float, width: int, height: int = 24, available: int | None = None
) -> str:
    """Return the text of the screen."""
    limit = None
    if available is not None:
        limit = RateLimitStatus(RateLimit(100, 2.0), available, 0, 0.0, 0, None, None)
    console = Console(width=width, no_color=True, markup=False)
    with console.capture() as capture:
        console.print(view.render(state, now, height, limit))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def summary(state: WatchState) -> str:
    """Return the text that remains on the terminal after a watch."""
    console = Console(width=80, no_color=True, markup=False)
    with console.capture() as capture:
        console.print(view.summary(state))
    return capture.get()


LONG = "1234567.123456789012345678"


def state_after(*outcomes: AccountBalance | HTXError) -> WatchState:
    """Return the state after calls with these outcomes, two seconds apart from `DAY` on."""
    state = WatchState(DAY)
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, HTXError):
            state = state.with_error(outcome)
        else:
            state = state.with_balance(outcome, DAY + 2 * number)
    return state


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (160, "time (UTC) currency type before now change"),
        (86, "time (UTC) currency type now change"),
        (56, "time (UTC) currency type change"),
    ],
)
def test_screen_omits_columns_on_narrow_terminal(width: int, titles: str) -> None:
    """Never the change itself; no amount is wrapped."""
    text = screen(state_after(spot(usdt="0"), spot(usdt=LONG)), DAY + 3, width)
    assert titles in [" ".join(line.split()) for line in text.splitlines()]
    assert f"+{LONG}" in text
    assert max(map(len, text.splitlines())) <= width


def test_screen_has_record_for_each_change_at_40_columns() -> None:
    """With the amounts before and after it, none of them wrapped."""
    text = screen(state_after(spot(usdt="0"), spot(usdt=LONG)), DAY + 3, 40)
    assert f"change      +{LONG}" in text.splitlines()
    assert f"now          {LONG}" in text.splitlines()
    assert max(map(len, text.splitlines())) <= 40


def test_screen_shows_newest_changes_on_small_terminal() -> None:
    """The count is of all changes."""
    many = {f"c{number}": "1" for number in range(30)}
    text = screen(state_after(spot(**many), spot()), DAY + 2, 80, height=12)
    assert "30 changes." in text
    assert len(text.splitlines()) <= 12
    assert "-1" in text


def test_screen_status_line() -> None:
    """Before the first balance, without changes, after weeks, and with an error."""
    assert "Waiting for the first balance" in screen(WatchState(DAY), DAY, 80)
    one = state_after(spot())
    counts = "1 update (7 s ago), 0 changes, 95/100 tokens available."
    assert counts in screen(one, DAY + 7, 80, available=95)
    weeks = attrs.evolve(one, updates=999_999, change_count=9_999)
    counts = "9999 changes, 100/100 tokens available. Stop: Ctrl-C\n"
    assert counts in screen(weeks, DAY + 9, 80, available=100)
    down = state_after(spot(), ConnectError("no connection"))
    assert "No balance for 30 s, retrying: no connection" in screen(down, DAY + 30, 80)
    never = state_after(ConnectError("no connection"))
    assert "No balance for 4 s" in screen(never, DAY + 4, 80)


def test_summary_omits_empty_parts() -> None:
    """There is no table without changes, and no count without a balance."""
    assert summary(WatchState(DAY)).strip() == ""
    down = ConnectError("no connection")
    assert summary(state_after(down)) == "The last update failed: no connection\n"
    assert summary(state_after(spot())) == "1 update, 0 changes.\n"
    text = summary(state_after(spot(usdt="1"), spot(usdt="2"), down))
    assert text.startswith("Changes in spot account 1 since ")
    assert text.endswith("+1\nThe last update failed: no connection\n2 updates, 1 change.\n")


def test_lines_have_one_change_each() -> None:
    """Only of the latest balance."""
    state = state_after(spot(usdt="1", btc="2"), spot(usdt="3.50", btc="1"))
    assert list(view.lines(state)) == [
        "2023-11-14T22:13:22Z usdt trade 1 -> 3.5 (+2.5)",
        "2023-11-14T22:13:22Z btc trade 2 -> 1 (-1)",
    ]
    assert not list(view.lines(state_after(spot(usdt="1"), spot(usdt="2"), spot(usdt="2"))))


def test_json_lines_have_one_object_for_each_change() -> None:
    """Amounts are strings with every digit."""
    state = state_after(spot(usdt="1", btc="2"), spot(usdt="3.50", btc="1"))
    usdt, btc = map(json.loads, view.json_lines(state))
    assert usdt == {
        "at": "2023-11-14T22:13:22Z",
        "account_id": 1,
        "currency": "usdt",
        "type": "trade",
        "before": "1",
        "after": "3.50",
        "delta": "2.50",
        "cause": None,
        "seq": None,
    }
    assert (btc["currency"], btc["delta"]) == ("btc", "-1")


def test_notice_reports_start_failure_and_recovery_once() -> None:
    down = ConnectError("down")
    outcomes = (down, spot(), spot(), down, down, spot(), spot())
    states = [state_after(*outcomes[:count]) for count in range(len(outcomes) + 1)]
    assert [view.notice(*pair) for pair in pairwise(states)] == [
        "no balance, retrying: down",
        "watching spot account 1",
        "",
        "no balance, retrying: down",
        "",
        "recovered after 6 s",
        "",
    ]
