"""Rows that are made when they are touched: nobody can tell."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from htx_async import AccountBalance, AccountState, AccountType, DecodeError
from htx_async.middleware.parsing import open_envelope
from htx_async.models import balance as room
from htx_async.models.balance import read_balance
from htx_async.models.decoding import reader
from htx_async.models.wire_types import amount, are_amounts
from htx_async.request import Endpoint, Response
from htx_async.resources import accounts
from tests import strategies

by_the_rules: Callable[[bytes], AccountBalance] = reader(AccountBalance)


def row(currency: Any = "usdt", kind: Any = "trade", balance: Any = "1", **more: Any) -> Any:
    more = {name.replace("_", "-"): value for name, value in more.items()}
    return {"currency": currency, "type": kind, "balance": balance, **more}


def body(*rows: Any, **other: Any) -> bytes:
    whole = {"id": 1000001, "type": "spot", "state": "working", "list": list(rows), **other}
    return json.dumps(whole).encode()


USUAL = body(
    row("usdt", "trade", "91.850043797676510303", debt="0", available="91.8", seq_num="477"),
    row("btc", "frozen", "0E-18", debt="invalid", seq_num=12),
    row("usdt", "frozen", "0", debt="0", available=None),
    row("btc", "loan", "-0.5", available="NaN", seq_num="-1"),
    row("doge", "new kind", "1e3"),
)


def outcome(read: Callable[[bytes], AccountBalance], data: bytes) -> Any:
    try:
        return read(data)
    except DecodeError as error:
        return error.path, str(error)


def through(endpoint: Endpoint[AccountBalance], data: bytes) -> Any:
    """Return what becomes of an answer with *data*: the balance, or an error."""
    body = b'{"status":"ok","ts":1.5,"data":%b,"new":[]}' % data
    response = open_envelope(endpoint, Response(200, {}, body))
    if response.error is not None:
        return str(response.error)
    return outcome(endpoint.read, response.data)


def looks(balance: AccountBalance) -> list[Any]:
    """Return all that can be seen of a balance."""
    return [
        repr(balance),
        len(balance),
        balance.currencies,
        [(each, repr(each), each.entries, each.trade, each.total) for each in balance.values()],
        [repr(each) for each in balance.nonzero()],
        [(entry, repr(entry), type(entry.type)) for entry in balance.entries],
        hash(balance),
        attrs.asdict(balance),
        pickle.loads(pickle.dumps(balance)),  # noqa: S301 - ours
    ]


usual_rows = st.builds(
    row,
    strategies.words,
    strategies.words,
    strategies.amounts,
    debt=strategies.amounts | st.sampled_from(["invalid", "NaN", "", "1_0"]),
    available=strategies.amounts | st.none(),
)
usual = st.lists(usual_rows, max_size=6).map(lambda rows: body(*rows))


@given(
    usual
    | strategies.balances().map(lambda drawn: drawn.text.encode())
    | strategies.mutated(strategies.balances())
)
@example(USUAL)
@example(body(row(balance="1\n2")))
@example(body(row(balance="1" * 101)))
@example(body(row(balance="1" * 100)))
@example(body(row(balance="\u0661")))
@example(body(row(balance="")))
@example(body(row("a\nb", balance="\n1")))
@example(body(row(balance=1)))
@example(body(row(), id="x"))
@example(body(row(), type=1))
@example(body(row(), state=None))
@example(body(row(seq_num=10**40)))
@example(body(row(seq_num=10**120)))
@example(b"[" * 10_000)
@example(b"\xff")
def test_what_comes_is_what_the_converter_makes(data: bytes) -> None:
    """Law 6: the same balance, or the same error from the awaited call."""
    quick, plain = outcome(read_balance, data), outcome(by_the_rules, data)
    assert quick == plain
    if isinstance(plain, AccountBalance):
        assert looks(read_balance(data)) == looks(plain)
    closely = replace(accounts.BALANCE, usual=None)
    assert through(accounts.BALANCE, data) == through(closely, data)


@given(st.sampled_from(range(9)), usual)
@example(8, USUAL)
def test_whatever_is_touched_first(first: int, data: bytes) -> None:
    """The order in which a balance is looked at changes nothing."""
    touched = read_balance(data)
    look: list[Callable[[], Any]] = [
        lambda: touched.entries,
        touched.nonzero,
        lambda: list(touched.values()),
        lambda: [each.entries for each in touched.values()],
        lambda: copy.copy(touched),
        lambda: copy.deepcopy(touched),
        lambda: pickle.dumps(touched),
        lambda: hash(touched),
        lambda: attrs.evolve(touched, id=1),
    ]
    look[first]()
    assert looks(touched) == looks(by_the_rules(data))
    assert touched == read_balance(data) == copy.deepcopy(touched)


def test_what_is_usual_does_not_go_through_the_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it read twice. Else it would be slow, and no other test would notice."""
    monkeypatch.setattr(room, "_by_the_rules", None)
    monkeypatch.setattr(room, "written", None)
    balance = through(accounts.BALANCE, USUAL)
    assert balance["usdt"].total == Decimal("91.850043797676510303")
    assert (balance.id, balance.type, balance.state) == (
        1000001,
        AccountType.SPOT,
        AccountState.WORKING,
    )


def test_no_model_is_made_before_it_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the call, nor by looking at other currencies."""
    balance = read_balance(USUAL)
    monkeypatch.setattr("htx_async.models.rows._new", None)  # makes entries
    assert [each.currency for each in balance.nonzero()] == ["usdt", "btc", "doge"]
    assert balance["btc"].amount("loan") == Decimal("-0.5")
    with pytest.raises(TypeError):
        _ = balance.entries


LOOKS: list[Callable[[AccountBalance], Any]] = [
    len,
    lambda balance: balance.entries,
    lambda balance: balance.nonzero(),
    lambda balance: [(each, each.total, each.amount("loan")) for each in balance.values()],
    lambda balance: balance.changes(since=by_the_rules(body(row()))),
]


@given(st.lists(st.sampled_from(LOOKS), max_size=6))
@example([LOOKS[0], LOOKS[1], LOOKS[3]])
def test_in_whatever_order_it_is_looked_at(looks: list[Callable[[AccountBalance], Any]]) -> None:
    """What was made before changes nothing of what is made then."""
    read, ruled = read_balance(USUAL), by_the_rules(USUAL)
    for look in looks:
        assert look(read) == look(ruled)
        assert type(read["usdt"].trade) is Decimal


def test_other_attributes_are_not_there() -> None:
    """A typing mistake is an `AttributeError` that names it, on a half-made balance too."""
    balance = read_balance(USUAL)
    for name in ("entry", "__deepcopy__", "_by"):
        with pytest.raises(AttributeError, match=name):
            getattr(balance, name)
    with pytest.raises(AttributeError, match="_source"):
        _ = object.__new__(AccountBalance).entries


@given(st.lists(strategies.amounts | st.text("0123456789.eE+-\n ", max_size=8), max_size=5))
@example(["1\n2"])
@example(["1", "1" * 101])
@example(["1" * 100])
@example([""])
def test_amounts_are_checked_together_as_one_by_one(texts: list[str]) -> None:
    """The rule is the same."""

    def is_amount(text: str) -> bool:
        try:
            amount(text)
        except ValueError:
            return False
        return True

    assert are_amounts(texts) == all(map(is_amount, texts))
