"""HTX's account and balance types. The enums are open: an unknown value is kept as it is."""

from __future__ import annotations

import enum
import functools
from typing import Self, TypeVar

__all__ = ["AccountState", "AccountType", "BalanceType", "PointAccountStatus"]


E = TypeVar("E", bound="OpenStrEnum")

_CACHED_UNKNOWN, _CACHED_LENGTH = 1024, 64
"""Unknown values of which one instance is kept, and their length: a server may send any number."""


class OpenStrEnum(enum.StrEnum):
    """
    Enum of text that accepts every text: one that is not a member is kept, and not known.

    A value compares and hashes as its text.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        is_short = len(value) <= _CACHED_LENGTH
        return (_cached_unknown if is_short else _create_unknown)(cls, str(value))

    @property
    def is_known(self) -> bool:
        """Whether HTX's pages, or recorded responses, contain this value."""
        return type(self).__members__.get(self.name) is self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


def _create_unknown(cls: type[E], value: str) -> E:
    member = str.__new__(cls, value)
    member._name_ = member._value_ = value
    return member


@functools.lru_cache(_CACHED_UNKNOWN)
def _cached_unknown(cls: type[E], value: str) -> E:
    return _create_unknown(cls, value)


class AccountType(OpenStrEnum):
    """Purpose of an account."""

    SPOT = "spot"
    MARGIN = "margin"
    """Isolated margin; the account's `subtype` is the symbol."""
    SUPER_MARGIN = "super-margin"
    """Cross margin."""
    OTC = "otc"
    POINT = "point"
    GRID_TRADING = "grid-trading"
    OTC_OPTIONS = "otc-options"
    TRUST_CREDIT = "trust-credit"
    """A third-party trust account; the account's `subtype` is the chain."""
    INVESTMENT = "investment"
    BORROW = "borrow"
    MINEPOOL = "minepool"
    ETF = "etf"
    CROSS_MARGIN = "cross-margin"
    DEPOSIT_EARNING = "deposit-earning"
    CRYPTO_LOANS = "crypto-loans"


class AccountState(OpenStrEnum):
    """Whether an account can be used."""

    WORKING = "working"
    LOCK = "lock"
    FL_SYS = "fl-sys"
    FL_END = "fl-end"
    FL_NEGATIVE = "fl-negative"


class BalanceType(OpenStrEnum):
    """Type of an amount in an account."""

    TRADE = "trade"
    """Free to be used."""
    FROZEN = "frozen"
    """Held by open orders."""
    LOAN = "loan"
    """An amount below zero, to be repaid."""
    INTEREST = "interest"
    """An amount below zero, to be repaid."""
    LOCK = "lock"
    BANK = "bank"
    CREDIT_REPAY = "credit-repay"
    TRUST_ASSET = "trust-asset"
    TRANSFER_OUT_AVAILABLE = "transfer-out-available"
    LOAN_AVAILABLE = "loan-available"
    LENDING = "lending"


class PointAccountStatus(OpenStrEnum):
    """Whether a point account can be used."""

    WORKING = "working"
    LOCK = "lock"
    FL_SYS = "fl-sys"
    FL_MGT = "fl-mgt"
    FL_END = "fl-end"
    FL_NEGATIVE = "fl-negative"
