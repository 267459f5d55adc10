"""Tables: figures below each other, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import attrs
import pytest
from rich.console import Console, RenderableType

from htx_async import (
    Account,
    AccountSnapshot,
    AccountState,
    AccountType,
    APIError,
    PointBalance,
    PointGroup,
    RateLimit,
    Snapshot,
)
from htx_async.cli import tables
from htx_async.cli.doctor.finding import Finding, Verdict
from htx_async.cli.number_format import figure, figures
from htx_async.models.enums import PointAccountStatus
from htx_async.ratelimit.queue import RateLimitStatus
from htx_async.resources.accounts import BALANCE


def shown(table: RenderableType, width: int = 80) -> str:
    """Return a table as a terminal shows it."""
    console = Console(width=width, no_color=True, markup=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.mark.parametrize(
    ("amount", "text"),
    [("1.500", "1.5"), ("100", "100"), ("0E-18", "0"), ("1E+3", "1000"), ("-0.10", "-0.1")],
)
def test_figures_have_no_exponent_and_no_idle_zeros(amount: str, text: str) -> None:
    """The same amount, shorter."""
    assert figure(Decimal(amount)) == text


def column(amounts: Sequence[str], width: int = 80) -> list[str]:
    """Return amounts of a table as a terminal shows them."""
    table = tables.plain("A title that is longer than all", "currency")
    for (amount,) in figures(table, ("amount", [Decimal(each) for each in amounts])):
        table.add_row("usdt", amount)
    return [line.rstrip() for line in shown(table, width).rpartition("─\n")[2].splitlines()]


def test_points_are_below_each_other() -> None:
    """Digits of the same worth stand in one column, in a table that is wider than they need."""
    rows = column(["1.25", "-30", "1000.5"])
    assert [row.split()[1] for row in rows] == ["1.25", "-30", "1000.5"]
    one, thirty, thousand = rows
    assert one.index(".") == thousand.index(".") == thirty.index("0") + 1
    assert column([]) == []


def test_a_figure_without_room_is_folded() -> None:
    """No digit is lost, however narrow it is."""
    rows = column(["123456789.123456789", "7"], 18)
    assert "".join("".join(row.split()).removeprefix("usdt") for row in rows) == (
        "123456789.1234567897"
    )
    assert len(rows) > 2
    assert max(map(len, rows)) <= 18


def test_hidden_currencies_are_counted() -> None:
    """The table says that there is more."""
    balance = BALANCE.read(
        b'{"id":1,"type":"spot","state":"working","list":['
        b'{"currency":"btc","type":"trade","balance":"0"},'
        b'{"currency":"usdt","type":"trade","balance":"1"},'
        b'{"currency":"usdt","type":"lock","balance":"7"}]}'
    )
    few = shown(tables.balance(balance, every=False))
    assert "btc" not in few
    assert "and 1 more of which there is nothing: --all" in few
    assert "lock 7" in few
    every = shown(tables.balance(balance, every=True))
    assert "btc" in every


def test_points_expire_soonest_first() -> None:
    """With the days that are left; an expiry that HTX did not tell is unknown, not never."""
    groups = (
        PointGroup(0, None, Decimal(1)),
        PointGroup(7, None, Decimal(2)),
        PointGroup(5, datetime(2030, 1, 3, tzinfo=UTC), Decimal(3)),
        PointGroup(6, datetime(2030, 1, 2, tzinfo=UTC), Decimal(4)),
    )
    points = PointBalance(1, PointAccountStatus("working"), Decimal(10), groups)
    now = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    text = shown(tables.points(points, now))
    assert text.index("2030-01-02") < text.index("2030-01-03") < text.index("never")
    assert "unknown" in text
    assert "expired" in shown(tables.points(points, datetime(2031, 1, 1, tzinfo=UTC).timestamp()))


HELD = (
    b'{"id":2,"type":"margin","state":"working","list":['
    b'{"currency":"[b]tc","type":"trade","balance":"1234567.123456789012345678"},'
    b'{"currency":"[b]tc","type":"frozen","balance":"0.000000000000000001"},'
    b'{"currency":"[b]tc","type":"loan","balance":"-2.433"},'
    b'{"currency":"[b]tc","type":"total","balance":"7"},'
    b'{"currency":"usdt","type":"trade","balance":"1"}]}'
)


def test_figures_are_not_folded() -> None:
    """Where a row has no room, each amount has a line; whatever HTX calls its row types."""
    balance = tables.balance(BALANCE.read(HELD), every=False, subtype="btcusdt")
    wide, narrow = shown(balance, 160), shown(balance, 80)
    for text in (wide, narrow):
        assert "Balance of margin btcusdt account 2 (working)" in text
        assert "1234567.123456789012345679" in text
        assert "[b]tc" in text
    assert "loan -2.433, total 7" in wide
    assert "loan -2.433" not in narrow
    assert max(map(len, narrow.splitlines())) <= 80


def test_a_snapshot_in_parts() -> None:
    """Full accounts, sums, empty ones, what failed; and none of them where there is none."""

    def account(number: int, kind: str) -> Account:
        return Account(number, AccountType(kind), "", AccountState("working"))

    held = BALANCE.read(HELD)
    empty = BALANCE.read(b'{"id":3,"type":"spot","state":"working","list":[]}')
    pictures = (
        AccountSnapshot(account(2, "margin"), held, None),
        AccountSnapshot(account(3, "spot"), empty, None),
        AccountSnapshot(account(4, "spot"), None, APIError("no luck")),
        AccountSnapshot(account(5, "otc"), None, APIError("never told")),
    )
    text = shown(tables.snapshot(Snapshot(pictures), every=False))
    assert "Nothing in 3 (spot)." in text
    assert "together" not in text  # of one
    assert "Not read: 4 (spot): no luck" in text
    assert "HTX does not tell what is in 5 (otc)." in text
    assert "never told" not in text
    both = shown(tables.snapshot(Snapshot(pictures[:2]), every=True))
    assert "All 2 accounts together" in both
    assert "Nothing in" not in both
    assert shown(tables.snapshot(Snapshot(()), every=False)).strip() == ""


@pytest.mark.parametrize(
    ("remain", "expire", "expected"),
    [(None, None, "- -"), (7, "500", "7 0.5 s"), (0, "1500001900", "0 1.9 s")],
)
def test_limits_say_what_htx_said(remain: int | None, expire: str | None, expected: str) -> None:
    """The end of its window in seconds, whatever the unit was."""
    status = RateLimitStatus(RateLimit(100, 2.0), 98, 0, 0.0, 3, remain, expire)
    row = shown(tables.limits({"GET /v1/x": status}, 1_500_001_898.1)).splitlines()[3]
    assert " ".join(row.split()) == f"/v1/x 100/2 s 98 {expected} 3"


def test_what_the_doctor_says() -> None:
    """A line for the finding, one for the advice; the last word names the first fault."""
    bad = Finding("key", Verdict.FAILED, "HTX said: [no]", "Make a new one.")
    assert [line.rstrip() for line in shown(tables.finding(bad), 40).splitlines()] == [
        "FAIL  key         HTX said: [no]",
        "      > Make a new one.",
    ]
    long = attrs.evolve(bad, advice="Make a new one, and then another one.")
    assert [line.rstrip() for line in shown(tables.finding(long), 40).splitlines()[1:]] == [
        "      > Make a new one, and then another",
        "        one.",
    ]
    fine = Finding("name", Verdict.UNKNOWN, "not told")
    assert shown(tables.finding(fine)).rstrip() == "?     name        not told"
    assert tables.verdict([fine]) == "All is well."
    assert tables.verdict([fine, bad]) == "Begin with: key."
