"""What a watch keeps, what it survives, and how it looks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal

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
from htx_async.cli.watch.state import KEPT, Watched, watch
from htx_async.resources.accounts import BALANCE
from htx_async.sandbox import Sandbox, faults
from tests.virtual import DAY, VirtualClock, run


def held(**amounts: str) -> AccountBalance:
    """Return a spot account with so much of each currency."""
    rows = (
        f'{{"currency":"{name}","type":"trade","balance":"{amount}"}}'
        for name, amount in amounts.items()
    )
    return BALANCE.read(
        f'{{"id":1,"type":"spot","state":"working","list":[{",".join(rows)}]}}'.encode()
    )


def reading(*outcomes: AccountBalance | HTXError) -> Callable[[], Awaitable[AccountBalance]]:
    """Return what reads one after the other."""
    left = iter(outcomes)

    async def read() -> AccountBalance:
        outcome = next(left)
        if isinstance(outcome, HTXError):
            raise outcome
        return outcome

    return read


async def watched(
    read: Callable[[], Awaitable[AccountBalance]], times: int, every: float = 2.0
) -> list[Watched]:
    """Return what a watch has seen after each of so many reads."""
    seen: list[Watched] = []
    async for each in watch(read, every, VirtualClock()):
        seen.append(each)
        if len(seen) == times:
            break
    return seen


def test_changes_are_kept_the_newest_first() -> None:
    """With when they were seen."""
    read = reading(held(usdt="1", btc="2"), held(usdt="3", btc="2"), held(usdt="3", btc="0.5"))
    first, second, third = run(watched(read, 3))
    assert (first.moves, first.reads) == ((), 1)
    assert (second.fresh, third.fresh, third.reads) == (1, 1, 3)
    assert [(move.at - DAY, move.change.currency) for move in third.moves] == [
        (4.0, "btc"),
        (2.0, "usdt"),
    ]
    assert third.moves[0].change.delta == Decimal("-1.5")


def test_what_is_too_much_is_forgotten() -> None:
    """A watch that runs for weeks stays as small."""
    many = {f"c{number}": "1" for number in range(KEPT + 5)}
    _, last = run(watched(reading(held(), held(**many)), 2))
    assert (len(last.moves), last.fresh) == (KEPT, KEPT)
    assert f"2 reads, {KEPT + 5} changes. The latest {KEPT} are shown." in left(last)


def test_faults_are_survived_and_their_changes_seen() -> None:
    """Also if the first read fails; what moved meanwhile is one change."""
    down = ConnectError("no connection")
    read = reading(down, held(usdt="1"), down, down, held(usdt="5"))
    seen = run(watched(read, 5))
    assert [each.trouble for each in seen] == [down, None, down, down, None]
    assert [each.fresh for each in seen] == [0, 0, 0, 0, 1]
    assert seen[-1].moves[0].change.delta == 4


@pytest.mark.parametrize(
    "error",
    [
        KeyExpiredError("expired"),
        AccountNotFoundError("none"),
        APIError("OTC account", code="base-argument-unsupported"),
    ],
)
def test_what_will_not_pass_ends_it(error: HTXError) -> None:
    """Asking on with a wrong key helps nobody."""
    with pytest.raises(type(error)):
        run(watched(reading(held(), error), 3))


def test_the_budget_is_kept() -> None:
    """A slow read delays the next one; a quick one does not bring it forward."""

    async def main() -> list[float]:
        clock, began = VirtualClock(), list[float]()

        async def read() -> AccountBalance:
            began.append(clock.monotonic())
            await clock.sleep(3.0 if len(began) == 2 else 0.1)
            return held()

        await watched(read, 4, every=1.0)
        return began

    assert run(main()) == pytest.approx([0.0, 1.0, 4.0, 5.0])


def test_an_exchange_that_goes_away_and_comes_back() -> None:
    """A sandbox in maintenance for a while, through the whole client."""

    async def main() -> list[Watched]:
        clock, sandbox = VirtualClock(), Sandbox(clock=VirtualClock())
        changed = faults.field("data.list[0].balance", "100")
        transport = httpx.ASGITransport(sandbox)
        keys = Credentials("access-key", "secret-key")
        async with HTXClient(keys, transport=transport, clock=clock, timeout=5.0) as htx:
            seen: list[Watched] = []
            async for each in watch(lambda: htx.accounts.balance(1000001), 1.0, clock):
                seen.append(each)
                if len(seen) == 1:
                    sandbox.faults.always(faults.maintenance())
                if each.trouble is not None and len(seen) > 3:
                    sandbox.faults.clear()
                    sandbox.faults.always(changed)
                if each.fresh:
                    return seen
        raise AssertionError

    seen = run(main())
    assert [each.trouble is not None for each in seen] == [False, True, True, True, False]
    assert seen[-1].moves[0].change.after == 100


def shown(seen: Watched, now: float, width: int, rows: int = 24, free: int | None = None) -> str:
    """Return a screen as it looks."""
    limit = (
        None if free is None else RateLimitStatus(RateLimit(100, 2.0), free, 0, 0.0, 0, None, None)
    )
    console = Console(width=width, no_color=True, markup=False)
    with console.capture() as capture:
        console.print(view.view(seen, now, rows, limit))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def left(seen: Watched) -> str:
    """Return what a watch leaves on the terminal."""
    console = Console(width=80, no_color=True, markup=False)
    with console.capture() as capture:
        console.print(view.summary(seen))
    return capture.get()


LONG = "1234567.123456789012345678"


def after(balances: Sequence[AccountBalance | HTXError]) -> Watched:
    return run(watched(reading(*balances), len(balances)))[-1]


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (160, "time (UTC) currency type before now by"),
        (86, "time (UTC) currency type now by"),
        (56, "time (UTC) currency type by"),
    ],
)
def test_a_screen_shows_what_it_has_room_for(width: int, titles: str) -> None:
    """How much it moved is never left out, and no figure is folded."""
    text = shown(after([held(usdt="0"), held(usdt=LONG)]), DAY + 3, width)
    assert titles in [" ".join(line.split()) for line in text.splitlines()]
    assert f"+{LONG}" in text
    assert max(map(len, text.splitlines())) <= width


def test_a_small_screen_shows_the_newest() -> None:
    """And says how many changes there are in all."""
    many = {f"c{number}": "1" for number in range(30)}
    text = shown(after([held(**many), held()]), DAY + 2, 80, rows=12)
    assert "30 changes." in text
    assert len(text.splitlines()) <= 12
    assert "-1" in text


def test_the_status_of_a_screen() -> None:
    """Nothing read yet, nothing moved yet, trouble."""
    assert "Watching: nothing was read yet" in shown(Watched(DAY), DAY, 80)
    one = after([held()])
    assert "1 read, last 7 s ago, 0 changes. 95/100 tokens free." in shown(one, DAY + 7, 80, 24, 95)
    weeks = attrs.evolve(one, reads=999_999, changes=9_999)
    assert "9999 changes. 100/100 tokens free. Ctrl-C ends it.\n" in shown(
        weeks, DAY + 9, 80, 24, 100
    )
    down = after([held(), ConnectError("no connection")])
    assert "No balance for 30 s, asking on: no connection" in shown(down, DAY + 30, 80)
    never = after([ConnectError("no connection")])
    assert "No balance for 4 s" in shown(never, DAY + 4, 80)


def test_what_a_watch_leaves() -> None:
    """No table without a change, no count without a read; and why there was none."""
    assert left(Watched(DAY)).strip() == ""
    down = ConnectError("no connection")
    assert left(after([down])) == "The last read failed: no connection\n"
    assert left(after([held()])) == "1 read, 0 changes.\n"
    moved = left(after([held(usdt="1"), held(usdt="2"), down]))
    assert moved.startswith("Changes in spot account 1 since ")
    assert moved.endswith("+1\nThe last read failed: no connection\n2 reads, 1 change.\n")


def test_lines() -> None:
    """One for each change of a read, which another program can take apart."""
    seen = after([held(usdt="1", btc="2"), held(usdt="3.50", btc="1")])
    assert list(view.lines(seen)) == [
        "2023-11-14T22:13:22Z usdt trade 1 -> 3.5 (+2.5)",
        "2023-11-14T22:13:22Z btc trade 2 -> 1 (-1)",
    ]
    assert not list(view.lines(after([held(usdt="1"), held(usdt="2"), held(usdt="2")])))


def test_notices() -> None:
    """What has to be told of the reads is told once."""
    down = ConnectError("down")
    seen = run(watched(reading(down, held(), held(), down, down, held(), held()), 7))
    before = [Watched(DAY), *seen]
    assert [view.notice(*pair) for pair in zip(before, seen, strict=False)] == [
        "no balance, asking on: down",
        "watching spot account 1",
        "",
        "no balance, asking on: down",
        "",
        "balances again, after 6 s",
        "",
    ]
