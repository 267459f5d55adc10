"""Changes between two balances of an account."""

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
from tests import strategies
from tests.decoded import decode
from tests.models.test_balance import ALL_SIGNALS, BALANCE, row


def balance(*entries: BalanceEntry) -> AccountBalance:
    return AccountBalance(1, AccountType.SPOT, AccountState.WORKING, entries)


def decoded(entries: tuple[BalanceEntry, ...], read: bool) -> AccountBalance:
    """Return a balance as it is decoded; its entries have been read or not."""
    listed = [
        {"currency": row.currency, "type": row.type, "balance": _wire_text(row.balance)}
        for row in entries
    ]
    data = {"id": 1, "type": "spot", "state": "working", "list": listed}
    model = decode(AccountBalance, json.dumps(data))
    assert not read or len(model.entries) == len(entries)
    return model


def _wire_text(amount: Decimal) -> str:
    # `str` moves the point, which may give an exponent of four digits.
    sign, digits, exponent = amount.as_tuple()
    return f"{'-' * sign}{''.join(map(str, digits))}E{exponent}"


def _exponent(amount: str) -> int:
    exponent = Decimal(amount).as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent


def change(currency: str, kind: str, before: str, after: str) -> BalanceChange:
    return BalanceChange(1, currency, BalanceType(kind), Decimal(before), Decimal(after))


rows = st.lists(
    st.builds(
        row,
        st.sampled_from(["usdt", "btc", "eth"]),
        st.sampled_from(["trade", "frozen", "new"]),
        strategies.amounts.filter(lambda amount: _exponent(amount) > -1000),  # can be written again
    ),
    max_size=8,
)


def sums(entries: tuple[BalanceEntry, ...]) -> Mapping[tuple[str, str], Fraction]:
    amounts: dict[tuple[str, str], Fraction] = {}
    for entry in entries:
        key = (entry.currency, str(entry.type))
        amounts[key] = amounts.get(key, Fraction(0)) + Fraction(entry.balance)
    return amounts


@given(rows, st.data())
def test_changes_are_the_sums_that_differ(drawn: list[BalanceEntry], data: st.DataObject) -> None:
    """Every type in every currency whose sum differs, in any decimal context."""
    kept = data.draw(st.lists(st.sampled_from(drawn), unique_by=id)) if drawn else []
    before, after = balance(*drawn), balance(*data.draw(st.permutations(kept + data.draw(rows))))
    with decimal.localcontext(decimal.Context(prec=3, Emax=3, Emin=-3, traps=ALL_SIGNALS)) as here:
        changes = after.changes(since=before)
        deltas = [item.delta for item in changes]
        assert not any(here.flags.values())
    was, now = sums(before.entries), sums(after.entries)
    wanted = {key for key in {**was, **now} if was.get(key, 0) != now.get(key, 0)}
    assert {(item.currency, str(item.type)) for item in changes} == wanted
    assert len(changes) == len(wanted)
    for item, delta in zip(changes, deltas, strict=True):
        key = (item.currency, str(item.type))
        assert Fraction(item.before) == was.get(key, 0)
        assert Fraction(item.after) == now.get(key, 0)
        assert Fraction(delta) == now.get(key, 0) - was.get(key, 0)


@given(rows, rows, st.booleans(), st.booleans())
def test_changes_of_decoded_balances_are_the_same(
    first: list[BalanceEntry],
    second: list[BalanceEntry],
    first_read: bool,
    second_read: bool,
) -> None:
    """Whether the entries have been read, or those of one of them."""
    one, two = balance(*first), balance(*second)
    before, after = decoded(one.entries, first_read), decoded(two.entries, second_read)
    assert after.changes(since=before) == two.changes(since=one)


@pytest.mark.parametrize("read", [False, True])
def test_changes_ignore_more_zeros(read: bool) -> None:
    """Also where the text of a row differs."""
    before = decoded((row("btc", "trade", "1.0"),), read)
    assert decoded((row("btc", "trade", "1.00"),), read=False).changes(since=before) == ()


@given(rows, rows)
def test_changes_are_reversible(first: list[BalanceEntry], second: list[BalanceEntry]) -> None:
    """In the other direction, before and after are exchanged."""
    one, two = balance(*first), balance(*second)
    back = {(each.currency, each.type, each.after, each.before) for each in one.changes(since=two)}
    there = {(each.currency, each.type, each.before, each.after) for each in two.changes(since=one)}
    assert there == back
    assert one.changes(since=one) == ()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
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
def test_changes_of_rows(before: Any, after: Any, expected: Any) -> None:
    """In HTX's order, what only the earlier balance has last; equal sums are not changes."""
    was, now = (balance(*(row(*each) for each in rows)) for rows in (before, after))
    assert now.changes(since=was) == tuple(change(*each) for each in expected)


def test_delta_is_exact_and_has_a_sign() -> None:
    """Below zero if it fell; exact to the last digit."""
    assert change("btc", "trade", "1E+30", "1E-18").delta == -(
        Fraction(10**30) - Fraction(1, 10**18)
    )
    assert change("btc", "trade", "1", "3.5").delta == Decimal("2.5")


@pytest.mark.parametrize("since", [None, {}, BALANCE.entries, attrs.evolve(BALANCE, id=7)])
def test_changes_since_another_account_are_rejected(since: Any) -> None:
    """Balances of two accounts cannot be compared."""
    with pytest.raises(InvalidInputError, match=r"^since (must be an Acc|is the balance of acc)"):
        BALANCE.changes(since=since)


def test_changes_of_three_thousand_rows_are_quick() -> None:
    """A bound that is far above what it takes, and far below comparing each with each."""
    kinds = ("trade", "frozen")
    entries = [row(f"c{number // 2}", kinds[number % 2], "0.1") for number in range(3000)]
    before = balance(*entries)
    entries[1000] = row("c500", "trade", "0.2")
    random.Random(1).shuffle(entries)  # noqa: S311 - the worst case: every row elsewhere
    after = balance(*entries)
    started = time.perf_counter()
    changes = after.changes(since=before)
    assert time.perf_counter() - started < 0.5
    assert changes == (change("c500", "trade", "0.1", "0.2"),)


def test_changes_ignore_fields_without_amounts() -> None:
    """A deeply nested `debt`, which does not matter, is not compared."""
    nested = "[" * 900 + "]" * 900
    rows = f'[{{"currency":"btc","type":"trade","balance":"1","debt":{nested}}}]'
    text = f'{{"id":1,"type":"spot","state":"working","list":{rows}}}'
    before, after = (decode(AccountBalance, text) for _ in range(2))

    def changes_at(depth: int) -> tuple[BalanceChange, ...]:
        return changes_at(depth - 1) if depth else after.changes(before)

    assert changes_at(95) == ()
