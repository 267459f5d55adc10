"""Tables: figures below each other, and what is not known."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from rich.console import Console
from rich.table import Table

from htx_async import PointBalance, PointGroup, tables
from htx_async.resources.accounts import BALANCE
from htx_async.vocabulary import PointAccountStatus


def shown(table: Table) -> str:
    """Return a table as a terminal of 80 columns shows it."""
    console = Console(width=80, no_color=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.mark.parametrize(
    ("amount", "text"),
    [("1.500", "1.5"), ("100", "100"), ("0E-18", "0"), ("1E+3", "1000"), ("-0.10", "-0.1")],
)
def test_figures_have_no_exponent_and_no_idle_zeros(amount: str, text: str) -> None:
    """The same amount, shorter."""
    assert tables.figure(Decimal(amount)) == text


def test_points_are_below_each_other() -> None:
    """Digits of the same worth stand in one column."""
    amounts = [Decimal("1.25"), Decimal(30), Decimal("0.5")]
    assert tables.aligned(amounts) == ["1.25", "30   ", "0.5 "]
    assert tables.aligned([]) == []


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
    assert "and 1 more of which there is nothing: --all" in " ".join(few.split())
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
