"""Models are values; a balance is a mapping with exact sums."""

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
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import (
    Account,
    AccountBalance,
    AccountState,
    AccountType,
    BalanceChange,
    BalanceEntry,
    BalanceType,
    CurrencyBalance,
    PointAccountStatus,
    PointBalance,
    PointGroup,
)
from tests import strategies
from tests.decoded import decode

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


def names_of(model: Any) -> list[str]:
    """Return the names of the fields that are compared."""
    kind = type(model)
    if isinstance(model, msgspec.Struct):
        return list(kind.__struct_fields__)
    return [field.alias for field in attrs.fields(kind) if field.eq]


def evolve(model: Any, **changes: Any) -> Any:
    is_struct = isinstance(model, msgspec.Struct)
    return (
        msgspec.structs.replace(model, **changes) if is_struct else attrs.evolve(model, **changes)
    )


@every_model
@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        *(
            lambda model, protocol=protocol: pickle.loads(pickle.dumps(model, protocol))  # noqa: S301 - ours
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
)
def test_models_can_be_copied_and_pickled(model: Any, duplicate: Callable[[Any], Any]) -> None:
    """The other model is equal, hashes alike and has the same repr."""
    if isinstance(model, AccountBalance):
        assert len(model) == 3  # also with its index
    other = duplicate(model)
    assert type(other) is type(model)
    assert other == model
    assert hash(other) == hash(model)
    assert repr(other) == repr(model)
    assert len({model, other}) == 1


@every_model
def test_models_differ_by_each_field(model: Any) -> None:
    """With another value of one field, it is another value."""
    for name in names_of(model):
        value = getattr(model, name)
        other: Any = () if isinstance(value, tuple) and value else (1,)
        if isinstance(value, str):
            other = type(value)("other")
        elif isinstance(value, int | Decimal):
            other = type(value)(77)
        assert evolve(model, **{name: other}) != model


@every_model
def test_models_are_frozen(model: Any) -> None:
    """No attribute of a model can be set, and none added."""
    with pytest.raises(AttributeError):
        setattr(model, names_of(model)[0], 7)
    with pytest.raises(AttributeError):
        model.unheard_of = 7
    assert not hasattr(model, "__dict__")


def test_models_match_by_their_fields() -> None:
    """`match` accepts attributes, positions, and the currencies of a balance."""
    match BALANCE:
        case AccountBalance(id=1000001, type=AccountType.SPOT) as model:
            assert model is BALANCE
        case _:
            pytest.fail("no match by attribute")
    match BALANCE:
        case {"usdt": CurrencyBalance(entries=(BalanceEntry(currency, "trade"), *_))}:
            assert currency == "usdt"
        case _:
            pytest.fail("no match by currency")
    match BALANCE:
        case AccountBalance(_, _, AccountState.WORKING, (BalanceEntry(), *rest)):
            assert len(rest) == len(ROWS) - 1
        case _:
            pytest.fail("no match by position of a balance")
    match BALANCE["usdt"]:
        case CurrencyBalance("usdt", entries):
            assert entries[0] == ROWS[0]
        case _:
            pytest.fail("no match by position of a currency")
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


def test_balance_is_a_mapping_of_its_currencies() -> None:
    """In order of first appearance, names as on the wire."""
    assert isinstance(BALANCE, Mapping)
    assert list(BALANCE) == ["usdt", "btc", "doge"]
    assert BALANCE.currencies == ("usdt", "btc", "doge")
    assert len(BALANCE) == 3
    assert "btc" in BALANCE
    assert "BTC" not in BALANCE
    assert BALANCE.get("eth") is None
    assert [currency.currency for currency in BALANCE.values()] == ["usdt", "btc", "doge"]
    assert dict(BALANCE)["btc"] == BALANCE["btc"]


def test_currency_has_its_rows_in_order() -> None:
    """A currency has its own rows and no others."""
    assert BALANCE["usdt"].entries == (ROWS[0], ROWS[2], ROWS[3], ROWS[4])
    assert BALANCE["btc"].entries == (ROWS[1], ROWS[6])
    assert BALANCE.entries == ROWS


def test_currency_amount_is_the_sum_of_one_type() -> None:
    """`total` is trade and frozen; a type without a row is 0."""
    usdt = BALANCE["usdt"]
    assert str(usdt.trade) == "91.850043797676510303"
    assert str(usdt.frozen) == "5.160000000000000015"
    assert str(usdt.total) == "97.010043797676510318"
    assert str(usdt.amount("loan")) == "-2.75"
    assert usdt.amount(BalanceType.LOAN) == usdt.amount("loan")
    assert str(usdt.amount("interest")) == "0"
    assert (str(BALANCE["doge"].total), str(BALANCE["doge"].amount("interest"))) == ("0", "-1")


@pytest.mark.parametrize(
    ("currency", "message"),
    [
        ("eth", "no currency 'eth' in this balance"),
        ("ETH", "no currency 'ETH' in this balance. HTX writes currencies in lower case: 'eth'"),
        ("USDT", "no currency 'USDT' in this balance. HTX writes currencies in lower case: 'usdt'"),
        ("x" * 99, f"no currency '{'x' * 41} in this balance"),
        (None, "no currency None in this balance"),
    ],
)
def test_missing_currency_error_explains_lower_case(currency: Any, message: str) -> None:
    with pytest.raises(KeyError) as caught:
        BALANCE[currency]
    assert caught.value.args == (message,)
    assert caught.value.__context__ is None
    assert BALANCE.get(currency) is None


def test_amount_of_a_documented_type_without_a_row_is_zero() -> None:
    assert [BALANCE["usdt"].amount(kind) for kind in BalanceType][3:] == [0] * (
        len(BalanceType) - 3
    )


@pytest.mark.parametrize("duplicate", [lambda model: model, copy.deepcopy])
def test_amount_of_an_unknown_type_is_a_key_error(
    duplicate: Callable[[CurrencyBalance], CurrencyBalance],
) -> None:
    entries = (*ROWS, row("btc", "new-kind", "1"))
    balance = AccountBalance(1, AccountType.SPOT, AccountState.WORKING, entries)
    assert duplicate(balance["btc"]).amount("new-kind") == 1
    with pytest.raises(KeyError, match="no row type 'avaliable': HTX documents trade, frozen, loa"):
        duplicate(balance["usdt"]).amount("avaliable")
    with pytest.raises(KeyError, match="no row type 'new-kind'"):
        duplicate(balance["usdt"]).amount("new-kind")


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (
            CurrencyBalance("x", (row("x", "trade", "0E-9"),)),
            (
                "CurrencyBalance(currency='x', entries=(BalanceEntry(currency='x', "
                "type=BalanceType('trade'), balance=Decimal('0.000000000'), debt=None, "
                "available=None, seq_num=None),))"
            ),
        ),
        (
            PointGroup(0, None, Decimal("6.0E-9")),
            "PointGroup(group_id=0, expiry_date=None, remain_amt=Decimal('0.0000000060'))",
        ),
        (
            BalanceChange(1, "btc", BalanceType.TRADE, Decimal("1E+3"), Decimal("-2E-7")),
            (
                "BalanceChange(account_id=1, currency='btc', type=BalanceType('trade'), "
                "before=Decimal('1000'), after=Decimal('-0.0000002'), cause=None, seq=None)"
            ),
        ),
    ],
)
def test_repr_shows_amounts_without_exponent(model: Any, text: str) -> None:
    assert repr(model) == str(model) == text


def test_nonzero_returns_currencies_with_any_amount() -> None:
    """Also one that is only owed, but not one that has `0E-18`."""
    assert [currency.currency for currency in BALANCE.nonzero()] == ["usdt", "doge"]
    assert BALANCE.nonzero()[0] == BALANCE["usdt"]


def test_balance_without_rows_is_empty() -> None:
    """A balance may have no currency at all."""
    empty = AccountBalance(1, AccountType.POINT, AccountState.LOCK, ())
    assert not empty
    assert (len(empty), empty.currencies, empty.nonzero(), list(empty)) == (0, (), (), [])


def test_balance_repr_does_not_list_the_rows() -> None:
    """HTX sends two rows for each currency that it trades."""
    assert repr(BALANCE) == (
        "AccountBalance(id=1000001, type='spot', state='working', 3 currencies in 7 entries)"
    )


@given(strategies.balances())
def test_sums_are_exact_in_any_decimal_context(drawn: strategies.Drawn) -> None:
    """Three digits of precision, every trap set: a sum has all its digits."""
    balance = decode(AccountBalance, drawn.text)
    kind = "loan"
    with decimal.localcontext(decimal.Context(prec=3, Emax=3, Emin=-3, traps=ALL_SIGNALS)) as here:
        totals = {name: currency.total for name, currency in balance.items()}
        loans = {name: currency.amount(kind) for name, currency in balance.items()}
        nonzero = {currency.currency for currency in balance.nonzero()}
        assert not any(here.flags.values())

    for name in balance:
        rows = [entry for entry in balance.entries if entry.currency == name]
        wanted = [Fraction(entry.balance) for entry in rows if entry.type in ("trade", "frozen")]
        assert Fraction(totals[name]) == sum(wanted)
        wanted = [Fraction(entry.balance) for entry in rows if entry.type == kind]
        assert Fraction(loans[name]) == sum(wanted)
        assert (name in nonzero) == any(Fraction(entry.balance) for entry in rows)


@given(st.lists(strategies.amounts, min_size=1, max_size=4))
def test_sum_keeps_trailing_zeros(amounts: list[str]) -> None:
    """0.10 and 0.2 are 0.30."""
    entries = tuple(row("usdt", "trade", amount) for amount in amounts)
    places = [entry.balance.as_tuple().exponent for entry in entries]
    total = CurrencyBalance("usdt", entries).trade
    assert total.as_tuple().exponent == min(int(place) for place in places)


def test_sum_of_extreme_amounts_is_exact() -> None:
    """The largest and the smallest amount that HTX can write, together."""
    entries = (
        row("usdt", "trade", "9" * 95 + "E999"),
        row("usdt", "frozen", "1." + "0" * 91 + "1E-999"),
    )
    total = CurrencyBalance("usdt", entries).total
    assert Fraction(total) == Fraction(entries[0].balance) + Fraction(entries[1].balance)
