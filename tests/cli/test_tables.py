"""Tables: alignment, widths and captions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from rich.console import Console, RenderableType

from htx_async import (
    Account,
    AccountSnapshot,
    AccountState,
    AccountType,
    APIError,
    AssetValuation,
    PointAccountStatus,
    PointBalance,
    PointGroup,
    RateLimit,
    RateLimitStatus,
    Snapshot,
)
from htx_async.cli import tables
from htx_async.cli.layout import Amount, DataTable
from htx_async.cli.number_format import format_amount
from htx_async.resources.accounts import BALANCE
from tests.decoded import decoded
from tests.virtual import DAY


def rendered(table: RenderableType, width: int = 80) -> str:
    """Return the text of a table on a terminal."""
    console = Console(width=width, no_color=True, markup=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.mark.parametrize(
    ("amount", "text"),
    [("1.500", "1.5"), ("100", "100"), ("0E-18", "0"), ("1E+3", "1000"), ("-0.10", "-0.1")],
)
def test_format_amount_has_no_exponent_and_no_trailing_zeros(amount: str, text: str) -> None:
    assert format_amount(Decimal(amount)) == text


def column(amounts: Sequence[str], width: int = 80) -> list[str]:
    """Return the rows of a table of amounts on a terminal."""
    rows = [("usdt", Amount(amount)) for amount in amounts]
    table = DataTable("A title wider than its table", ("currency", "amount"), rows)
    return [line.rstrip() for line in rendered(table, width).rpartition("─\n")[2].splitlines()]


def test_amounts_are_aligned_at_decimal_point() -> None:
    """Also if the title of the column is wider."""
    for amounts in (["1.25", "-30", "1000.5"], ["1.2", "-3", "10"]):
        rows = column(amounts)
        assert [row.split()[1] for row in rows] == amounts
        one, thirty, thousand = rows
        point = one.index(".")
        assert thirty.rindex(amounts[1][-1]) == point - 1
        assert thousand.partition(".")[0].rindex("0") == point - 1
    assert column([]) == []


def test_amount_is_never_wrapped() -> None:
    """One that does not fit beside its title has a line of its own, whatever its length."""
    rows = column(["123456789.123456789", "7", "0.5"], 24)
    assert rows == [
        "A title wider than its",
        "table",
        "currency  usdt",
        "amount",
        "123456789.123456789",
        "",
        "currency  usdt",
        "amount    7",
        "",
        "currency  usdt",
        "amount    0.5",
    ]
    table = DataTable("", ("amount",), [(Amount("1" * 50),)])
    console = Console(width=40)
    with console.capture() as capture:
        console.print(table, crop=False)
    assert "1" * 50 in capture.get().splitlines()


def test_text_of_record_is_folded() -> None:
    rows = [("/v1/account/accounts/{account-id}/balance", "", Amount("9"))]
    table = DataTable("Limits", ("endpoint", "empty", "429s"), rows, "caption")
    assert rendered(table, 40).splitlines() == [
        "Limits",
        "endpoint",
        "/v1/account/accounts/{account-id}/balanc",
        "e",
        "429s      9",
        "caption",
    ]


def test_balance_caption_counts_hidden_currencies() -> None:
    balance = decoded(
        BALANCE,
        b'{"id":1,"type":"spot","state":"working","list":['
        b'{"currency":"btc","type":"trade","balance":"0"},'
        b'{"currency":"usdt","type":"trade","balance":"1"},'
        b'{"currency":"usdt","type":"lock","balance":"7"}]}',
    )
    nonzero = rendered(tables.balance(balance, show_zero=False))
    assert "btc" not in nonzero
    assert "zero balances hidden: 1 (see --all)" in nonzero
    assert "lock 7" in nonzero
    complete = rendered(tables.balance(balance, show_zero=True))
    assert "btc" in complete


def test_points_are_ordered_by_expiry() -> None:
    """Without an expiry date, groups are "never" if they are termless, else "unknown"."""
    groups = (
        PointGroup(0, None, Decimal(1)),
        PointGroup(7, None, Decimal(2)),
        PointGroup(5, datetime(2030, 1, 3, tzinfo=UTC), Decimal(3)),
        PointGroup(6, datetime(2030, 1, 2, tzinfo=UTC), Decimal(4)),
    )
    points = PointBalance(1, PointAccountStatus("working"), Decimal(10), groups)
    now = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    text = rendered(tables.points(points, now))
    assert text.index("2030-01-02") < text.index("2030-01-03") < text.index("never")
    assert "unknown" in text
    assert "expired" in rendered(
        tables.points(points, datetime(2031, 1, 1, tzinfo=UTC).timestamp())
    )


MARGIN = (
    b'{"id":2,"type":"margin","state":"working","list":['
    b'{"currency":"[b]tc","type":"trade","balance":"1234567.123456789012345678"},'
    b'{"currency":"[b]tc","type":"frozen","balance":"0.000000000000000001"},'
    b'{"currency":"[b]tc","type":"loan","balance":"-2.433"},'
    b'{"currency":"[b]tc","type":"total","balance":"7"},'
    b'{"currency":"usdt","type":"trade","balance":"1"}]}'
)


@pytest.mark.parametrize("width", [80, 40])
def test_balance_has_record_for_each_currency_on_narrow_terminal(width: int) -> None:
    """Amounts are not wrapped. A row type that is called total is not the total."""
    balance = tables.balance(decoded(BALANCE, MARGIN), show_zero=False, subtype="btcusdt")
    wide, narrow = rendered(balance, 160), rendered(balance, width)
    for text in (" ".join(wide.split()), " ".join(narrow.split())):
        assert "Balance of margin btcusdt account 2 (working)" in text
        assert "1234567.123456789012345679" in text
        assert "[b]tc" in text
    assert "loan -2.433, total 7" in wide
    assert "loan -2.433" not in narrow
    assert max(map(len, narrow.splitlines())) <= width
    assert narrow.rpartition("working)\n")[2].splitlines() == [
        "currency  [b]tc",
        "trade     1234567.123456789012345678",
        "frozen          0.000000000000000001",
        "total     1234567.123456789012345679",
        "loan           -2.433",
        "total           7",
        "",
        "currency  usdt",
        "trade     1",
        "frozen    0",
        "total     1",
    ]


def test_total_has_loans_and_net_value() -> None:
    """Debts are negative amounts. Without any, there are no columns for them."""
    margin = decoded(
        BALANCE,
        b'{"id":2,"type":"margin","state":"working","list":['
        b'{"currency":"btc","type":"trade","balance":"1"},'
        b'{"currency":"btc","type":"loan","balance":"-2.5"},'
        b'{"currency":"btc","type":"interest","balance":"-0.01"},'
        b'{"currency":"usdt","type":"trade","balance":"7"}]}',
    )
    spot = decoded(
        BALANCE,
        b'{"id":3,"type":"spot","state":"working","list":['
        b'{"currency":"btc","type":"frozen","balance":"0.5"}]}',
    )
    wide = rendered(tables.combined([margin, spot]), 100).splitlines()
    assert wide[1].split() == ["currency", "trade", "frozen", "total", "loan", "interest", "net"]
    assert wide[3].split() == ["btc", "1", "0.5", "1.5", "-2.5", "-0.01", "-1.01"]
    assert wide[4].split() == ["usdt", "7", "0", "7", "0", "0", "7"]
    assert wide[5] == "net: total plus loans and interest, which are negative"
    narrow = rendered(tables.combined([margin, spot]), 30)
    assert "net       -1.01" in narrow
    assert narrow.partition("usdt\n")[2].splitlines()[:3] == [
        "trade     7",
        "frozen    0",
        "total     7",
    ]
    assert narrow.count("loan ") == 1
    free = rendered(tables.combined([spot, spot]))
    assert "net" not in free
    assert free.splitlines()[-1].split() == ["btc", "0", "1", "1"]


def test_valuation_without_time() -> None:
    text = rendered(tables.valuation(AssetValuation(Decimal("1.50"), None), "BTC", None))
    assert text.splitlines()[-1].split() == ["default", "of", "HTX", "1.5", "BTC", "unknown"]


def test_snapshot_lists_balances_total_empty_and_failed_accounts() -> None:
    """Each part is omitted if it is empty."""

    def account(number: int, kind: str) -> Account:
        return Account(number, AccountType(kind), "", AccountState("working"))

    margin = decoded(BALANCE, MARGIN)
    empty = decoded(BALANCE, b'{"id":3,"type":"spot","state":"working","list":[]}')
    accounts = (
        AccountSnapshot(account(2, "margin"), margin, None),
        AccountSnapshot(account(3, "spot"), empty, None),
        AccountSnapshot(account(4, "spot"), None, APIError("no luck")),
    )
    skipped = (account(5, "otc"), account(6, "otc"))
    text = rendered(tables.snapshot(Snapshot(accounts, skipped), show_zero=False))
    assert "Zero balance: 3 (spot)" in text
    assert "Total of" not in text  # of one account
    assert "Failed: 4 (spot): no luck" in text
    assert "Not reported by HTX: 5 (otc), 6 (otc)" in text
    both = rendered(tables.snapshot(Snapshot(accounts[:2]), show_zero=True))
    assert "Total of 2 accounts" in both
    assert "Zero balance" not in both
    assert rendered(tables.snapshot(Snapshot(()), show_zero=False)).strip() == ""


@pytest.mark.parametrize(
    ("remaining", "resets_at", "expected"),
    [
        (None, None, "-"),
        (7, None, "7"),
        (7, 0.5, "7 (0.5 s)"),
        (0, 1.9, "0 (1.9 s)"),
        (0, -9.0, "0 (0.0 s)"),  # the window has ended
        (0, 9.0, "0 (2.0 s)"),  # at most the length of a window
    ],
)
def test_limits_show_seconds_until_reset(
    remaining: int | None, resets_at: float | None, expected: str
) -> None:
    end = None if resets_at is None else datetime.fromtimestamp(DAY + resets_at, UTC)
    status = RateLimitStatus(RateLimit(100, 2.0), 98, 0, 0.0, 3, remaining, end)
    row = rendered(tables.limits({"GET /v1/x": status}, DAY)).splitlines()[3]
    assert " ".join(row.split()) == f"/v1/x 100/2 s 98 {expected} 3"
