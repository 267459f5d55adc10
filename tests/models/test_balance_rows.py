"""Rows of a balance: entries are created when they are first read, with the same results."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from htx_async import AccountBalance, AccountState, AccountType, BalanceEntry, BalanceType
from htx_async.models import balance_rows as module
from htx_async.models.balance_rows import BalanceRows
from tests import strategies
from tests.decoded import decode
from tests.models.test_decoding import check_against_reference, envelope


def row(currency: Any = "usdt", kind: Any = "trade", balance: Any = "1", **more: Any) -> Any:
    more = {name.replace("_", "-"): value for name, value in more.items()}
    return {"currency": currency, "type": kind, "balance": balance, **more}


def body(*rows: Any, **other: Any) -> bytes:
    data = {"id": 1000001, "type": "spot", "state": "working", "list": list(rows), **other}
    return json.dumps(data).encode()


TYPICAL = body(
    row("usdt", "trade", "91.850043797676510303", debt="0", available="91.8", seq_num="477"),
    row("btc", "frozen", "0E-18", debt="invalid", seq_num="12"),
    row("usdt", "frozen", "0", debt="0", available=None),
    row("btc", "loan", "-0.5", available="NaN", seq_num="-1"),
    row("doge", "new kind", "1e3"),
)
OTHER_TYPES = body(
    row("usdt", "trade", 91, debt=True, available=1, seq_num=1),
    row("btc", "frozen", 0, debt=[1], available={}, seq_num=True),
    row("usdt", "frozen", "0", debt=1, available=True, seq_num=False),
    row("btc", "loan", 0.5, debt=0.25, available=1e22, seq_num=0),
)
"""Equal keys of a dict: `1`, `true` and `1.0`. Only the first is a number of the row."""


def constructed(balance: AccountBalance) -> AccountBalance:
    """Return an equal balance that is made by the constructor."""
    return AccountBalance(balance.id, balance.type, balance.state, balance.entries)


def observed(balance: AccountBalance) -> list[Any]:
    """Return everything that can be observed of a balance."""
    return [
        repr(balance),
        len(balance),
        balance.currencies,
        [(item, repr(item), item.entries, item.trade, item.total) for item in balance.values()],
        [repr(item) for item in balance.nonzero()],
        [(entry, repr(entry), type(entry.type)) for entry in balance.entries],
        hash(balance),
        balance.to_dict(),
        pickle.loads(pickle.dumps(balance)),  # noqa: S301 - ours
    ]


typical_rows = st.builds(
    row,
    strategies.words,
    strategies.words,
    strategies.amounts,
    debt=strategies.amounts | st.sampled_from(["invalid", "NaN", "", "1_0"]),
    available=strategies.amounts | st.none(),
    seq_num=st.sampled_from(["1", 1, True, 1.0, None]),
)
typical = st.lists(typical_rows, max_size=6).map(lambda rows: body(*rows))


@given(typical | strategies.balances().map(lambda drawn: drawn.text.encode()))
@example(TYPICAL)
@example(OTHER_TYPES)
@example(body(row(balance="1\n2")))
@example(body(row(balance="1" * 101)))
@example(body(row(balance="1" * 100)))
@example(body(row(balance="\u0661")))
@example(body(row(balance="")))
@example(body(row("a\nb", balance="\n1")))
@example(body(row(balance=1), row(balance=[])))
@example(body(row(), id="x"))
@example(body(row(), type=1))
@example(body(row(), state=None))
@example(body(row(seq_num=10**40)))
@example(body(row(seq_num=10**120)))
@example(b"[" * 10_000)
@example(b"\xff")
def test_rows_agree_with_the_reference(data: bytes) -> None:
    """Law 6: all rows are validated at once, whatever the type of their values."""
    check_against_reference("balance", envelope(data))


@given(typical)
@example(TYPICAL)
@example(OTHER_TYPES)
def test_decoded_rows_are_the_rows_of_the_constructor(data: bytes) -> None:
    """A decoded balance equals one that is made of entries."""
    balance = decode(AccountBalance, data)
    assert observed(decode(AccountBalance, data)) == observed(constructed(balance))
    assert decode(AccountBalance, data) == constructed(balance)


@given(st.sampled_from(range(9)), typical)
@example(8, TYPICAL)
def test_rows_are_the_same_whatever_is_read_first(first: int, data: bytes) -> None:
    """The order in which a balance is read changes nothing."""
    balance = decode(AccountBalance, data)
    reads: list[Callable[[], Any]] = [
        lambda: balance.entries,
        balance.nonzero,
        lambda: list(balance.values()),
        lambda: [item.entries for item in balance.values()],
        lambda: copy.copy(balance),
        lambda: copy.deepcopy(balance),
        lambda: pickle.dumps(balance),
        lambda: hash(balance),
        lambda: attrs.evolve(balance, id=1),
    ]
    reads[first]()
    assert observed(balance) == observed(constructed(decode(AccountBalance, data)))
    assert balance == decode(AccountBalance, data) == copy.deepcopy(balance)


def test_entries_are_not_created_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the call, nor by reading amounts of currencies."""
    monkeypatch.setattr(module, "BalanceEntry", None)
    balance = decode(AccountBalance, TYPICAL)
    assert (balance.id, balance.type, balance.state) == (
        1000001,
        AccountType.SPOT,
        AccountState.WORKING,
    )
    assert [item.currency for item in balance.nonzero()] == ["usdt", "btc", "doge"]
    assert balance["btc"].amount("loan") == Decimal("-0.5")
    assert balance["usdt"].total == Decimal("91.850043797676510303")
    with pytest.raises(TypeError):
        _ = balance.entries


def test_entries_are_created_once() -> None:
    """Later reads return the same tuple, and the decoded rows are not kept."""
    balance = decode(AccountBalance, TYPICAL)
    assert balance.currencies == ("usdt", "btc", "doge")
    entries = balance.entries
    assert balance.entries is entries
    assert balance._rows._rows is entries
    assert all(entry in entries for entry in balance["usdt"].entries)
    assert balance["usdt"].entries[0] is entries[0]


READS: list[Callable[[AccountBalance], Any]] = [
    len,
    lambda balance: balance.entries,
    lambda balance: balance.nonzero(),
    lambda balance: [(name, item.total, item.amount("loan")) for name, item in balance.items()],
    lambda balance: balance.changes(since=decode(AccountBalance, body(row()))),
    lambda balance: "btc" in balance,
]


@given(st.lists(st.sampled_from(READS), max_size=6))
@example([READS[0], READS[1], READS[3]])
def test_rows_are_the_same_in_any_order_of_reads(
    reads: list[Callable[[AccountBalance], Any]],
) -> None:
    """What was created before changes nothing of what is created then."""
    balance = decode(AccountBalance, TYPICAL)
    expected = constructed(decode(AccountBalance, TYPICAL))
    for read in reads:
        assert read(balance) == read(expected)
        assert type(balance["usdt"].trade) is Decimal


def test_rows_can_be_read_by_several_threads() -> None:
    """The first read creates entries; threads that do it at once get equal results."""
    data = body(*(row(f"c{number % 500}", balance=str(number)) for number in range(1_000)))
    expected = observed(constructed(decode(AccountBalance, data)))
    for _ in range(5):
        balance = decode(AccountBalance, data)
        barrier = threading.Barrier(4)
        results: list[Any] = []

        def read(
            balance: AccountBalance = balance,
            barrier: threading.Barrier = barrier,
            results: list[Any] = results,
        ) -> None:
            barrier.wait()
            results.append((balance.currencies, balance["c7"].entries, observed(balance)))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [result[2] for result in results] == [expected] * 4


def test_balance_has_no_other_attributes() -> None:
    """A typing mistake is an `AttributeError` that names it."""
    balance = decode(AccountBalance, TYPICAL)
    for name in ("entry", "_by", "_source"):
        with pytest.raises(AttributeError, match=name):
            getattr(balance, name)


def test_pickle_of_a_decoded_balance_contains_entries_only() -> None:
    """It can be loaded by a process that has decoded nothing."""
    balance = decode(AccountBalance, TYPICAL)
    assert pickle.loads(pickle.dumps(balance))._rows._rows == balance.entries  # noqa: S301 - ours
    assert copy.deepcopy(balance)["usdt"] == balance["usdt"]


def test_rows_with_scattered_currencies_keep_their_order() -> None:
    """Rows of a currency are found wherever they are, also after the entries were created."""
    rows = [row("b", balance="1"), row("a", balance="2"), row("b", balance="3"), row("c")]
    for read in (True, False):
        balance = decode(AccountBalance, body(*rows))
        assert not read or len(balance.entries) == 4
        assert balance.currencies == ("b", "a", "c")
        assert [entry.balance for entry in balance["b"].entries] == [Decimal(1), Decimal(3)]
        assert [str(entry.balance) for entry in balance.entries] == ["1", "2", "3", "1"]


def test_balance_accepts_any_iterable_of_entries() -> None:
    """The constructor keeps a tuple."""
    entry = BalanceEntry("usdt", BalanceType.TRADE, Decimal(1))
    balance = AccountBalance(
        id=1, type=AccountType.SPOT, state=AccountState.WORKING, entries=iter([entry])
    )
    assert balance.entries == (entry,)
    assert balance == attrs.evolve(balance, entries=[entry])
    assert balance != attrs.evolve(balance, entries=())
    assert BalanceRows((entry,)) != (entry,)
