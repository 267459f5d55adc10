"""CSV export: nothing that HTX did not send, and no text that controls a terminal or a sheet."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from htx_async import Account, AccountBalance, AccountSnapshot, Snapshot
from htx_async.cli.csv_export import write_balance, write_snapshot


def balance_of(*rows: tuple[str, str, str]) -> AccountBalance:
    """Return a balance with rows of currency, type and amount."""
    entries = [{"currency": name, "type": kind, "balance": text} for name, kind, text in rows]
    data: dict[str, Any] = {"id": 1, "type": "spot", "state": "working", "entries": entries}
    return AccountBalance.from_dict(data)


def cells_of(balance: AccountBalance) -> list[list[str]]:
    """Return the cells of the CSV of *balance*."""
    file = io.StringIO()
    write_balance(balance, file)
    return list(csv.reader(io.StringIO(file.getvalue())))


def test_csv_cell_without_a_row_is_empty() -> None:
    """A zero would be an amount that HTX did not send."""
    rows = (
        ("usdt", "trade", "1"),
        ("usdt", "loan", "-2"),
        ("btc", "frozen", "0.10"),
        ("a", "loan", "0"),
    )
    assert cells_of(balance_of(*rows)) == [
        ["currency", "trade", "frozen", "total", "loan"],
        ["usdt", "1", "", "1", "-2"],
        ["btc", "", "0.1", "0.1", ""],
        ["a", "", "", "", "0"],
    ]


def test_csv_always_has_the_columns_trade_and_frozen() -> None:
    assert cells_of(balance_of()) == [["currency", "trade", "frozen", "total"]]
    assert cells_of(balance_of(("a", "loan", "-1")))[0][:4] == cells_of(balance_of())[0]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\r", r"a\nb\r"),
        ("\u202e", r"\u202e"),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", r"\t=1"),
        ("币", "币"),
        ("1=1", "1=1"),
    ],
)
def test_csv_text_is_escaped(text: str, cell: str) -> None:
    """Names come from HTX; amounts, which are numbers, keep their sign."""
    head, row = cells_of(balance_of((text, text, "-1"), (text, "trade", "-2")))
    assert head[-1] == row[0] == cell
    assert row[1:] == ["-2", "", "-2", "-1"]
    account = Account.from_dict({"id": 1, "type": "spot", "subtype": text, "state": "working"})
    file = io.StringIO()
    snapshot = AccountSnapshot(account, balance_of((text, text, "-1")), None)
    write_snapshot(Snapshot((snapshot,)), file)
    assert list(csv.reader(io.StringIO(file.getvalue())))[1] == [
        "1",
        "spot",
        cell,
        cell,
        cell,
        "-1",
    ]
