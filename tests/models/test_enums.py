"""Open enums: text with some known values."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import Account, AccountState, AccountType, BalanceType, PointAccountStatus
from htx_async.models import enums
from htx_async.models.enums import OpenStrEnum
from tests.decoded import decode

VALUES: dict[type[OpenStrEnum], list[str]] = {
    AccountType: [
        *("spot", "margin", "super-margin", "otc", "point", "grid-trading", "otc-options"),
        *("trust-credit", "investment", "borrow", "minepool", "etf", "cross-margin"),
        *("deposit-earning", "crypto-loans"),
    ],
    AccountState: ["working", "lock", "fl-sys", "fl-end", "fl-negative"],
    BalanceType: [
        *("trade", "frozen", "loan", "interest", "lock", "bank", "credit-repay", "trust-asset"),
        *("transfer-out-available", "loan-available", "lending"),
    ],
    PointAccountStatus: ["working", "lock", "fl-sys", "fl-mgt", "fl-end", "fl-negative"],
}
every_enum = pytest.mark.parametrize("kind", VALUES)


@every_enum
def test_enum_iterates_over_the_known_values(kind: type[OpenStrEnum]) -> None:
    """Every value that HTX's pages, or recordings, contain."""
    assert [str(member) for member in kind] == VALUES[kind]
    for value in VALUES[kind]:
        constant = getattr(kind, value.upper().replace("-", "_"))
        assert constant is kind(value)
        assert constant == value
        assert type(constant) is kind
        assert constant.is_known


@every_enum
def test_enum_keeps_an_unknown_value(kind: type[OpenStrEnum]) -> None:
    """As it is, upper case and all; a name of a member is not its value."""
    value = kind("New-Kind")
    assert value == "New-Kind"
    assert type(value) is kind
    assert isinstance(value, kind)
    assert not value.is_known
    assert not kind("").is_known
    assert not kind("LOCK").is_known
    assert list(kind) == VALUES[kind]
    with pytest.raises(ValueError, match="7 is not a valid"):
        kind(7)  # type: ignore[arg-type]


@given(st.text())
def test_enum_value_is_text(text: str) -> None:
    """It compares, hashes, prints and formats as its text."""
    value = AccountType(text)
    assert value == text
    assert hash(value) == hash(text)
    assert {text: 1}[value] == 1
    assert f"{value}" == str(value) == value.value == text
    assert type(str(value)) is str
    assert type(f"{value}") is str
    assert json.loads(json.dumps({"type": value})) == {"type": text}


@every_enum
def test_enum_repr_names_the_enum(kind: type[OpenStrEnum]) -> None:
    """A debugger shows that it is not plain text."""
    assert repr(kind("lock")) == f"{kind.__name__}('lock')"
    assert repr(kind("new")) == f"{kind.__name__}('new')"


@every_enum
@pytest.mark.parametrize("text", ["lock", "new-kind", "LOCK"])
def test_enum_value_can_be_copied_and_pickled(kind: type[OpenStrEnum], text: str) -> None:
    """A copy is equal, of the same type, and as known as the original."""
    value = kind(text)
    pickles = [pickle.dumps(value, each) for each in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    loaded = map(pickle.loads, pickles)
    for other in (copy.copy(value), copy.deepcopy(value), *loaded):
        assert other == value
        assert type(other) is kind
        assert other.is_known == value.is_known


def test_enum_creates_a_repeated_unknown_value_once() -> None:
    """Thousands of rows may have the same new type; endless new ones use bounded memory."""
    assert AccountType("new") is AccountType("new")
    assert type(BalanceType("new")) is BalanceType
    for number in range(2 * enums._CACHED_UNKNOWN):
        AccountType(f"new-{number}")
    cached = enums._cached_unknown.cache_info()
    assert cached.currsize == cached.maxsize == enums._CACHED_UNKNOWN
    assert len(AccountType.__members__) == len(VALUES[AccountType])


def test_decoding_an_unknown_value_keeps_it() -> None:
    """Known and unknown values are of the enum."""
    accounts = decode(
        tuple[Account, ...],
        '[{"id":1,"type":"moon","state":"working"},{"id":2,"type":"spot","state":"SPOT"}]',
    )
    assert [account.type for account in accounts] == ["moon", AccountType.SPOT]
    assert [type(account.type) for account in accounts] == [AccountType, AccountType]
    assert [account.type.is_known for account in accounts] == [False, True]
    assert [account.state.is_known for account in accounts] == [True, False]


def test_enum_values_match() -> None:
    """`match` accepts members and plain text."""
    match AccountType("spot"):
        case AccountType.MARGIN:
            pytest.fail("spot is not margin")
        case AccountType.SPOT:
            pass
        case _:
            pytest.fail("spot is spot")
    match AccountType("new"):
        case "new":
            pass
        case _:
            pytest.fail("text is text")


def test_long_unknown_value_is_not_cached() -> None:
    """It equals its text all the same, and takes memory only while it is used."""
    before = enums._cached_unknown.cache_info().currsize
    text = "x" * 1_000
    assert AccountType(text) == text
    assert enums._cached_unknown.cache_info().currsize == before
