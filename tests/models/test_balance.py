"""The models of accounts: values, mappings, and exact sums."""

from __future__ import annotations

import copy
import decimal
import pickle
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import (
    Account,
    AccountBalance,
    AccountState,
    AccountType,
    BalanceEntry,
    BalanceType,
    CurrencyBalance,
    PointAccountStatus,
    PointBalance,
    PointGroup,
)
from htx_async.resources import accounts
from tests import strategies
from tests.decoded import decoded

ALL_SIGNALS = [
    decimal.Inexact,
    decimal.Rounded,
    decimal.Subnormal,
    decimal.Clamped,
    decimal.FloatOperation,
]


def row(currency: str, kind: str, balance: str) -> BalanceEntry:
    return BalanceEntry(currency, BalanceType(kind), Decimal(balance))


ROWS = (
    row("usdt", "trade", "91.850043797676510303"),
    row("btc", "frozen", "0E-18"),
    row("usdt", "frozen", "5.160000000000000015"),
    row("usdt", "loan", "-2.5"),
    row("usdt", "loan", "-0.25"),
    row("doge", "interest", "-1"),
    row("btc", "trade", "0"),
)
BALANCE = AccountBalance(1000001, AccountType.SPOT, AccountState.WORKING, ROWS)
MODELS: list[Any] = [
    Account(1, AccountType.MARGIN, "btcusdt", AccountState.WORKING),
    ROWS[0],
    BALANCE,
    BALANCE["usdt"],
    PointGroup(26, datetime(2020, 7, 10, 16, tzinfo=UTC), Decimal("0.3")),
    PointBalance(
        1,
        PointAccountStatus.WORKING,
        Decimal("0.3"),
        (PointGroup(0, None, Decimal("0.3")),),
    ),
]
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


@every_model
@pytest.mark.parametrize(
    "remade",
    [
        copy.copy,
        copy.deepcopy,
        *(
            lambda model, protocol=protocol: pickle.loads(pickle.dumps(model, protocol))  # noqa: S301 - ours
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
)
def test_models_are_values(model: Any, remade: Callable[[Any], Any]) -> None:
    """Copied or pickled, a model is equal, hashes alike and says the same."""
    if isinstance(model, AccountBalance):
        assert len(model) == 3  # with what it remembers of itself
    other = remade(model)
    assert type(other) is type(model)
    assert other == model
    assert hash(other) == hash(model)
    assert repr(other) == repr(model)
    assert len({model, other}) == 1


@every_model
def test_models_differ_by_each_field(model: Any) -> None:
    """One field another way, and it is another value."""
    for field in attrs.fields(type(model)):
        value = getattr(model, field.name)
        others: list[Any] = [() if isinstance(value, tuple) and value else (1,)]
        if isinstance(value, str):
            others = [type(value)("other")]
        elif isinstance(value, int | Decimal):
            others = [type(value)(77)]
        assert attrs.evolve(model, **{field.name: others[0]}) != model


@every_model
def test_models_are_frozen(model: Any) -> None:
    """Nothing of a model can be set, and nothing added."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(model, attrs.fields(type(model))[0].name, 7)
    with pytest.raises(AttributeError):
        model.unheard_of = 7
    assert not hasattr(model, "__dict__")


def test_models_match_by_their_fields() -> None:
    """`match` takes attributes, positions, and a balance's currencies."""
    match BALANCE:
        case AccountBalance(id=1000001, type=AccountType.SPOT) as found:
            assert found is BALANCE
        case _:
            pytest.fail("no match by attribute")
    match BALANCE:
        case {"usdt": CurrencyBalance(entries=(BalanceEntry(currency, "trade"), *_))}:
            assert currency == "usdt"
        case _:
            pytest.fail("no match by currency")
    match MODELS[0]:
        case Account(number, "margin", "btcusdt", AccountState.WORKING):
            assert number == 1
        case _:
            pytest.fail("no match by position")
    match MODELS[5]:
        case PointBalance(group_ids=(PointGroup(expiry_date=None, is_termless=True),)):
            pass
        case _:
            pytest.fail("no match of a group")


def test_a_balance_is_a_mapping_of_its_currencies() -> None:
    """In order of first appearance, names as on the wire."""
    assert isinstance(BALANCE, Mapping)
    assert list(BALANCE) == ["usdt", "btc", "doge"]
    assert BALANCE.currencies == ("usdt", "btc", "doge")
    assert len(BALANCE) == 3
    assert "btc" in BALANCE
    assert "BTC" not in BALANCE
    assert BALANCE.get("eth") is None
    with pytest.raises(KeyError, match="'eth'"):
        BALANCE["eth"]
    assert [currency.currency for currency in BALANCE.values()] == ["usdt", "btc", "doge"]
    assert dict(BALANCE)["btc"] == BALANCE["btc"]


def test_the_rows_of_a_currency_keep_their_order() -> None:
    """A currency has just its rows."""
    assert BALANCE["usdt"].entries == (ROWS[0], ROWS[2], ROWS[3], ROWS[4])
    assert BALANCE["btc"].entries == (ROWS[1], ROWS[6])
    assert BALANCE.entries == ROWS


def test_a_currency_adds_rows_of_one_type() -> None:
    """`total` is trade and frozen; any type can be asked for; where there is no row it is 0."""
    usdt = BALANCE["usdt"]
    assert str(usdt.trade) == "91.850043797676510303"
    assert str(usdt.frozen) == "5.160000000000000015"
    assert str(usdt.total) == "97.010043797676510318"
    assert str(usdt.amount("loan")) == "-2.75"
    assert usdt.amount(BalanceType.LOAN) == usdt.amount("loan")
    assert str(usdt.amount("interest")) == "0"
    assert (str(BALANCE["doge"].total), str(BALANCE["doge"].amount("interest"))) == ("0", "-1")


def test_nonzero_is_any_row_not_zero() -> None:
    """A currency that is only owed counts; one that has `0E-18` does not."""
    assert [currency.currency for currency in BALANCE.nonzero()] == ["usdt", "doge"]
    assert BALANCE.nonzero()[0] == BALANCE["usdt"]


def test_an_empty_balance_is_false_and_has_nothing() -> None:
    """HTX names no currency at all: that is a balance too."""
    empty = AccountBalance(1, AccountType.POINT, AccountState.LOCK, ())
    assert not empty
    assert (len(empty), empty.currencies, empty.nonzero(), list(empty)) == (0, (), (), [])


def test_the_repr_does_not_list_the_rows() -> None:
    """HTX names two rows for each currency that it trades."""
    assert repr(BALANCE) == (
        "AccountBalance(id=1000001, type='spot', state='working', 3 currencies in 7 entries)"
    )


@given(strategies.balances())
def test_sums_are_exact_whatever_the_context(drawn: strategies.Drawn) -> None:
    """Three digits of precision, every trap set: a sum has all its digits."""
    balance = decoded(accounts.BALANCE, drawn.text.encode())
    with decimal.localcontext(decimal.Context(prec=3, Emax=3, Emin=-3, traps=ALL_SIGNALS)) as here:
        totals = {name: currency.total for name, currency in balance.items()}
        loans = {name: currency.amount("new-kind") for name, currency in balance.items()}
        shown = {currency.currency for currency in balance.nonzero()}
        assert not any(here.flags.values())

    for name in balance:
        rows = [entry for entry in balance.entries if entry.currency == name]
        wanted = [Fraction(entry.balance) for entry in rows if entry.type in ("trade", "frozen")]
        assert Fraction(totals[name]) == sum(wanted)
        wanted = [Fraction(entry.balance) for entry in rows if entry.type == "new-kind"]
        assert Fraction(loans[name]) == sum(wanted)
        assert (name in shown) == any(Fraction(entry.balance) for entry in rows)


@given(st.lists(strategies.amounts, min_size=1, max_size=4))
def test_a_sum_keeps_the_smallest_place(amounts: list[str]) -> None:
    """Adding loses no zeros: 0.10 and 0.2 are 0.30."""
    entries = tuple(row("usdt", "trade", amount) for amount in amounts)
    places = [entry.balance.as_tuple().exponent for entry in entries]
    total = CurrencyBalance("usdt", entries).trade
    assert total.as_tuple().exponent == min(int(place) for place in places)


def test_the_farthest_amounts_add_up() -> None:
    """The largest and the smallest amount that HTX could write, together."""
    entries = (
        row("usdt", "trade", "9" * 95 + "E999"),
        row("usdt", "frozen", "1." + "0" * 91 + "1E-999"),
    )
    total = CurrencyBalance("usdt", entries).total
    assert Fraction(total) == Fraction(entries[0].balance) + Fraction(entries[1].balance)
