"""Words: text with some known values."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import AccountState, AccountType, BalanceType, PointAccountStatus
from htx_async.models.enums import Word

WORDS: dict[type[Word], set[str]] = {
    AccountType: {
        *("spot", "margin", "super-margin", "otc", "point", "grid-trading", "otc-options"),
        *("trust-credit", "investment", "borrow", "minepool", "etf", "cross-margin"),
        *("deposit-earning", "crypto-loans"),
    },
    AccountState: {"working", "lock", "fl-sys", "fl-end", "fl-negative"},
    BalanceType: {
        *("trade", "frozen", "loan", "interest", "lock", "bank", "credit-repay", "trust-asset"),
        *("transfer-out-available", "loan-available", "lending"),
    },
    PointAccountStatus: {"working", "lock", "fl-sys", "fl-mgt", "fl-end", "fl-negative"},
}
every_kind = pytest.mark.parametrize("kind", WORDS)


@every_kind
def test_what_is_known(kind: type[Word]) -> None:
    """Every word that HTX's pages, or recordings, show; each kind knows its own."""
    assert kind.known == WORDS[kind]
    for word in WORDS[kind]:
        constant = getattr(kind, word.upper().replace("-", "_"))
        assert constant == word
        assert type(constant) is kind
        assert constant.is_known
    assert not Word.known


@every_kind
def test_an_unknown_word_is_kept(kind: type[Word]) -> None:
    """As it came, upper case and all."""
    word = kind("New-Kind")
    assert word == "New-Kind"
    assert not word.is_known
    assert not kind("").is_known
    assert not kind("SPOT").is_known


@given(st.text())
def test_a_word_is_text(text: str) -> None:
    """It compares, hashes, prints and formats as the text that it is."""
    word = AccountType(text)
    assert word == text
    assert hash(word) == hash(text)
    assert {text: 1}[word] == 1
    assert f"{word}" == str(word) == text
    assert type(str(word)) is str
    assert type(f"{word}") is str
    assert json.loads(json.dumps({"type": word})) == {"type": text}


@every_kind
def test_a_word_says_its_kind(kind: type[Word]) -> None:
    """In a debugger it is not taken for plain text."""
    assert repr(kind("lock")) == f"{kind.__name__}('lock')"


@every_kind
def test_a_word_travels(kind: type[Word]) -> None:
    """Copied or pickled it is of its kind still."""
    word = kind("new-kind")
    pickles = [pickle.dumps(word, each) for each in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    remade = map(pickle.loads, pickles)
    for other in (copy.copy(word), copy.deepcopy(word), *remade):
        assert other == word
        assert type(other) is kind
    assert not hasattr(word, "__dict__")


def test_words_match() -> None:
    """`match` takes the constants, and plain text."""
    match AccountType("spot"):
        case AccountType.MARGIN:
            pytest.fail("spot is no margin")
        case AccountType.SPOT:
            pass
        case _:
            pytest.fail("spot is spot")
    match AccountType("new"):
        case "new":
            pass
        case _:
            pytest.fail("text is text")
