"""What has moved between two balances: exactly that, and nothing else."""

from __future__ import annotations

import decimal
import json
import random
import time
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import (
    AccountBalance,
    AccountState,
    AccountType,
    BalanceChange,
    BalanceEntry,
    BalanceType,
    InvalidInputError,
)
from htx_async.models.balance import read_balance
from tests import strategies
from tests.models.test_balance import ALL_SIGNALS, BALANCE, row


def balance(*entries: BalanceEntry) -> AccountBalance:
    return AccountBalance(1, AccountType.SPOT, AccountState.WORKING, entries)


def as_read(entries: tuple[BalanceEntry, ...], touched: bool) -> AccountBalance:
    """Return a balance as it comes from HTX, its entries made already or not yet."""
    listed = [
        {"currency": row.currency, "type": row.type, "balance": _written(row.balance)}
        for row in entries
    ]
    said = {"id": 1, "type": "spot", "state": "working", "list": listed}
    found = read_balance(json.dumps(said).encode())
    assert not touched or len(found.entries) == len(entries)
    return found


def _written(amount: Decimal) -> str:
    # `str` moves the point, and may so come to an exponent that nobody writes.
    sign, digits, exponent = amount.as_tuple()
    return f"{'-' * sign}{''.join(map(str, digits))}E{exponent}"


def _exponent(amount: str) -> int:
    exponent = Decimal(amount).as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent


def change(currency: str, kind: str, before: str, after: str) -> BalanceChange:
    return BalanceChange(currency, BalanceType(kind), Decimal(before), Decimal(after))


rows = st.lists(
    st.builds(
        row,
        st.sampled_from(["usdt", "btc", "eth"]),
        st.sampled_from(["trade", "frozen", "new"]),
        strategies.amounts.filter(lambda amount: _exponent(amount) > -1000),  # is written anew
    ),
    max_size=8,
)


def sums(entries: tuple[BalanceEntry, ...]) -> Mapping[tuple[str, str], Fraction]:
    found: dict[tuple[str, str], Fraction] = {}
    for entry in entries:
        key = (entry.currency, str(entry.type))
        found[key] = found.get(key, Fraction(0)) + Fraction(entry.balance)
    return found


@given(rows, st.data())
def test_exactly_what_moved(drawn: list[BalanceEntry], data: st.DataObject) -> None:
    """Every kind of row in every currency whose sum is another, in any decimal context."""
    kept = data.draw(st.lists(st.sampled_from(drawn), unique_by=id)) if drawn else []
    before, after = balance(*drawn), balance(*data.draw(st.permutations(kept + data.draw(rows))))
    with decimal.localcontext(decimal.Context(prec=3, Emax=3, Emin=-3, traps=ALL_SIGNALS)) as here:
        found = after.changes(since=before)
        deltas = [each.delta for each in found]
        assert not any(here.flags.values())
    was, now = sums(before.entries), sums(after.entries)
    wanted = {key for key in {**was, **now} if was.get(key, 0) != now.get(key, 0)}
    assert {(each.currency, str(each.type)) for each in found} == wanted
    assert len(found) == len(wanted)
    for each, delta in zip(found, deltas, strict=True):
        key = (each.currency, str(each.type))
        assert Fraction(each.before) == was.get(key, 0)
        assert Fraction(each.after) == now.get(key, 0)
        assert Fraction(delta) == now.get(key, 0) - was.get(key, 0)


@given(rows, rows, st.booleans(), st.booleans())
def test_what_was_read_moves_in_the_same_way(
    first: list[BalanceEntry],
    second: list[BalanceEntry],
    first_touched: bool,
    second_touched: bool,
) -> None:
    """Rows that are text still, entries, or one of each."""
    one, two = balance(*first), balance(*second)
    read = as_read(one.entries, first_touched), as_read(two.entries, second_touched)
    assert read[1].changes(since=read[0]) == two.changes(since=one)


@pytest.mark.parametrize("touched", [False, True])
def test_more_zeros_are_no_change(touched: bool) -> None:
    """Also where the text of a row differs."""
    before = as_read((row("btc", "trade", "1.0"),), touched)
    assert as_read((row("btc", "trade", "1.00"),), touched=False).changes(since=before) == ()


@given(rows, rows)
def test_there_and_back(first: list[BalanceEntry], second: list[BalanceEntry]) -> None:
    """The way back is the same, the other way round."""
    one, two = balance(*first), balance(*second)
    back = {(each.currency, each.type, each.after, each.before) for each in one.changes(since=two)}
    there = {(each.currency, each.type, each.before, each.after) for each in two.changes(since=one)}
    assert there == back
    assert one.changes(since=one) == ()


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ([("btc", "trade", "1.5")], [("btc", "trade", "1.25")], [("btc", "trade", "1.5", "1.25")]),
        ([], [("btc", "trade", "1")], [("btc", "trade", "0", "1")]),
        ([("btc", "trade", "1")], [], [("btc", "trade", "1", "0")]),
        ([], [("btc", "trade", "0E-18")], []),
        ([("btc", "trade", "1.0")], [("btc", "trade", "1.00")], []),
        (
            [("btc", "trade", "1"), ("btc", "trade", "2")],
            [("btc", "trade", "2"), ("btc", "trade", "1")],
            [],
        ),
        (
            [("btc", "trade", "1"), ("btc", "trade", "2")],
            [("btc", "trade", "1"), ("btc", "trade", "5")],
            [("btc", "trade", "3", "6")],
        ),
        (
            [("gone", "trade", "1"), ("btc", "trade", "1")],
            [("new", "frozen", "3"), ("btc", "trade", "2")],
            [("new", "frozen", "0", "3"), ("btc", "trade", "1", "2"), ("gone", "trade", "1", "0")],
        ),
    ],
)
def test_what_counts_as_a_change(before: Any, after: Any, found: Any) -> None:
    """In HTX's order, what is gone last; equal sums are none."""
    was, now = (balance(*(row(*each) for each in rows)) for rows in (before, after))
    assert now.changes(since=was) == tuple(change(*each) for each in found)


def test_delta_has_a_sign() -> None:
    """Below zero if it fell; exact to the last digit."""
    assert change("btc", "trade", "1E+30", "1E-18").delta == -(
        Fraction(10**30) - Fraction(1, 10**18)
    )
    assert change("btc", "trade", "1", "3.5").delta == Decimal("2.5")


@pytest.mark.parametrize("since", [None, {}, BALANCE.entries, attrs.evolve(BALANCE, id=7)])
def test_another_account_is_told(since: Any) -> None:
    """Nothing can be said of two accounts."""
    with pytest.raises(InvalidInputError, match=r"^since (must be an Acc|is the balance of acc)"):
        BALANCE.changes(since=since)


def test_three_thousand_rows_are_compared_quickly() -> None:
    """A bound that is far above what it takes, and far below comparing each with each."""
    kinds = ("trade", "frozen")
    entries = [row(f"c{number // 2}", kinds[number % 2], "0.1") for number in range(3000)]
    before = balance(*entries)
    entries[1000] = row("c500", "trade", "0.2")
    random.Random(1).shuffle(entries)  # noqa: S311 - the worst case: every row elsewhere
    after = balance(*entries)
    started = time.perf_counter()
    found = after.changes(since=before)
    assert time.perf_counter() - started < 0.5
    assert found == (change("c500", "trade", "0.1", "0.2"),)
