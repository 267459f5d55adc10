"""HTX's words for kinds and states. The lists are open: an unknown word is kept as it came."""

from __future__ import annotations

from typing import ClassVar, TypeVar

W = TypeVar("W", bound="Word")


class _Known:
    """A known word, as a constant of its class."""

    def __init__(self, word: str) -> None:
        self._word = word

    def __set_name__(self, owner: type[Word], name: str) -> None:
        owner.known = owner.known | {self._word}

    def __get__(self, instance: object, owner: type[W]) -> W:
        return owner(self._word)


class Word(str):
    """Text of which some values are known. It compares and hashes as the text that it is."""

    __slots__ = ()

    known: ClassVar[frozenset[str]] = frozenset()
    """All words that HTX's pages, or recorded answers, show."""

    @property
    def is_known(self) -> bool:
        """Whether HTX's pages, or recorded answers, show this word."""
        return self in self.known

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class AccountType(Word):
    """What an account is for."""

    __slots__ = ()

    SPOT = _Known("spot")
    MARGIN = _Known("margin")
    """Isolated margin; the account's `subtype` is the symbol."""
    SUPER_MARGIN = _Known("super-margin")
    """Cross margin."""
    OTC = _Known("otc")
    POINT = _Known("point")
    GRID_TRADING = _Known("grid-trading")
    OTC_OPTIONS = _Known("otc-options")
    TRUST_CREDIT = _Known("trust-credit")
    """A third-party trust account; the account's `subtype` is the chain."""
    INVESTMENT = _Known("investment")
    BORROW = _Known("borrow")
    MINEPOOL = _Known("minepool")
    ETF = _Known("etf")
    CROSS_MARGIN = _Known("cross-margin")
    DEPOSIT_EARNING = _Known("deposit-earning")
    CRYPTO_LOANS = _Known("crypto-loans")


class AccountState(Word):
    """Whether an account can be used."""

    __slots__ = ()

    WORKING = _Known("working")
    LOCK = _Known("lock")
    FL_SYS = _Known("fl-sys")
    FL_END = _Known("fl-end")
    FL_NEGATIVE = _Known("fl-negative")


class BalanceType(Word):
    """What an amount in an account is."""

    __slots__ = ()

    TRADE = _Known("trade")
    """Free to be used."""
    FROZEN = _Known("frozen")
    """Held by open orders."""
    LOAN = _Known("loan")
    """An amount below zero, to be repaid."""
    INTEREST = _Known("interest")
    """An amount below zero, to be repaid."""
    LOCK = _Known("lock")
    BANK = _Known("bank")
    CREDIT_REPAY = _Known("credit-repay")
    TRUST_ASSET = _Known("trust-asset")
    TRANSFER_OUT_AVAILABLE = _Known("transfer-out-available")
    LOAN_AVAILABLE = _Known("loan-available")
    LENDING = _Known("lending")


class PointAccountStatus(Word):
    """Whether a point account can be used."""

    __slots__ = ()

    WORKING = _Known("working")
    LOCK = _Known("lock")
    FL_SYS = _Known("fl-sys")
    FL_MGT = _Known("fl-mgt")
    FL_END = _Known("fl-end")
    FL_NEGATIVE = _Known("fl-negative")
